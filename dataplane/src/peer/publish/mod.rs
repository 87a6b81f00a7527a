//! The publishing half of a session: negotiates the client's offers, and turns decrypted packets into packets of
//! tracks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use spillway_wire::rtp;
use str0m::change::SdpOffer;
use str0m::media::{KeyframeRequestKind, Mid, Rid};
use str0m::rtp::{RtpPacket, Ssrc};
use str0m::{IceCreds, Rtc};

use super::command::{Answered, AnsweredTrack, CommandError, CommandReply, CommandResult};
use super::incoming::{Incoming, Refusal};
use super::numbering::Numbering;
use super::output::{Output, PeerEvent};
use super::redundancy::Redundancy;
use super::sdp::answer::Negotiated;
use super::sdp::lines::{CarriedById, Lines};
use super::sdp::offer::Offer;
use crate::drop_reason::DropReason;
use crate::key::{LayerIndex, TrackKey};
use crate::limits::{MAX_LAYERS, OFFER_BYTES_PER_SECOND, OFFER_SAVED_TIME};
use crate::media::codec::CodecSpec;
use crate::media::extensions::CarriedExtensions;
use crate::media::packet::MediaPacket;
use crate::media::track::{TrackFormats, TrackInfo, TrackSpec};
use crate::peer::codecs;
use crate::peer::rtc::RtcSetup;
use packet::Payloads;

/// State of a publish session.
#[derive(Default)]
pub struct Publisher {
    /// Tracks that the session publishes.
    pub tracks: Vec<Arc<TrackInfo>>,
    /// The session layer's mid of each track's m-line.
    names: Vec<Mid>,
    /// Negotiated payload types of each track.
    payloads: Vec<Payloads>,
    /// Received packets of each track.
    received: Vec<Received>,
    /// The client's ICE credentials in the last offer that was accepted.
    pub(super) credentials: Option<IceCreds>,
    /// Authentication between the network and the session layer.
    pub(super) incoming: Incoming,
    /// Kinds of forwarded header extensions, by identifier.
    carried_by_id: CarriedById,
    /// Forwarded extensions of the datagram that is being passed to the session layer.
    carried: CarriedExtensions,
    /// m-lines that earlier offers negotiated.
    lines: Lines,
    /// Creates the session layer again if the first offer needs other codecs; `None` after the first offer.
    factory: Option<Box<RtcSetup>>,
    /// Time at which the budget for offers is full again; each accepted offer moves it forward.
    offers_used_until: Option<Instant>,
    /// The last offer and its answer, to answer a repeated command.
    last: Option<Negotiation>,
}

/// Packet state of one track.
#[derive(Default)]
struct Received {
    by_layer: [Numbering; MAX_LAYERS],
    redundancy: Redundancy,
}

struct Negotiation {
    offer: String,
    tracks: Vec<TrackSpec>,
    answered: Answered,
}

impl Publisher {
    /// A publisher without tracks.
    pub(super) fn new(factory: RtcSetup) -> Self {
        Self {
            factory: Some(Box::new(factory)),
            ..Self::default()
        }
    }

    /// Negotiates an offer. The same offer gets the same answer.
    pub(super) fn accept_offer(
        &mut self,
        rtc: &mut Rtc,
        offer: String,
        specs: Vec<TrackSpec>,
        now: Instant,
        out: &mut Output,
    ) -> CommandResult {
        if let Some(last) = &self.last
            && last.offer == offer
            && last.tracks == specs
        {
            return Ok(CommandReply::Answer(last.answered.clone()));
        }
        self.charge(offer.len(), now)?;
        let read = Offer::read(&offer, &self.lines, &specs)?;
        if let Some(factory) = self
            .factory
            .as_ref()
            .filter(|_| !read.duplicate_codecs.is_empty())
        {
            factory.with_codecs(rtc, &read.duplicate_codecs, now);
        }
        let bad_sdp = |error: &dyn std::fmt::Display| CommandError::BadSdp(error.to_string());
        let parsed =
            SdpOffer::from_sdp_string(&read.normalised).map_err(|error| bad_sdp(&error))?;
        let written = rtc.sdp_api().accept_offer(parsed);
        let written = written.map_err(|error| bad_sdp(&error))?.to_sdp_string();
        self.factory = None;
        let sdp = read.answer(rtc, &written);
        let negotiated = specs
            .iter()
            .map(|spec| read.negotiated(rtc, &spec.mid, &spec.layers));
        let negotiated = negotiated.collect();
        let routes = read.payload_routes(rtc);
        self.credentials = Some(read.credentials());
        self.lines = read.into_lines();
        self.carried_by_id = self.lines.carried();
        let tracks = self.replace_tracks(&specs, negotiated, out);
        self.incoming.negotiated(rtc, routes);
        let answered = Answered { sdp, tracks };
        self.last = Some(Negotiation {
            offer,
            tracks: specs,
            answered: answered.clone(),
        });
        Ok(CommandReply::Answer(answered))
    }

    /// Charges an offer of `bytes` to the budget of the session.
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

    /// Records the answer that was sent to the client.
    pub(super) fn answered(&mut self, answer: String) {
        if let Some(last) = &mut self.last {
            last.answered.sdp = answer;
        }
    }

    /// Stores the extensions of an RTP datagram before it is passed to the session layer, for the packet that the
    /// session layer decrypts from it. The header is authenticated with the packet.
    pub(super) fn arriving(&mut self, datagram: &[u8]) {
        if self.carried_by_id.iter().all(Option::is_none) {
            return;
        }
        let known = rtp::extensions(datagram).filter_map(|(id, value)| {
            let kind = self.carried_by_id.get(usize::from(id)).copied()??;
            Some((kind, value))
        });
        self.carried = CarriedExtensions::new(known);
    }

    /// Clears the stored extensions after the session layer has processed the datagram.
    pub(super) fn arrived(&mut self) {
        self.carried = CarriedExtensions::default();
    }

    /// Converts a decrypted packet into media packets: the packet, preceded by lost frames that its redundancy
    /// contains.
    pub(super) fn packet(
        &mut self,
        rtc: &mut Rtc,
        packet: RtpPacket,
        arrived: Instant,
        packets: &mut Vec<MediaPacket>,
    ) -> Result<(), Refusal> {
        let (ssrc, index) = (packet.header.ssrc, *packet.seq_no);
        let tracks = (&self.tracks[..], &self.names[..]);
        let find = || find_route(tracks, rtc, ssrc);
        let Some((track, layer)) = self.incoming.route(ssrc, index, find)? else {
            return Err(Refusal::Drop(DropReason::NoTrack));
        };
        let (received, payloads) = (&mut self.received[track], &self.payloads[track]);
        let epoch = received.by_layer[layer.index()].epoch(*ssrc, index, arrived);
        let epoch = epoch.ok_or(Refusal::Drop(DropReason::LateNumbers))?;
        let track = &self.tracks[track];
        let key = track.spec.key;
        let packet = payloads.packet(packet, key, layer, epoch, arrived);
        let mut packet = packet.ok_or(Refusal::Drop(DropReason::NoTrack))?;
        packet.extensions = std::mem::take(&mut self.carried);
        if track.spec.kind.is_audio() {
            packets.extend(received.redundancy.recover(&packet));
        }
        packets.push(packet);
        Ok(())
    }

    /// Sends a keyframe request to the client.
    pub fn request_keyframe(&self, rtc: &mut Rtc, track: TrackKey, layer: LayerIndex) {
        let Some(place) = self.tracks.iter().position(|info| info.spec.key == track) else {
            return;
        };
        let (info, mid, received) = (
            &self.tracks[place],
            self.names[place],
            &self.received[place],
        );
        // The client may have used other SSRCs before, so the current one is asked.
        if let Some(ssrc) = received.by_layer[layer.index()].ssrc()
            && let Some(stream) = rtc.direct_api().stream_rx(&ssrc.into())
        {
            return stream.request_keyframe(KeyframeRequestKind::Pli);
        }
        let rid = Some(info.rid_of(layer))
            .filter(|rid| !rid.is_empty())
            .map(Rid::from);
        if let Some(stream) = rtc.direct_api().stream_rx_by_mid(mid, rid) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
    }

    /// Publishes the tracks of `specs` that were negotiated; a track that cannot play is not announced.
    fn replace_tracks(
        &mut self,
        specs: &[TrackSpec],
        negotiated: Vec<Option<Negotiated>>,
        out: &mut Output,
    ) -> Vec<AnsweredTrack> {
        let before = std::mem::take(&mut self.tracks);
        self.names.clear();
        self.payloads.clear();
        let mut answered = Vec::new();
        for (spec, negotiated) in specs.iter().zip(negotiated) {
            let (Some(negotiated), Some(name)) = (negotiated, self.lines.name_of(&spec.mid)) else {
                continue;
            };
            let Negotiated {
                codecs: payloads,
                layers,
                is_stereo,
            } = negotiated;
            let codecs = payloads
                .iter()
                .map(|params| codecs::described(params.spec()));
            let codecs: Vec<CodecSpec> = codecs.collect();
            answered.push(AnsweredTrack {
                key: spec.key,
                id: Arc::clone(&spec.id),
                rids: layers.iter().map(|layer| layer.rid.clone()).collect(),
                formats: Arc::new(TrackFormats {
                    codecs: codecs.clone(),
                    is_stereo,
                }),
            });
            let spec = TrackSpec {
                layers,
                ..spec.clone()
            };
            self.names.push(name);
            self.payloads.push(Payloads { payloads });
            self.tracks.push(Arc::new(TrackInfo {
                spec,
                codecs,
                is_stereo,
            }));
        }
        let mut received_before = std::mem::take(&mut self.received);
        let received = self.tracks.iter().map(|info| {
            let place = before
                .iter()
                .position(|known| known.spec.key == info.spec.key);
            let place = place.map(|place| &mut received_before[place]);
            place.map(std::mem::take).unwrap_or_default()
        });
        self.received = received.collect();
        let stays = |key| self.tracks.iter().any(|info| info.spec.key == key);
        let gone = before.iter().map(|info| info.spec.key);
        let gone = gone.filter(|key| !stays(*key)).collect();
        out.events.push(PeerEvent::TracksChanged { gone });
        answered
    }
}

fn find_route(
    (tracks, names): (&[Arc<TrackInfo>], &[Mid]),
    rtc: &mut Rtc,
    ssrc: Ssrc,
) -> Option<(usize, LayerIndex)> {
    let mut api = rtc.direct_api();
    let stream = api.stream_rx(&ssrc)?;
    let (mid, rid) = (stream.mid(), stream.rid());
    let track = names.iter().position(|name| *name == mid)?;
    let layers = &tracks[track].spec.layers;
    let index = match rid {
        // The session layer stores only 8 bytes of a rid.
        Some(rid) if !layers.is_empty() => layers
            .iter()
            .position(|layer| Rid::from(&*layer.rid) == rid)?,
        None if layers.len() > 1 => return None,
        // The answer accepted no layers, so packets with a rid belong to the track, too.
        Some(_) | None => 0,
    };
    u8::try_from(index)
        .ok()
        .map(|layer| (track, LayerIndex(layer)))
}

mod packet; // decrypted packets as `MediaPacket`

#[cfg(test)]
mod media; // tests: announced tracks can play

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
