//! The half of a client that we send to: subscriptions play on m-lines, which are negotiated one offer
//! at a time and used again.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::{IceCreds, Rtc};

use super::codecs::{Accepted, Menu};
use super::sdp::ours::{self, OfferedLine};
use super::sdp::theirs::{Answer, Asked};
use super::{Output, PeerEvent, PeerState, SubscriptionState, codecs, sdp};
use crate::command::{CommandError, CommandReply, CommandResult};
use crate::drop_reason::DropReason;
use crate::io::sys::prefetch;
use crate::key::TrackKey;
use crate::limits::{
    ANSWER_BYTES_BESIDES, ANSWER_BYTES_PER_M_LINE, MAX_BAD_ANSWERS, MAX_SUBSCRIPTIONS_PER_SESSION,
};
use crate::send::Sender;
use crate::send::stream::{Planned, Stream};
use crate::srtp::RtcpOpener;
use crate::subscription::{Subscription, SyncGroup, Verdict, Wanted};
use crate::track::{MediaPacket, TrackFormats, TrackInfo};

/// What a subscribe session knows.
pub struct Subscriber {
    /// Its subscriptions; the shard names them by these keys.
    pub subscriptions: Slab<Subscription>,
    /// Its m-lines.
    pub slots: Vec<Slot>,
    /// What it sends with.
    pub send: Sender,
    by_track: HashMap<TrackKey, usize>,
    /// What the publisher of a subscription's track may send, where that is known.
    formats_by_sub: HashMap<usize, TrackFormats>,
    pub(super) slot_by_ssrc: HashMap<u32, usize>,
    pub(super) rtcp_opener: Option<RtcpOpener>,
    negotiation: Negotiation,
    /// The client's ICE credentials in the last answer that was accepted.
    pub(super) credentials: Option<IceCreds>,
    /// Lines about its transport in that answer.
    transport: Option<String>,
    /// m-lines that the client rejected before there was a transport: they keep their places.
    forgotten: Vec<String>,
    /// Lines for its offers; see [`sdp::tcp_candidates`].
    tcp_candidates: Arc<str>,
}

/// One m-line and its stream, which outlives what plays on it.
pub struct Slot {
    /// Its name in the SDP.
    pub mid: Mid,
    /// Its outgoing packets.
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
    Playing(usize),
    /// The client does not take it (RFC 8829 section 5.2.2): it is never used again.
    Refused,
}

#[derive(Default)]
struct Negotiation {
    /// Of the latest offer.
    revision: u64,
    /// Of the latest offer whose answer was accepted.
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

/// An offer for the client.
#[derive(Debug, Clone)]
pub struct OfferOut {
    /// Counts the session's offers.
    pub revision: u64,
    /// The offer.
    pub sdp: String,
    /// What plays on which m-line.
    pub mids: Vec<(String, TrackKey)>,
}

impl Slot {
    /// The subscription that plays on it.
    pub fn playing(&self) -> Option<usize> {
        match self.state {
            SlotState::Playing(subscription) => Some(subscription),
            SlotState::Free | SlotState::Ending | SlotState::Refused => None,
        }
    }
}

impl Subscriber {
    pub(super) fn new(tcp_candidates: Arc<str>) -> Self {
        Self {
            subscriptions: Slab::new(),
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

    /// The client's answer to the outstanding offer.
    pub(super) fn accept_answer(
        &mut self,
        rtc: &mut Rtc,
        revision: u64,
        text: &str,
        out: &mut Output,
    ) -> CommandResult {
        // Reading an answer costs time: only the one that is waited for is read.
        let outstanding = self.negotiation.outstanding.as_ref();
        let outstanding = outstanding.map(|outstanding| outstanding.offer.revision);
        if outstanding != Some(revision) {
            if revision == self.negotiation.accepted {
                return Ok(CommandReply::Done); // repeated
            }
            let outstanding = outstanding.map_or("none".into(), |revision| revision.to_string());
            return Err(CommandError::StaleAnswer {
                got: revision,
                outstanding,
            });
        }
        let limit = ANSWER_BYTES_BESIDES + ANSWER_BYTES_PER_M_LINE * self.slots.len();
        let read = match text.len() <= limit {
            true => self.read_answer(text),
            false => Err(CommandError::TooMany {
                what: "bytes of an answer",
                got: text.len(),
                limit,
            }),
        };
        let (answer, parsed) = read.inspect_err(|error| self.bad_answer(error, out))?;
        let outstanding = self.negotiation.outstanding.take();
        let Outstanding { pending, .. } = outstanding.expect("it is the outstanding one");
        self.negotiation.bad_answers = 0;
        let accepted = parsed.map(|parsed| rtc.sdp_api().accept_answer(pending, parsed));
        if let Some(Err(error)) = accepted {
            // Both sides now disagree on the m-lines, and no later offer can mend that.
            out.events
                .push(PeerEvent::Closed(format!("bad answer: {error}")));
            return Err(CommandError::BadSdp(error.to_string()));
        }
        self.negotiation.accepted = revision;
        self.answered(answer, out);
        out.events.push(PeerEvent::Settled);
        if self.negotiation.dirty {
            self.negotiate(rtc, out);
        }
        Ok(CommandReply::Done)
    }

    /// The client's answer, and what the session layer reads of it.
    fn read_answer(&self, text: &str) -> Result<(Answer, Option<SdpAnswer>), CommandError> {
        let outstanding = self.negotiation.outstanding.as_ref();
        let asked = Asked {
            written: outstanding.map_or("", |outstanding| &outstanding.written),
            menus: self.slots.iter().map(|slot| &slot.formats.menu).collect(),
            forgotten: self.forgotten.len(),
            transport: self.transport.as_deref(),
        };
        let answer = Answer::read(text, &asked)?;
        let parsed = answer.normalised.as_deref().map(SdpAnswer::from_sdp_string);
        let parsed = parsed.transpose();
        let parsed = parsed.map_err(|error| CommandError::BadSdp(error.to_string()))?;
        Ok((answer, parsed))
    }

    /// What the client said to each m-line: subscriptions on those that it does not take end.
    fn answered(&mut self, answer: Answer, out: &mut Output) {
        if let Some((credentials, lines)) = answer.transport {
            self.credentials = Some(credentials);
            self.transport = Some(lines);
        }
        let mut rejected = Vec::new();
        for (slot, line) in self.slots.iter_mut().zip(answer.lines) {
            slot.formats.accepted = Some(line.accepted);
            match slot.state {
                SlotState::Playing(sub) if !line.is_taken => {
                    rejected.push(self.subscriptions[sub].track);
                    slot.state = SlotState::Refused;
                }
                SlotState::Free | SlotState::Ending if line.is_rejected => {
                    slot.state = SlotState::Refused;
                }
                SlotState::Playing(_)
                | SlotState::Free
                | SlotState::Ending
                | SlotState::Refused => {}
            }
        }
        if answer.normalised.is_none() {
            // The session layer knows nothing of these m-lines: the next ones have their places (RFC 8829 section 5.2.2).
            for (index, slot) in self.slots.drain(..).enumerate() {
                let line = ours::forgotten(&slot.mid, &slot.formats.menu);
                match self.forgotten.get_mut(index) {
                    Some(known) => *known = line,
                    None => self.forgotten.push(line),
                }
            }
        }
        let ended = rejected
            .iter()
            .filter_map(|track| self.end(*track))
            .collect();
        out.events
            .extend(rejected.into_iter().map(PeerEvent::Rejected));
        out.events.push(PeerEvent::Unsubscribed(ended));
    }

    /// An answer could not be read. The client may send another one, and not for ever.
    fn bad_answer(&mut self, error: &CommandError, out: &mut Output) {
        self.negotiation.bad_answers += 1;
        if self.negotiation.bad_answers > MAX_BAD_ANSWERS {
            let reason = format!("more than {MAX_BAD_ANSWERS} bad answers: {error}");
            out.events.push(PeerEvent::Closed(reason));
        }
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
        sub: usize,
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
        let planned = stream.plan(packet, (verdict, encoding), sealer, estimator.is_some())?;
        // A switch is not shed: who waits for a keyframe would wait for the next one.
        if stream.sheds(packet, is_full && verdict == Verdict::Forward) {
            // Its number is used: the receiver will ask for it again.
            return Err(DropReason::FrameShed);
        }
        Ok(Some((slot, planned, verdict)))
    }

    /// Maps the codecs of the published track for subscription `index`, if its m-line is negotiated. What that was not
    /// offered yet is offered.
    pub fn connect(
        &mut self,
        rtc: &mut Rtc,
        index: usize,
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
        let mut api = rtc.direct_api();
        let names = api.stream_tx_by_mid(mid, None);
        let names = names.map(|stream| (*stream.ssrc(), stream.rtx().map(|rtx| *rtx)));
        if let (Some((ssrc, rtx)), Some(media)) = (names, rtc.media(mid)) {
            let group = self.subscriptions[index].group.as_deref();
            let cname = group.map_or(media.cname(), |group| &*group.cname);
            let stream = &mut self.slots[slot].stream;
            stream.negotiated(media, cname, (ssrc, rtx));
            self.slot_by_ssrc.insert(ssrc, slot);
            self.send.negotiated(stream.can_be_measured());
        }
    }

    /// What the publisher of subscription `index` may send: its m-line has to offer all of that.
    fn learn(&mut self, index: usize, published: &TrackInfo) {
        let formats = TrackFormats {
            codecs: published.codecs.clone(),
            is_stereo: published.is_stereo,
        };
        if self.formats_by_sub.get(&index) == Some(&formats) {
            return;
        }
        let subscription = &self.subscriptions[index];
        let menu = codecs::menu(subscription.kind, Some(&formats));
        self.formats_by_sub.insert(index, formats);
        let slot = subscription.slot.map(|slot| &mut self.slots[slot]);
        if let Some(slot) = slot.filter(|slot| !slot.formats.menu.covers(&menu)) {
            slot.formats.is_outdated = true;
            self.negotiation.dirty = true;
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

    /// Makes the next offer, unless one is outstanding or nothing changed.
    fn negotiate(&mut self, rtc: &mut Rtc, out: &mut Output) {
        if !self.negotiation.dirty || self.negotiation.outstanding.is_some() {
            return;
        }
        self.negotiation.dirty = false;
        let mut api = rtc.sdp_api();
        let mut free: Vec<usize> = (0..self.slots.len())
            .filter(|slot| self.slots[*slot].state == SlotState::Free)
            .collect();
        for slot in &mut self.slots {
            if slot.state == SlotState::Ending {
                api.set_direction(slot.mid, Direction::Inactive);
                slot.state = SlotState::Free;
            }
            if let SlotState::Playing(index) = slot.state
                && std::mem::take(&mut slot.formats.is_outdated)
            {
                slot.formats.menu = codecs::menu(slot.kind, self.formats_by_sub.get(&index));
                // The session layer makes no offer without a change that it knows of.
                api.set_direction(slot.mid, Direction::Inactive);
                api.set_direction(slot.mid, Direction::SendOnly);
            }
        }
        for (index, subscription) in &mut self.subscriptions {
            if subscription.slot.is_some() {
                continue;
            }
            let again = free
                .iter()
                .position(|slot| self.slots[*slot].kind == subscription.kind);
            let slot = if let Some(position) = again {
                let slot = free.swap_remove(position);
                api.set_direction(self.slots[slot].mid, Direction::SendOnly);
                slot
            } else {
                let mid = api.add_media(subscription.kind, Direction::SendOnly, None, None, None);
                self.slots.push(Slot {
                    mid,
                    stream: Stream::new(subscription.kind),
                    kind: subscription.kind,
                    state: SlotState::Free,
                    formats: Box::default(),
                });
                self.slots.len() - 1
            };
            let formats = self.formats_by_sub.get(&index);
            *self.slots[slot].formats = SlotFormats {
                menu: codecs::menu(subscription.kind, formats),
                ..SlotFormats::default()
            };
            self.slots[slot].state = SlotState::Playing(index);
            subscription.slot = Some(slot);
        }
        let Some((offer, pending)) = api.apply() else {
            return;
        };
        self.negotiation.revision += 1;
        let written = offer.to_sdp_string();
        let slots = self.slots.iter();
        let lines = slots.map(|slot| OfferedLine {
            menu: &slot.formats.menu,
            is_refused: slot.state == SlotState::Refused,
        });
        let lines: Vec<OfferedLine<'_>> = lines.collect();
        let sdp = ours::with_formats(&written, &lines, &self.forgotten);
        let sdp = sdp::with_candidates(&sdp, &self.tcp_candidates);
        let offer = OfferOut {
            revision: self.negotiation.revision,
            sdp: sdp::with_groups(&sdp, |mid| self.group_on(mid)),
            mids: self.mids(),
        };
        self.negotiation.outstanding = Some(Outstanding {
            pending,
            written,
            offer: offer.clone(),
        });
        out.events.push(PeerEvent::Offer(offer));
    }

    /// What the track that plays on m-line `mid` is played in sync with.
    fn group_on(&self, mid: &str) -> Option<&SyncGroup> {
        let slot = self.slots.iter().find(|slot| *slot.mid == *mid)?;
        self.subscriptions[slot.playing()?].group.as_deref()
    }

    fn mids(&self) -> Vec<(String, TrackKey)> {
        let playing = self.slots.iter().filter_map(|slot| {
            let subscription = &self.subscriptions[slot.playing()?];
            Some((slot.mid.to_string(), subscription.track))
        });
        playing.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::command::Command;
    use crate::ice::IceKey;
    use crate::key::SessionKey;
    use crate::layer::Wish;
    use crate::peer::{Peer, PeerFactory};
    use crate::srtp::AeadChoice;

    fn subscriber(now: Instant) -> Peer {
        let candidates = vec!["127.0.0.1:7".parse().unwrap()];
        let factory =
            PeerFactory::new(IceKey::random(), candidates, false, AeadChoice::Auto).unwrap();
        factory.subscriber(SessionKey(1), now)
    }

    fn wanted(track: u64, kind: MediaKind, group: Option<(&str, &str)>) -> Wanted {
        Wanted {
            track: TrackKey(track),
            kind,
            wish: Wish::default(),
            group: group.map(|(stream, cname)| SyncGroup {
                stream: stream.into(),
                cname: cname.into(),
            }),
            formats: None,
        }
    }

    /// The offer that comes of it.
    fn offered(peer: &mut Peer, put: Vec<Wanted>, remove: &[u64], now: Instant) -> OfferOut {
        let remove = remove.iter().map(|track| TrackKey(*track)).collect();
        let mut out = Output::default();
        peer.apply(Command::Subscribe { put, remove }, now, &mut out)
            .unwrap();
        let offer = out.events.into_iter().find_map(|event| match event {
            PeerEvent::Offer(offer) => Some(offer),
            _ => None,
        });
        offer.unwrap()
    }

    fn with_an_offer() -> (Peer, Instant) {
        let now = Instant::now();
        let mut peer = subscriber(now);
        offered(&mut peer, vec![wanted(1, MediaKind::Video, None)], &[], now);
        (peer, now)
    }

    /// For each m-line of `sdp`: its direction, media stream id and CNAMEs.
    fn groups(sdp: &str) -> Vec<(&str, &str, Vec<&str>)> {
        let media = sdp.split("\r\nm=").skip(1);
        media
            .map(|section| {
                let direction = ["a=sendonly", "a=inactive"]
                    .into_iter()
                    .find(|name| section.contains(name));
                let msid = section
                    .lines()
                    .find_map(|line| line.strip_prefix("a=msid:"));
                let stream = msid.and_then(|msid| msid.split(' ').next());
                let cnames = section
                    .lines()
                    .filter_map(|line| line.split(" cname:").nth(1));
                (
                    direction.unwrap_or_default(),
                    stream.unwrap_or_default(),
                    cnames.collect(),
                )
            })
            .collect()
    }

    #[test]
    fn tracks_of_one_person_are_offered_as_one_stream_also_on_an_m_line_that_is_used_again() {
        let now = Instant::now();
        let mut peer = subscriber(now);
        let mut client = str0m::RtcConfig::new()
            .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
            .build(now);
        let mut answer = |peer: &mut Peer, offer: &OfferOut| {
            let sdp = str0m::change::SdpOffer::from_sdp_string(&offer.sdp).unwrap();
            let sdp = client.sdp_api().accept_offer(sdp).unwrap().to_sdp_string();
            let revision = offer.revision;
            peer.apply(
                Command::Answer { revision, sdp },
                now,
                &mut Output::default(),
            )
            .unwrap();
        };
        let ann = Some(("ann", "ann"));
        let put = vec![
            wanted(1, MediaKind::Audio, ann),
            wanted(2, MediaKind::Video, ann),
            wanted(3, MediaKind::Video, Some(("ann-screen", "ann"))),
        ];
        let offer = offered(&mut peer, put, &[], now);
        let all = groups(&offer.sdp);
        let streams: Vec<_> = all.iter().map(|(_, stream, _)| *stream).collect();
        assert_eq!(streams, ["ann", "ann", "ann-screen"]);
        for (_, _, cnames) in &all {
            assert!(!cnames.is_empty() && cnames.iter().all(|cname| *cname == "ann"));
        }
        answer(&mut peer, &offer);
        let offer = offered(&mut peer, Vec::new(), &[2], now);
        answer(&mut peer, &offer);
        let put = vec![wanted(4, MediaKind::Video, Some(("bob", "bob")))];
        let offer = offered(&mut peer, put, &[], now);
        let all = groups(&offer.sdp);
        assert_eq!(all.len(), 3, "the m-line is used again");
        assert_eq!((all[1].0, all[1].1), ("a=sendonly", "bob"));
        assert!(all[1].2.iter().all(|cname| *cname == "bob"));
        assert_eq!(all[0].1, "ann");
    }

    #[test]
    fn only_the_answer_that_is_waited_for_is_read() {
        let (mut peer, now) = with_an_offer();
        let mut out = Output::default();
        let mut answer = |revision, sdp: &str| {
            let sdp = sdp.to_owned();
            peer.apply(Command::Answer { revision, sdp }, now, &mut out)
        };
        for _ in 0..1_000 {
            let stale = answer(7, "not an sdp");
            assert!(matches!(
                stale,
                Err(CommandError::StaleAnswer { got: 7, .. })
            ));
        }
        let long = "x".repeat(13_000);
        let too_long = answer(1, &long);
        let limit = ANSWER_BYTES_BESIDES + ANSWER_BYTES_PER_M_LINE;
        let what = "bytes of an answer";
        let got = long.len();
        assert_eq!(too_long, Err(CommandError::TooMany { what, got, limit }));
        for _ in 1..=MAX_BAD_ANSWERS {
            assert!(matches!(answer(1, "v=1"), Err(CommandError::BadSdp(_))));
        }
        let ended = |event: &PeerEvent| matches!(event, PeerEvent::Closed(reason) if reason.contains("bad answers"));
        assert!(out.events.iter().any(ended));
    }
}
