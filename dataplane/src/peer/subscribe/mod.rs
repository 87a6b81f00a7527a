//! The subscribing half of a session: subscriptions play on m-lines, which are negotiated one offer at a time and
//! reused.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use spillway_wire::rtp::EXTENSION_IDS;
use str0m::change::SdpPendingOffer;
use str0m::media::Mid;
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{IceCreds, Rtc};

use super::codecs;
use super::codecs::{Accepted, Menu};
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
    /// Its subscriptions, by the keys that the shard uses.
    pub subscriptions: Subscriptions,
    /// m-lines of the session, in SDP order.
    pub slots: Vec<Slot>,
    /// Keys, path and reports of its outgoing packets.
    pub send: Sender,
    by_track: HashMap<TrackKey, SubscriptionIndex>,
    /// Formats of a subscription's publisher, if known.
    formats_by_sub: HashMap<SubscriptionIndex, TrackFormats>,
    /// By the SSRC of media, and that of its retransmissions.
    pub(super) slot_by_ssrc: HashMap<u32, usize>,
    pub(super) rtcp_opener: Option<RtcpOpener>,
    negotiation: Negotiation,
    /// The client's ICE credentials in the last answer that was accepted.
    pub(super) credentials: Option<IceCreds>,
    /// Lines about its transport in that answer.
    transport: Option<String>,
    /// m-lines that the client rejected before there was a transport: they keep their places.
    forgotten: Vec<String>,
    /// Lines for its offers; see [`tcp_candidates`](crate::peer::sdp::candidates::tcp_candidates).
    tcp_candidates: Arc<str>,
    /// Random source of first sequence numbers.
    entropy: Entropy,
}

/// One m-line and its stream, which outlives what plays on it.
pub struct Slot {
    /// Its name in the SDP.
    pub mid: Mid,
    /// Outgoing packets of the m-line.
    pub stream: Stream,
    kind: MediaKind,
    state: SlotState,
    formats: Box<SlotFormats>,
}

/// What an m-line can carry; of no matter to a packet.
#[derive(Default)]
struct SlotFormats {
    /// What was offered last.
    menu: Menu,
    /// What the client took of it; `None` until it has answered for what plays.
    accepted: Option<Vec<Accepted>>,
    /// Header extensions that the client takes as they are.
    carried: CarriedIds,
    /// More is to be offered.
    is_outdated: bool,
}

/// Cache lines of an m-line that sealing touches, at most.
const SLOT_LINES: usize = 8;
/// Cache lines of a subscription that its verdict touches, at most.
const SUBSCRIPTION_LINES: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotState {
    /// Nothing plays; may be used again.
    Free,
    /// Nothing plays any more; the client was not told yet.
    Ending,
    /// This subscription plays on it.
    Playing(SubscriptionIndex),
    /// The client does not take it (RFC 8829 section 5.2.2): it is never used again.
    Refused,
}

#[derive(Default)]
struct Negotiation {
    /// Of the latest offer.
    revision: u64,
    /// Revision of the latest offer with an accepted answer.
    accepted: u64,
    outstanding: Option<Outstanding>,
    /// Answers to it that could not be read.
    bad_answers: usize,
    /// Something changed since the latest offer.
    dirty: bool,
}

struct Outstanding {
    pending: SdpPendingOffer,
    /// The session layer's offer.
    written: String,
    offer: OfferOut,
}

impl AsMut<Stream> for Slot {
    fn as_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }
}

impl Slot {
    /// The subscription that plays on it.
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
        // What a client refuses stays in its offers.
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
        for track in remove {
            ended.extend(self.remove(*track));
        }
        for wanted in put {
            self.put(wanted);
        }
        out.events.push(PeerEvent::Unsubscribed(ended));
        self.negotiate(rtc, out);
        Ok(CommandReply::Done)
    }

    /// Asks for the memory that sealing for it goes on with.
    pub fn prefetch(&self) {
        self.send.prefetch();
        if let Some(slot) = self.slots.first() {
            prefetch(slot, SLOT_LINES);
        }
        if let Some((_, subscription)) = self.subscriptions.iter().next() {
            prefetch(subscription, SUBSCRIPTION_LINES);
        }
    }

    /// And what that memory points to.
    pub fn prefetch_codecs(&self) {
        if let Some((_, subscription)) = self.subscriptions.iter().next()
            && let Some(codecs) = &subscription.codecs
        {
            prefetch(&codecs[..], 1);
        }
    }

    /// What subscription `sub` gets of `packet` of its track: on which m-line, how, and whether it is the
    /// first of what flows. `is_full`: the socket has no room for another frame of its layer.
    pub fn plan(
        &mut self,
        sub: SubscriptionIndex,
        packet: &MediaPacket,
        is_full: bool,
    ) -> Result<Option<(usize, Planned, Verdict)>, DropReason> {
        // It may have ended since it was told, and another one have its place.
        let subscription = self.subscriptions.get_mut(sub);
        let Some(subscription) = subscription.filter(|found| found.track == packet.track) else {
            return Ok(None);
        };
        // Before the verdict: a packet that cannot be sent must not be what a switch begins with.
        let encoding = subscription.encoding(packet).ok_or(DropReason::NoCodec)?;
        let slot = subscription.slot.ok_or(DropReason::NoCodec)?;
        let (sealer, estimator) = self.send.keys().ok_or(DropReason::NotConnected)?;
        let verdict = subscription.judge(packet);
        if verdict == Verdict::Skip {
            return Ok(None);
        }
        let stream = &mut self.slots[slot].stream;
        let cost = SealCost {
            overhead: sealer.rtp_overhead(),
            is_measured: estimator.is_some(),
        };
        let planned = stream.plan(packet, verdict, encoding, cost)?;
        // A switch is not shed: the subscriber would wait for the next keyframe.
        if stream.sheds(packet, is_full && verdict == Verdict::Forward) {
            // Its number is used: the receiver will ask for it again.
            return Err(DropReason::FrameShed);
        }
        Ok(Some((slot, planned, verdict)))
    }

    /// The track of subscription `sub`, once, if its publisher sends what the subscriber negotiated no codec for.
    pub fn take_undecodable(
        &mut self,
        sub: SubscriptionIndex,
        packet: &MediaPacket,
    ) -> Option<TrackKey> {
        let subscription = self.subscriptions.get_mut(sub)?;
        let is_wanted = subscription.layers().contains(packet.layer);
        (is_wanted && subscription.cannot_be_decoded()).then_some(subscription.track)
    }

    /// How long subscription `sub` waited for `packet`, which is sent to it `now`.
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

    /// Maps the codecs of the published track for subscription `index`, if its m-line is negotiated. What that was not
    /// offered yet is offered.
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
        // What an offer that is under way adds may be what is needed.
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
                wish: subscription.wish,
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
        let (track, wish) = (wanted.track, wanted.wish);
        if let Some(index) = self.by_track.get(&track) {
            let subscription = &mut self.subscriptions[*index];
            subscription.wish = wish;
            if subscription.kind.is_audio() {
                subscription.aim((!wish.paused).then_some(crate::key::LayerIndex(0)));
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

/// The ids of what we write, of those that one byte can say.
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
