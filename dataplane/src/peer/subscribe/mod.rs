//! The subscribing half of a session. Each subscription has an m-line. Only one offer is outstanding at a time. The
//! m-line of an ended subscription is used for a later subscription.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use spillway_mutants::{Mutant, is_planted};

use spillway_wire::rtp::EXTENSION_IDS;
use str0m::change::SdpPendingOffer;
use str0m::media::Mid;
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{IceCreds, Rtc};

use super::codecs;
use super::codecs::{Accepted, OfferedFormats};
use super::command::{CommandError, CommandReply, CommandResult};
use super::output::{OfferOut, Output, PeerEvent, PeerState, SubscriptionState};
use subscriptions::Subscriptions;

use crate::drop_reason::DropReason;
use crate::io::entropy::Entropy;
use crate::io::sys::prefetch;
use crate::key::{SubscriptionIndex, TrackKey};
use crate::limits::MAX_SUBSCRIPTIONS_PER_SESSION;
use crate::media::codec::MediaKind;
use crate::media::packet::MediaPacket;
use crate::media::subscription::{Subscription, Verdict, Wanted};
use crate::media::track::{TrackFormats, TrackInfo};
use crate::report::Sample;
use crate::send::header::{CarriedIds, ExtensionIds};
use crate::send::sender::Sender;
use crate::send::stream::{Negotiated, Planned, SealCost, Ssrcs, Stream};
use crate::srtp::RtcpOpener;

/// State of a subscribe session.
pub struct Subscriber {
    /// Subscriptions of the session, by index.
    pub subscriptions: Subscriptions,
    /// m-lines of the session, in SDP order.
    pub slots: Vec<Slot>,
    /// Keys, bandwidth estimate and report times for outgoing packets.
    pub send: Sender,
    by_track: HashMap<TrackKey, SubscriptionIndex>,
    /// Formats that the publisher of a subscription may send, if known.
    formats_by_sub: HashMap<SubscriptionIndex, TrackFormats>,
    /// Index of the m-line by SSRC of media and of retransmissions.
    pub(super) slot_by_ssrc: HashMap<u32, usize>,
    pub(super) rtcp_opener: Option<RtcpOpener>,
    negotiation: Negotiation,
    /// The client's ICE credentials from its last accepted answer.
    pub(super) credentials: Option<IceCreds>,
    /// The client's transport lines from that answer.
    transport: Option<String>,
    /// m-lines that the client rejected before it sent its transport; they keep their positions in the SDP.
    forgotten: Vec<String>,
    /// Candidate lines for our offers; see [`tcp_candidates`](crate::peer::sdp::candidates::tcp_candidates).
    tcp_candidates: Arc<str>,
    /// Random source for first sequence numbers.
    entropy: Entropy,
}

/// One m-line and its outgoing stream. The stream outlives the subscriptions that use the m-line.
pub struct Slot {
    /// mid of the m-line.
    pub mid: Mid,
    /// Outgoing packets of the m-line.
    pub stream: Stream,
    kind: MediaKind,
    state: SlotState,
    formats: Box<SlotFormats>,
}

/// Negotiated formats of an m-line; not needed to send a packet.
#[derive(Default)]
struct SlotFormats {
    /// Codecs in the latest offer.
    offered_formats: OfferedFormats,
    /// Codecs that the client accepted; `None` before its answer for the current subscription.
    accepted: Option<Vec<Accepted>>,
    /// Identifiers of forwarded header extensions that the client accepted.
    carried: CarriedIds,
    /// True when the next offer must have more codecs.
    is_outdated: bool,
}

/// Maximum number of cache lines of an m-line that sealing touches.
const SLOT_LINES: usize = 8;
/// Maximum number of cache lines of a subscription that the decision for a packet touches.
const SUBSCRIPTION_LINES: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotState {
    /// No subscription uses the m-line; it can be used again.
    Free,
    /// The subscription has ended, but the client has no offer with this change yet.
    Ending,
    /// This subscription uses the m-line.
    Playing(SubscriptionIndex),
    /// The client rejected the m-line (RFC 8829 section 5.2.2): it is never used again.
    Refused,
}

#[derive(Default)]
struct Negotiation {
    /// Revision of the latest offer.
    revision: u64,
    /// Revision of the latest offer with an accepted answer.
    accepted: u64,
    outstanding: Option<Outstanding>,
    /// Number of answers to the outstanding offer that could not be parsed.
    bad_answers: usize,
    /// True when something changed since the latest offer.
    dirty: bool,
}

struct Outstanding {
    pending: SdpPendingOffer,
    /// The session library's offer, before formats were completed.
    written: String,
    offer: OfferOut,
}

impl AsMut<Stream> for Slot {
    fn as_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }
}

impl Slot {
    /// The subscription that uses the m-line, if any.
    pub fn playing(&self) -> Option<SubscriptionIndex> {
        match self.state {
            SlotState::Playing(subscription) => Some(subscription),
            SlotState::Free | SlotState::Ending | SlotState::Refused => None,
        }
    }
}

impl Subscriber {
    pub(super) fn new(tcp_candidates: Arc<str>, entropy: Entropy) -> Self {
        Self {
            subscriptions: Subscriptions::default(),
            slots: Vec::new(),
            send: Sender::new(),
            by_track: HashMap::new(),
            formats_by_sub: HashMap::new(),
            slot_by_ssrc: HashMap::new(),
            rtcp_opener: None,
            negotiation: Negotiation::default(),
            credentials: None,
            transport: None,
            forgotten: Vec::new(),
            tcp_candidates,
            entropy,
        }
    }

    /// Adds, changes and ends subscriptions.
    pub(super) fn change(
        &mut self,
        rtc: &mut Rtc,
        put: Vec<Wanted>,
        remove: &[TrackKey],
        out: &mut Output,
    ) -> CommandResult {
        let fresh = put
            .iter()
            .filter(|wanted| !self.by_track.contains_key(&wanted.track))
            .count();
        // m-lines that a client rejected remain in later offers, so they count.
        let refused = |slot: &&Slot| slot.state == SlotState::Refused;
        let refused = self.slots.iter().filter(refused).count();
        let (got, limit) = (
            self.subscriptions.len() + refused + fresh,
            MAX_SUBSCRIPTIONS_PER_SESSION,
        );
        if got > limit {
            return Err(CommandError::TooMany {
                what: "subscriptions of the session, and those that its client refused",
                got,
                limit,
            });
        }
        let mut ended = Vec::new();
        for track in remove
            .iter()
            .filter(|_| !is_planted(Mutant::UnsubscribeIgnored))
        {
            ended.extend(self.remove(*track));
        }
        for wanted in put {
            self.put(wanted);
        }
        out.events.push(PeerEvent::Unsubscribed(ended));
        self.negotiate(rtc, out);
        Ok(CommandReply::Done)
    }

    /// Prefetches the memory that sealing needs next.
    pub fn prefetch(&self) {
        self.send.prefetch();
        if let Some(slot) = self.slots.first() {
            prefetch(slot, SLOT_LINES);
        }
        if let Some((_, subscription)) = self.subscriptions.iter().next() {
            prefetch(subscription, SUBSCRIPTION_LINES);
        }
    }

    /// Prefetches the lists of codecs, whose pointers [`prefetch`](Self::prefetch) has loaded.
    pub fn prefetch_codecs(&self) {
        if let Some((_, subscription)) = self.subscriptions.iter().next()
            && let Some(codecs) = &subscription.codecs
        {
            prefetch(&codecs[..], 1);
        }
    }

    /// Decides whether subscription `sub` gets `packet` of its track. Returns the m-line, the outgoing numbers, and
    /// whether the packet starts the forwarded media. `is_full`: the socket has no room for another frame of this
    /// layer.
    pub fn plan(
        &mut self,
        sub: SubscriptionIndex,
        packet: &MediaPacket,
        is_full: bool,
    ) -> Result<Option<(usize, Planned, Verdict)>, DropReason> {
        // The subscription may have ended since it was scheduled, and another one may have its index.
        let subscription = self.subscriptions.get_mut(sub);
        let Some(subscription) = subscription.filter(|found| found.track == packet.track) else {
            return Ok(None);
        };
        // Check this first: a packet that cannot be sent must not start a switch.
        let encoding = subscription.encoding(packet).ok_or(DropReason::NoCodec)?;
        let slot = subscription.slot.ok_or(DropReason::NoCodec)?;
        let (sealer, estimator) = self.send.keys().ok_or(DropReason::NotConnected)?;
        let verdict = subscription.decide(packet);
        if verdict == Verdict::Skip {
            return Ok(None);
        }
        let stream = &mut self.slots[slot].stream;
        let cost = SealCost {
            overhead: sealer.rtp_overhead(),
            is_measured: estimator.is_some(),
        };
        let planned = stream.plan(packet, verdict, encoding, cost)?;
        // The first packet of a switch is not dropped, because the subscriber would wait for the next keyframe.
        if stream.must_drop(packet, is_full && verdict == Verdict::Forward) {
            // The number remains used, so the receiver will request a retransmission.
            return Err(DropReason::FrameShed);
        }
        Ok(Some((slot, planned, verdict)))
    }

    /// The track of subscription `sub` if the subscriber negotiated no codec that the publisher sends. Returned once.
    pub fn take_undecodable(
        &mut self,
        sub: SubscriptionIndex,
        packet: &MediaPacket,
    ) -> Option<TrackKey> {
        let subscription = self.subscriptions.get_mut(sub)?;
        let is_wanted = subscription.layers().contains(packet.layer);
        (is_wanted && subscription.cannot_be_decoded()).then_some(subscription.track)
    }

    /// Times that subscription `sub` waited until `packet` was sent at `now`.
    pub fn waited(
        &mut self,
        sub: SubscriptionIndex,
        packet: &MediaPacket,
        now: Instant,
    ) -> impl Iterator<Item = Sample> + use<> {
        let subscription = self.subscriptions.get_mut(sub);
        let samples = subscription.map(|subscription| subscription.waited(packet, now));
        samples.into_iter().flatten().flatten()
    }

    /// Maps the codecs of the published track for subscription `index`, if its m-line is negotiated. Codecs that were
    /// not offered yet are offered.
    pub fn connect(
        &mut self,
        rtc: &mut Rtc,
        index: SubscriptionIndex,
        published: &TrackInfo,
        out: &mut Output,
    ) {
        self.learn(index, published);
        self.negotiate(rtc, out);
        let subscription = &mut self.subscriptions[index];
        let Some(slot) = subscription.slot else {
            return;
        };
        let Some(accepted) = &self.slots[slot].formats.accepted else {
            return;
        };
        let mid = self.slots[slot].mid;
        let map = codecs::map(accepted, &published.codecs);
        let usable = map.iter().any(Option::is_some);
        subscription.codecs = usable.then_some(map);
        // The outstanding offer may contain the missing codec.
        let is_settled = self.negotiation.outstanding.is_none();
        if !usable && is_settled && subscription.cannot_be_decoded() {
            out.drops.count(DropReason::NoCodec);
            out.events.push(PeerEvent::Undecodable(subscription.track));
        }
        let mut api = rtc.direct_api();
        let names = api.stream_tx_by_mid(mid, None);
        let ssrcs = names.map(|stream| Ssrcs {
            media: *stream.ssrc(),
            rtx: stream.rtx().map(|rtx| *rtx),
        });
        if let (Some(ssrcs), Some(media)) = (ssrcs, rtc.media(mid)) {
            let group = self.subscriptions[index].group.as_deref();
            let cname = group.map_or(media.cname(), |group| &*group.cname);
            let carried = self.slots[slot].formats.carried;
            let stream = &mut self.slots[slot].stream;
            let line = Negotiated {
                mid: &media.mid(),
                cname,
                ssrcs,
                extensions: ExtensionIds {
                    carried,
                    ..extension_ids(media.remote_extmap())
                },
            };
            stream.negotiated(&line, &mut self.entropy);
            self.slot_by_ssrc.insert(ssrcs.media, slot);
            self.slot_by_ssrc.extend(ssrcs.rtx.map(|rtx| (rtx, slot)));
            self.send.negotiated(stream.can_be_measured());
        }
    }

    pub(super) fn state(&self) -> PeerState {
        let subscriptions = self
            .subscriptions
            .iter()
            .map(|(_, subscription)| SubscriptionState {
                track: subscription.track,
                params: subscription.params,
                mid: subscription
                    .slot
                    .map(|slot| self.slots[slot].mid.to_string())
                    .unwrap_or_default(),
                layer: subscription.current(),
                rid: String::new(),
            });
        PeerState {
            connected: false,
            subscriptions: subscriptions.collect(),
            outstanding: self
                .negotiation
                .outstanding
                .as_ref()
                .map(|outstanding| outstanding.offer.clone()),
            revision: self.negotiation.revision,
        }
    }

    fn put(&mut self, wanted: Wanted) {
        let (track, params) = (wanted.track, wanted.params);
        if let Some(index) = self.by_track.get(&track) {
            let subscription = &mut self.subscriptions[*index];
            subscription.params = params;
            if subscription.kind.is_audio() {
                subscription.set_target((!params.paused).then_some(crate::key::LayerIndex(0)));
            }
            return;
        }
        let formats = wanted.formats.clone();
        let index = self.subscriptions.insert(Subscription::new(wanted));
        self.by_track.insert(track, index);
        let formats = formats.map(Arc::unwrap_or_clone);
        self.formats_by_sub
            .extend(formats.map(|formats| (index, formats)));
        self.negotiation.dirty = true;
    }

    fn remove(&mut self, track: TrackKey) -> Option<Subscription> {
        let subscription = self.end(track)?;
        if let Some(slot) = subscription.slot {
            self.slots[slot].state = SlotState::Ending;
        }
        self.negotiation.dirty = true;
        Some(subscription)
    }

    fn end(&mut self, track: TrackKey) -> Option<Subscription> {
        let index = self.by_track.remove(&track)?;
        self.formats_by_sub.remove(&index);
        Some(self.subscriptions.remove(index))
    }
}

/// Identifiers of the extensions that we write, if they fit the one-byte form.
fn extension_ids(map: &ExtensionMap) -> ExtensionIds {
    let id = |extension| map.id_of(extension).filter(|id| EXTENSION_IDS.contains(id));
    ExtensionIds {
        mid: id(Extension::RtpMid),
        transport_cc: id(Extension::TransportSequenceNumber),
        audio_level: id(Extension::AudioLevel),
        orientation: id(Extension::VideoOrientation),
        carried: CarriedIds::default(),
    }
}

mod negotiate; // offers to the client, and its answers
mod subscriptions; // subscriptions by index

#[cfg(test)]
mod tests; // offers and answers, as clients make them
