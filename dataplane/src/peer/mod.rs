//! One session: a peer connection of one client, driven by bytes, commands and time.
//!
//! Sans-IO. Every method that changes the session drains it into an [`Output`] before it returns, which
//! is the contract of the session layer underneath (mutate, then drain to the timeout). A panic inside
//! is caught here: it ends this session, not its shard.

mod build; // how sessions are made: one factory per node
mod codecs; // which payload type of the subscriber carries which codec of the publisher
mod listen; // what a subscriber says of what it received
mod publish; // the half that sends to us
mod sdp; // what has to be changed in an SDP
mod subscribe; // the half we send to

use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use spillway_wire::demux;
use str0m::format::PayloadParams;
use str0m::net::{Protocol, Receive, Transmit};
use str0m::rtp::RtpPacket;
use str0m::{Event, IceConnectionState, Input, Rtc};

pub use build::PeerFactory;
pub use publish::Publisher;
pub use subscribe::{OfferOut, Slot, Subscriber};

use crate::command::{Command, CommandError, CommandReply, CommandResult};
use crate::drop_reason::{DropReason, Drops};
use crate::ice::{IceKey, Ufrag};
use crate::io::sys::prefetch;
use crate::key::{LayerIndex, SessionKey, TrackKey};
use crate::layer::Target;
use crate::srtp::tap;
use crate::subscription::Subscription;
use crate::track::MediaPacket;

/// A session.
pub struct Peer {
    /// Its name.
    pub session: SessionKey,
    /// What it does.
    pub role: Role,
    /// Addresses it receives from, oldest first, and the local address each of them sends to.
    pub addrs: Vec<(SocketAddr, Option<IpAddr>)>,
    /// The address the client nominated last.
    pub nominated: Option<SocketAddr>,
    /// Ufrags it answers to: the latest is last.
    pub ufrags: Vec<Ufrag>,
    /// Large, and of no matter to what is sent: kept apart.
    rtc: Box<Rtc>,
    ice_key: IceKey,
    /// Lines for our SDP; see [`sdp::tcp_candidates`].
    tcp_candidates: Arc<str>,
    connected: bool,
    ended: bool,
    deadline: Instant,
}

/// What a session does.
pub enum Role {
    /// It sends to us.
    Publish(Box<Publisher>),
    /// We send to it.
    Subscribe(Box<Subscriber>),
}

/// What a session gives out; owned by the caller and emptied by it.
#[derive(Default)]
pub struct Output {
    /// Datagrams to send.
    pub transmits: Vec<Transmit>,
    /// Decrypted media.
    pub packets: Vec<MediaPacket>,
    /// What the surroundings have to know.
    pub events: Vec<PeerEvent>,
    /// What a subscriber asks for again: m-line, sequence number.
    pub lost: Vec<(usize, u16)>,
    /// What was lost.
    pub drops: Drops,
}

/// What the surroundings of a session have to know.
#[derive(Debug)]
pub enum PeerEvent {
    /// ICE and DTLS are up.
    Connected,
    /// It is over; why, for people.
    Closed(String),
    /// A publisher's tracks changed: these are gone, the rest is to be announced.
    TracksChanged {
        /// No longer published.
        gone: Vec<TrackKey>,
    },
    /// A subscriber wants to negotiate.
    Offer(OfferOut),
    /// A subscriber's m-lines were negotiated.
    Settled,
    /// A subscriber lost a frame of this subscription.
    KeyframeWanted(usize),
    /// A subscriber's bandwidth was estimated anew.
    EstimateChanged,
    /// These subscriptions ended.
    Unsubscribed(Vec<Subscription>),
    /// The session answers to a new ufrag.
    NewUfrag(Ufrag),
}

/// What the control plane can see of a session.
#[derive(Debug, Clone, Default)]
pub struct PeerState {
    /// ICE and DTLS are up.
    pub connected: bool,
    /// Subscriptions: track, m-line, layer that flows.
    pub subscriptions: Vec<SubscriptionState>,
    /// The offer that waits for an answer.
    pub outstanding: Option<OfferOut>,
    /// Of the latest offer.
    pub revision: u64,
}

/// What the control plane can see of a subscription.
#[derive(Debug, Clone)]
pub struct SubscriptionState {
    /// Which track.
    pub track: TrackKey,
    /// What was asked for.
    pub wish: crate::layer::Wish,
    /// The m-line; empty until offered.
    pub mid: String,
    /// What flows.
    pub layer: Option<LayerIndex>,
    /// Its rid, where the shard knows the track; empty without simulcast.
    pub rid: String,
}

/// Timeouts that are due at once and handled at once; what is left is due in the next turn.
const MAX_IMMEDIATE_TIMEOUTS: usize = 256;
/// Cache lines of a subscriber that sending touches, at most.
const SUBSCRIBER_LINES: usize = 12;
/// How soon a timeout has to be to be handled at once.
const IMMEDIATE: Duration = Duration::from_micros(300);

impl Peer {
    /// A datagram from the client: `source` sent it to our `candidate`.
    pub fn receive(
        &mut self,
        now: Instant,
        source: SocketAddr,
        candidate: SocketAddr,
        bytes: &[u8],
        out: &mut Output,
    ) {
        if let Role::Subscribe(subscriber) = &mut self.role {
            match demux::protocol(bytes) {
                Some(demux::Protocol::Rtcp) => {
                    let heard = AssertUnwindSafe(|| subscriber.listen(bytes, now, out));
                    if catch_unwind(heard).is_err() {
                        self.panicked(out);
                    }
                    return;
                }
                Some(demux::Protocol::Rtp) => return out.drops.count(DropReason::NoTrack), // sendonly
                Some(_) | None => {}
            }
        }
        let Ok(receive) = Receive::new(Protocol::Udp, source, candidate, bytes) else {
            out.drops.count(DropReason::Rejected);
            return;
        };
        self.guarded(out, now, |rtc| {
            rtc.handle_input(Input::Receive(now, receive))
        });
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Output) {
        if let Role::Subscribe(subscriber) = &mut self.role
            && let Some(estimator) = subscriber.send.estimator()
        {
            estimator.handle_timeout(now);
            if estimator.take_changed() {
                out.events.push(PeerEvent::EstimateChanged);
            }
        }
        if self.deadline <= now {
            self.guarded(out, now, |rtc| rtc.handle_input(Input::Timeout(now)));
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has to be called.
    pub fn deadline(&self) -> Instant {
        let sending = match &self.role {
            Role::Subscribe(subscriber) => subscriber.send.deadline(),
            Role::Publish(_) => None,
        };
        sending.map_or(self.deadline, |at| at.min(self.deadline))
    }

    /// Carries out a command.
    pub fn apply(&mut self, command: Command, now: Instant, out: &mut Output) -> CommandResult {
        command.validate()?;
        let wrong_role = CommandError::WrongRole {
            actual: self.role.name(),
            command: command.name(),
        };
        let applied = catch_unwind(AssertUnwindSafe(|| match (&mut self.role, command) {
            (Role::Publish(publisher), Command::Publish { offer, tracks }) => {
                publisher.accept_offer(self.session, &mut self.rtc, (offer, tracks), out)
            }
            (Role::Subscribe(subscriber), Command::Subscribe { put, remove }) => {
                subscriber.change(&mut self.rtc, put, &remove, out)
            }
            (Role::Subscribe(subscriber), Command::Answer { revision, sdp }) => {
                subscriber.accept_answer(&mut self.rtc, revision, &sdp, out)
            }
            (_, Command::Candidate(line)) => check_candidate(&line),
            (_, Command::Close { reason }) => {
                let _ = self.rtc.close(); // says goodbye if it can
                out.events.push(PeerEvent::Closed(reason));
                Ok(CommandReply::Done)
            }
            (Role::Publish(_), Command::Subscribe { .. } | Command::Answer { .. })
            | (Role::Subscribe(_), Command::Publish { .. }) => Err(wrong_role),
        }));
        let result = applied.unwrap_or_else(|_| {
            self.end("internal error in the session", out);
            out.drops.count(DropReason::SessionPanicked);
            Err(CommandError::BadSdp(
                "the session could not handle it and was closed".into(),
            ))
        });
        let result = result.map(|reply| match self.with_our_credentials(reply, out) {
            CommandReply::Answer(answer) => {
                CommandReply::Answer(sdp::with_candidates(&answer, &self.tcp_candidates))
            }
            CommandReply::Done => CommandReply::Done,
        });
        self.guarded(out, now, |rtc| rtc.handle_input(Input::Timeout(now)));
        result
    }

    /// Asks a publisher for a keyframe.
    pub fn request_keyframe(
        &mut self,
        track: TrackKey,
        layer: LayerIndex,
        now: Instant,
        out: &mut Output,
    ) {
        if let Role::Publish(publisher) = &self.role {
            publisher.request_keyframe(&mut self.rtc, track, layer);
        }
        self.guarded(out, now, |rtc| rtc.handle_input(Input::Timeout(now)));
    }

    /// Says what a subscriber's path should be tried for; `reserved_bps` come on top. `None`: it has no
    /// choice of layers, so what its path takes changes nothing.
    pub fn find_out(&mut self, target: Option<Target>, reserved_bps: u64, now: Instant) {
        let Role::Subscribe(subscriber) = &mut self.role else {
            return;
        };
        subscriber.send.measure(target.is_some(), now);
        if let (Some(estimator), Some(target)) = (subscriber.send.estimator(), target) {
            let with_reserve = |bps: u64| if bps == 0 { 0 } else { bps + reserved_bps };
            let (sustain, desired) = (target.sustain_bps, target.desired_bps);
            estimator.aim(with_reserve(sustain), with_reserve(desired));
        }
    }

    /// The subscribing half.
    pub fn subscriber(&mut self) -> Option<&mut Subscriber> {
        match &mut self.role {
            Role::Subscribe(subscriber) => Some(subscriber),
            Role::Publish(_) => None,
        }
    }

    /// Maps the publisher's codecs for subscription `sub`, if its m-line is negotiated.
    pub fn connect(&mut self, sub: usize, published: &[PayloadParams], out: &mut Output) {
        if let Role::Subscribe(subscriber) = &mut self.role {
            let rtc = &mut self.rtc;
            let connected = AssertUnwindSafe(|| subscriber.connect(rtc, sub, published));
            if catch_unwind(connected).is_err() {
                self.panicked(out);
            }
        }
    }

    /// Asks for the memory that sending to it begins with.
    pub fn prefetch(&self) {
        prefetch(&self.addrs[..], 1);
        if let Role::Subscribe(subscriber) = &self.role {
            prefetch(&**subscriber, SUBSCRIBER_LINES);
        }
    }

    /// Where media is sent to, and from which local address: the client's latest nomination, or the
    /// latest address it proved to have.
    pub fn path(&self) -> Option<(SocketAddr, Option<IpAddr>)> {
        match self.nominated {
            Some(nominated) => Some((nominated, self.local_for(nominated))),
            None => self.addrs.last().copied(),
        }
    }

    /// The local address that `destination` sends to: replies have to come from there.
    pub fn local_for(&self, destination: SocketAddr) -> Option<IpAddr> {
        self.addrs
            .iter()
            .find(|(addr, _)| *addr == destination)
            .and_then(|(_, local)| *local)
    }

    /// For the control plane.
    pub fn state(&self) -> PeerState {
        let mut state = match &self.role {
            Role::Publish(_) => PeerState::default(),
            Role::Subscribe(subscriber) => subscriber.state(),
        };
        state.connected = self.connected;
        state
    }

    /// Runs `input` and drains, with one peer's bug kept from ending everybody's shard.
    fn guarded(
        &mut self,
        out: &mut Output,
        now: Instant,
        input: impl FnOnce(&mut Rtc) -> Result<(), str0m::RtcError>,
    ) {
        if self.ended {
            return;
        }
        let run = catch_unwind(AssertUnwindSafe(|| -> Result<(), str0m::RtcError> {
            input(&mut self.rtc)?;
            self.drain(out, now)?;
            for _ in 0..MAX_IMMEDIATE_TIMEOUTS {
                if self.deadline > now + IMMEDIATE {
                    break;
                }
                let due = self.deadline.max(now);
                self.rtc.handle_input(Input::Timeout(due))?;
                self.drain(out, now)?;
            }
            Ok(())
        }));
        if let Some(sealer) = tap::take()
            && let Role::Subscribe(subscriber) = &mut self.role
        {
            subscriber.send.keyed(sealer, now);
        }
        match run {
            Ok(Ok(())) if self.rtc.is_alive() => {}
            Ok(Ok(())) => self.end("closed", out),
            Ok(Err(error)) => {
                // A datagram anybody can forge must not end a call: only what the session layer gives
                // up on is over.
                out.drops.count(DropReason::Rejected);
                tracing::debug!(session = self.session.0, %error, "session input refused");
                if !self.rtc.is_alive() {
                    self.end(&error.to_string(), out);
                }
            }
            Err(_panic) => self.panicked(out),
        }
    }

    /// A bug of ours or of the session layer ends this session alone.
    pub fn panicked(&mut self, out: &mut Output) {
        out.drops.count(DropReason::SessionPanicked);
        self.end("internal error in the session", out);
    }

    fn drain(&mut self, out: &mut Output, now: Instant) -> Result<(), str0m::RtcError> {
        loop {
            match self.rtc.poll_output()? {
                str0m::Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return Ok(());
                }
                str0m::Output::Transmit(transmit) => self.transmit(transmit, out),
                str0m::Output::Event(Event::RtpPacket(packet)) => self.media(packet, now, out),
                str0m::Output::Event(event) => self.event(event, out),
            }
        }
    }

    /// Under a subscriber's keys we number and seal ourselves: nothing else may be sent with them.
    fn transmit(&self, transmit: Transmit, out: &mut Output) {
        let is_media = matches!(
            demux::protocol(&transmit.contents),
            Some(demux::Protocol::Rtp | demux::Protocol::Rtcp)
        );
        if !(is_media && matches!(self.role, Role::Subscribe(_))) {
            out.transmits.push(transmit);
        }
    }

    fn media(&mut self, packet: RtpPacket, now: Instant, out: &mut Output) {
        let media = match &mut self.role {
            Role::Publish(publisher) => publisher.packet(&mut self.rtc, packet, now),
            Role::Subscribe(_) => None, // we offered sendonly
        };
        match media {
            Some(packet) => out.packets.push(packet),
            None => out.drops.count(DropReason::NoTrack),
        }
    }

    fn event(&mut self, event: Event, out: &mut Output) {
        match event {
            Event::Connected => {
                self.connected = true;
                out.events.push(PeerEvent::Connected);
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.end("ice timeout", out);
            }
            Event::Closed => self.end("peer left", out),
            // The rest is either ours to begin with (media added) or of no use to forwarding.
            _ => {}
        }
    }

    fn end(&mut self, reason: &str, out: &mut Output) {
        if !self.ended {
            self.ended = true;
            out.events.push(PeerEvent::Closed(reason.to_owned()));
        }
    }

    /// A client that restarts ICE makes the session layer choose new credentials; they have to be ones
    /// that every shard can check.
    fn with_our_credentials(&mut self, reply: CommandReply, out: &mut Output) -> CommandReply {
        let CommandReply::Answer(sdp) = reply else {
            return reply;
        };
        let chosen = self.rtc.direct_api().local_ice_credentials();
        let known = self.ufrags.iter().any(|ufrag| *ufrag.0 == *chosen.ufrag);
        if known {
            return CommandReply::Answer(sdp);
        }
        let ours = self.ice_key.credentials();
        let sdp = sdp
            .replace(
                &format!("a=ice-ufrag:{}", chosen.ufrag),
                &format!("a=ice-ufrag:{}", ours.ufrag),
            )
            .replace(
                &format!("a=ice-pwd:{}", chosen.pass),
                &format!("a=ice-pwd:{}", ours.pass),
            );
        let ufrag = Ufrag(ours.ufrag.clone().into());
        self.rtc.direct_api().set_local_ice_credentials(ours);
        self.ufrags.push(ufrag.clone());
        out.events.push(PeerEvent::NewUfrag(ufrag));
        if let Role::Publish(publisher) = &mut self.role {
            publisher.answered(sdp.clone());
        }
        CommandReply::Answer(sdp)
    }
}

impl Role {
    fn name(&self) -> &'static str {
        match self {
            Role::Publish(_) => "publish",
            Role::Subscribe(_) => "subscribe",
        }
    }
}

/// Checks a candidate of the client, and lets it go: an ICE-lite agent answers whoever checks (RFC 8445
/// section 2.5), and one that cannot be paired with ours would make the session layer give up before
/// the first check.
fn check_candidate(line: &str) -> CommandResult {
    let line = line.trim().trim_start_matches("a=");
    // Browsers send an empty candidate when they have no more, and names nobody can resolve (mDNS).
    if !line.is_empty() && !line.contains(".local ") {
        str0m::Candidate::from_sdp_string(line)
            .map_err(|error| CommandError::BadCandidate(error.to_string()))?;
    }
    Ok(CommandReply::Done)
}
