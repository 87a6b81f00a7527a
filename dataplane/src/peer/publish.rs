//! The half of a client that sends to us: its m-lines are tracks.

use std::sync::Arc;
use std::time::Instant;

use str0m::Rtc;
use str0m::change::SdpOffer;
use str0m::media::{KeyframeRequestKind, Mid, Rid};
use str0m::rtp::{RtpPacket, Ssrc};

use super::{Output, PeerEvent, sdp};
use crate::command::{CommandError, CommandReply, CommandResult};
use crate::key::{LayerIndex, SessionKey, TrackKey};
use crate::track::{MediaPacket, TrackInfo, TrackSpec};

/// What a publish session knows.
#[derive(Default)]
pub struct Publisher {
    /// What it publishes.
    pub tracks: Vec<Arc<TrackInfo>>,
    /// Where each SSRC belongs, found once; a handful, so a list beats a map.
    routes: Vec<(Ssrc, Option<(usize, LayerIndex)>)>,
    /// The last negotiation, to answer a repeated command.
    last: Option<Negotiated>,
}

struct Negotiated {
    offer: String,
    tracks: Vec<TrackSpec>,
    answer: String,
}

impl Publisher {
    /// Negotiates; the same offer again gets the same answer.
    pub(super) fn accept_offer(
        &mut self,
        session: SessionKey,
        rtc: &mut Rtc,
        (offer, specs): (String, Vec<TrackSpec>),
        out: &mut Output,
    ) -> CommandResult {
        if let Some(last) = &self.last
            && last.offer == offer
            && last.tracks == specs
        {
            return Ok(CommandReply::Answer(last.answer.clone()));
        }
        let parsed = SdpOffer::from_sdp_string(&sdp::without_candidates(&offer))
            .map_err(|error| CommandError::BadSdp(error.to_string()))?;
        let answer = rtc
            .sdp_api()
            .accept_offer(parsed)
            .map_err(|error| CommandError::BadSdp(error.to_string()))?
            .to_sdp_string();
        let answer = sdp::in_the_order_of_the_offer(&offer, &answer);
        self.replace_tracks(session, rtc, &specs, out)?;
        self.last = Some(Negotiated {
            offer,
            tracks: specs,
            answer: answer.clone(),
        });
        Ok(CommandReply::Answer(answer))
    }

    /// The answer that was really given.
    pub(super) fn answered(&mut self, answer: String) {
        if let Some(last) = &mut self.last {
            last.answer = answer;
        }
    }

    /// Makes a media packet of a decrypted one; `None` when it belongs to no declared track.
    pub(super) fn packet(
        &mut self,
        rtc: &mut Rtc,
        packet: RtpPacket,
        arrived: Instant,
    ) -> Option<MediaPacket> {
        let ssrc = packet.header.ssrc;
        let known = self
            .routes
            .iter()
            .find(|(known, _)| *known == ssrc)
            .map(|(_, route)| *route);
        let route = known.unwrap_or_else(|| {
            let route = self.find_route(rtc, ssrc);
            self.routes.push((ssrc, route));
            route
        });
        let (track, layer) = route?;
        self.tracks[track].packet(packet, layer, arrived)
    }

    /// Asks the client for a keyframe.
    pub fn request_keyframe(&self, rtc: &mut Rtc, track: TrackKey, layer: LayerIndex) {
        let Some(info) = self.tracks.iter().find(|info| info.spec.key == track) else {
            return;
        };
        let rid = Some(info.rid_of(layer))
            .filter(|rid| !rid.is_empty())
            .map(Rid::from);
        let mid = Mid::from(&*info.spec.mid);
        if let Some(stream) = rtc.direct_api().stream_rx_by_mid(mid, rid) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
    }

    fn replace_tracks(
        &mut self,
        session: SessionKey,
        rtc: &Rtc,
        specs: &[TrackSpec],
        out: &mut Output,
    ) -> Result<(), CommandError> {
        let codecs = rtc.codec_config().params().to_vec();
        let mut tracks = Vec::with_capacity(specs.len());
        for spec in specs {
            let media = rtc.media(Mid::from(&*spec.mid)).ok_or_else(|| {
                CommandError::BadSdp(format!(
                    "track '{}' names mid '{}', which the offer lacks",
                    spec.id, spec.mid
                ))
            })?;
            if media.kind() != spec.kind {
                let (id, mid, kind) = (&spec.id, &spec.mid, media.kind());
                return Err(CommandError::BadSdp(format!(
                    "track '{id}' on mid '{mid}' is {kind}"
                )));
            }
            let codecs = codecs.clone();
            tracks.push(Arc::new(TrackInfo {
                spec: spec.clone(),
                session,
                codecs,
            }));
        }
        let stays = |key| specs.iter().any(|spec| spec.key == key);
        let before = std::mem::replace(&mut self.tracks, tracks);
        let gone = before
            .iter()
            .map(|info| info.spec.key)
            .filter(|key| !stays(*key))
            .collect();
        self.routes.clear();
        out.events.push(PeerEvent::TracksChanged { gone });
        Ok(())
    }

    fn find_route(&self, rtc: &mut Rtc, ssrc: Ssrc) -> Option<(usize, LayerIndex)> {
        let mut api = rtc.direct_api();
        let stream = api.stream_rx(&ssrc)?;
        let (mid, rid) = (stream.mid(), stream.rid());
        let track = self.tracks.iter().position(|info| *info.spec.mid == *mid)?;
        let layer = self.tracks[track].layer_of(rid.as_deref())?;
        Some((track, layer))
    }
}
