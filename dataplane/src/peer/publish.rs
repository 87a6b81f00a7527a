//! The half of a client that sends to us: its m-lines are tracks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::Rtc;
use str0m::change::SdpOffer;
use str0m::media::{KeyframeRequestKind, Mid, Rid};
use str0m::rtp::{RtpPacket, Ssrc};

use super::incoming::{Incoming, Refusal};
use super::numbering::Numbering;
use super::offer::Offer;
use super::redundancy::Redundancy;
use super::{Output, PeerEvent, sdp};
use crate::command::{CommandError, CommandReply, CommandResult};
use crate::drop_reason::DropReason;
use crate::key::{LayerIndex, SessionKey, TrackKey};
use crate::limits::{MAX_LAYERS, OFFER_BYTES_PER_SECOND, OFFER_SAVED_TIME};
use crate::track::{MediaPacket, TrackInfo, TrackSpec};

/// What a publish session knows.
#[derive(Default)]
pub struct Publisher {
    /// What it publishes.
    pub tracks: Vec<Arc<TrackInfo>>,
    /// Of each of them.
    received: Vec<Received>,
    /// What stands between the network and the session layer.
    pub(super) incoming: Incoming,
    /// Until when what it may use for offers is used up, were it used evenly.
    offers_used_until: Option<Instant>,
    /// The last negotiation, to answer a repeated command.
    last: Option<Negotiated>,
}

/// What is known of the packets of a track.
#[derive(Default)]
struct Received {
    by_layer: [Numbering; MAX_LAYERS],
    redundancy: Redundancy,
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
        now: Instant,
        out: &mut Output,
    ) -> CommandResult {
        if let Some(last) = &self.last
            && last.offer == offer
            && last.tracks == specs
        {
            return Ok(CommandReply::Answer(last.answer.clone()));
        }
        self.charge(offer.len(), now)?;
        let read = Offer::read(&offer);
        let parsed = SdpOffer::from_sdp_string(&read.supported)
            .map_err(|error| CommandError::BadSdp(error.to_string()))?;
        let answer = rtc
            .sdp_api()
            .accept_offer(parsed)
            .map_err(|error| CommandError::BadSdp(error.to_string()))?
            .to_sdp_string();
        let answer = sdp::in_the_order_of_the_offer(&read.supported, &answer);
        let answer = read.complete(&answer);
        self.replace_tracks(session, rtc, &specs, out)?;
        self.last = Some(Negotiated {
            offer,
            tracks: specs,
            answer: answer.clone(),
        });
        Ok(CommandReply::Answer(answer))
    }

    /// Takes the time of an offer from what the session may use.
    fn charge(&mut self, bytes: usize, now: Instant) -> Result<(), CommandError> {
        let cost = Duration::from_secs(bytes as u64) / OFFER_BYTES_PER_SECOND;
        let used_until = self.offers_used_until.map_or(now, |at| at.max(now)) + cost;
        let allowed_until = now + OFFER_SAVED_TIME;
        if used_until > allowed_until {
            let retry_ms = used_until.duration_since(allowed_until).as_millis() + 1;
            return Err(CommandError::TooSoon { retry_ms });
        }
        self.offers_used_until = Some(used_until);
        Ok(())
    }

    /// The answer that was really given.
    pub(super) fn answered(&mut self, answer: String) {
        if let Some(last) = &mut self.last {
            last.answer = answer;
        }
    }

    /// Makes media packets of a decrypted one, and of frames before it that it makes up for.
    pub(super) fn packet(
        &mut self,
        rtc: &mut Rtc,
        packet: RtpPacket,
        arrived: Instant,
        packets: &mut Vec<MediaPacket>,
    ) -> Result<(), Refusal> {
        let (ssrc, index) = (packet.header.ssrc, *packet.seq_no);
        let tracks = &self.tracks;
        let find = || find_route(tracks, rtc, ssrc);
        let Some((track, layer)) = self.incoming.route(ssrc, index, find)? else {
            return Err(Refusal::Drop(DropReason::NoTrack));
        };
        let received = &mut self.received[track];
        let epoch = received.by_layer[layer.index()].epoch(*ssrc, index, arrived);
        let epoch = epoch.ok_or(Refusal::Drop(DropReason::LateNumbers))?;
        let track = &self.tracks[track];
        let packet = track.packet(packet, (layer, epoch), arrived);
        let packet = packet.ok_or(Refusal::Drop(DropReason::NoTrack))?;
        if track.spec.kind.is_audio() {
            packets.extend(received.redundancy.recover(&packet));
        }
        packets.push(packet);
        Ok(())
    }

    /// Asks the client for a keyframe.
    pub fn request_keyframe(&self, rtc: &mut Rtc, track: TrackKey, layer: LayerIndex) {
        let Some(place) = self.tracks.iter().position(|info| info.spec.key == track) else {
            return;
        };
        let (info, received) = (&self.tracks[place], &self.received[place]);
        // The client may have used other SSRCs before: the one that flows is asked.
        if let Some(ssrc) = received.by_layer[layer.index()].ssrc()
            && let Some(stream) = rtc.direct_api().stream_rx(&ssrc.into())
        {
            return stream.request_keyframe(KeyframeRequestKind::Pli);
        }
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
        let mut received_before = std::mem::take(&mut self.received);
        self.received = specs
            .iter()
            .map(|spec| {
                let place = before.iter().position(|info| info.spec.key == spec.key);
                let place = place.map(|place| &mut received_before[place]);
                place.map(std::mem::take).unwrap_or_default()
            })
            .collect();
        let gone = before
            .iter()
            .map(|info| info.spec.key)
            .filter(|key| !stays(*key))
            .collect();
        self.incoming.negotiated(rtc);
        out.events.push(PeerEvent::TracksChanged { gone });
        Ok(())
    }
}

fn find_route(tracks: &[Arc<TrackInfo>], rtc: &mut Rtc, ssrc: Ssrc) -> Option<(usize, LayerIndex)> {
    let mut api = rtc.direct_api();
    let stream = api.stream_rx(&ssrc)?;
    let (mid, rid) = (stream.mid(), stream.rid());
    let track = tracks.iter().position(|info| *info.spec.mid == *mid)?;
    let layer = tracks[track].layer_of(rid.as_deref())?;
    Some((track, layer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_OFFER_BYTES;

    #[test]
    fn offers_are_read_at_a_rate_and_some_at_once() {
        let start = Instant::now();
        let mut publisher = Publisher::default();
        let mut charge = |bytes, ms| publisher.charge(bytes, start + Duration::from_millis(ms));
        (0..2).for_each(|_| assert_eq!(charge(MAX_OFFER_BYTES, 0), Ok(())));
        let refused = charge(MAX_OFFER_BYTES, 0);
        assert_eq!(refused, Err(CommandError::TooSoon { retry_ms: 4_001 }));
        assert_eq!(charge(OFFER_BYTES_PER_SECOND as usize, 1_000), Ok(()));
        assert!(charge(MAX_OFFER_BYTES, 4_999).is_err());
        assert_eq!(
            charge(MAX_OFFER_BYTES, 5_000),
            Ok(()),
            "what was refused cost nothing"
        );
    }
}
