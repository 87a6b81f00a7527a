//! One session: a peer connection of one client, driven by bytes, commands and time.
//!
//! Sans-IO. Every method that changes the session drains it into an [`Output`] before it returns, which
//! is the contract of the session layer underneath (mutate, then drain to the timeout). A panic inside
//! is caught here: it ends this session, not its shard.

mod build; // how sessions are made: one factory per node
mod checks; // connectivity checks, both ways
mod codecs; // which payload type of the subscriber carries which codec of the publisher
mod incoming; // what a publisher sends, before the session layer sees it
mod listen; // what a subscriber says of what it received
pub mod paths; // the addresses of the client
mod publish; // the half that sends to us
mod offer; // a client's offer, before the session layer sees it
mod sdp; // what has to be changed in an SDP
mod subscribe; // the half we send to

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use spillway_wire::{demux, stun};
use str0m::format::PayloadParams;
use str0m::net::{Protocol, Receive, Transmit};
use str0m::rtp::RtpPacket;
use str0m::{Event, IceConnectionState, Input, Rtc};

pub use build::PeerFactory;
use checks::Checks;
use incoming::Refusal;
pub(crate) use offer::check_sizes;
use paths::Paths;
pub use publish::Publisher;
pub use subscribe::{OfferOut, Slot, Subscriber};

use crate::command::{Command, CommandError, CommandReply, CommandResult};
use crate::drop_reason::{DropReason, Drops};
use crate::ice::Ufrag;
use crate::io::sys::prefetch;
use crate::key::{LayerIndex, SessionKey, TrackKey};
use crate::layer::Target;
use crate::limits::MAX_SSRCS_PER_SESSION;
use crate::srtp::tap;
use crate::subscription::Subscription;
use crate::track::MediaPacket;

/// A session.
pub struct Peer {
    /// Its name.
    pub session: SessionKey,
    /// What it does.
    pub role: Role,
    /// The addresses of its client.
    pub paths: Paths,
    /// What it knows of ICE.
    checks: Box<Checks>,
    /// Large, and of no matter to what is sent: kept apart.
    rtc: Box<Rtc>,
    /// Lines for our SDP; see [`sdp::tcp_candidates`].
    tcp_candidates: Arc<str>,
    connected: bool,
    /// The DTLS handshake is done.
    keyed: bool,
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
    /// The client restarted ICE.
    NewUfrag {
        /// The session answers to this ufrag now,
        ufrag: Ufrag,
        /// and no longer to this one.
        retired: Option<Ufrag>,
    },
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
    /// A datagram from the client: `source`, one of its known addresses, sent it to our `candidate`. The password of a
    /// connectivity check was verified.
    pub fn receive(
        &mut self,
        now: Instant,
        source: SocketAddr,
        candidate: SocketAddr,
        bytes: &[u8],
        out: &mut Output,
    ) {
        self.paths.received(source, bytes.len());
        let protocol = demux::protocol(bytes);
        if protocol == Some(demux::Protocol::Stun) {
            return self.on_stun(now, (source, candidate), bytes, out);
        }
        if let Role::Subscribe(subscriber) = &mut self.role {
            match protocol {
                Some(demux::Protocol::Rtcp) => {
                    let heard = AssertUnwindSafe(|| subscriber.listen(bytes, now, out));
                    match catch_unwind(heard) {
                        Ok(true) => self.paths.heard(source, now),
                        Ok(false) => {}
                        Err(_panic) => self.panicked(out),
                    }
                    return;
                }
                Some(demux::Protocol::Rtp) => return out.drops.count(DropReason::NoTrack), // sendonly
                Some(_) | None => {}
            }
        }
        if let Role::Publish(publisher) = &mut self.role {
            let incoming = &mut publisher.incoming;
            let admitted = match protocol {
                Some(demux::Protocol::Rtp) => incoming.admit_rtp(&mut self.rtc, bytes),
                Some(demux::Protocol::Rtcp) => incoming.admit_rtcp(bytes),
                Some(_) | None => Ok(false),
            };
            match admitted {
                Ok(true) => self.paths.heard(source, now),
                Ok(false) => {}
                Err(refusal) => return self.refuse(refusal, out),
            }
        }
        let packets = out.packets.len();
        let was_keyed = self.keyed;
        self.feed(now, bytes, out);
        if out.packets.len() > packets {
            self.paths.heard(source, now);
        }
        if self.keyed && !was_keyed {
            self.paths.handshake_done(source);
        }
    }

    /// A verified check, or a response to one of ours.
    fn on_stun(
        &mut self,
        now: Instant,
        (source, candidate): (SocketAddr, SocketAddr),
        bytes: &[u8],
        out: &mut Output,
    ) {
        let Ok(message) = stun::Message::parse(bytes) else {
            return out.drops.count(DropReason::MalformedStun);
        };
        if !message.is_binding_request() {
            let is_answer = self.checks.is_response(&message)
                && self.paths.answered(source, message.transaction());
            match is_answer {
                true => self.paths.heard(source, now),
                false => out.drops.count(DropReason::CheckRefused),
            }
            return;
        }
        match self.checks.check((source, candidate), &message) {
            checks::Verdict::Answer {
                response,
                is_current,
                nominates,
            } => {
                self.paths.heard(source, now);
                self.paths.checked(source, now);
                out.transmits.push(to(source, response));
                self.send_requests(now, out);
                if nominates {
                    self.paths.nominate(source);
                }
                if is_current {
                    self.feed(now, bytes, out);
                }
            }
            checks::Verdict::RoleConflict(response) => out.transmits.push(to(source, response)),
            checks::Verdict::Wait => {}
            checks::Verdict::Refuse => out.drops.count(DropReason::CheckRefused),
        }
    }

    /// Requests to addresses that are not proven yet.
    fn send_requests(&mut self, now: Instant, out: &mut Output) {
        while let Some((remote, transaction)) = self.paths.poll_request(now) {
            let request = self.checks.request(transaction);
            out.transmits.extend(request.map(|bytes| to(remote, bytes)));
        }
    }

    /// The session layer takes a datagram of the client.
    fn feed(&mut self, now: Instant, bytes: &[u8], out: &mut Output) {
        let Some((client, candidate)) = self.checks.pair() else {
            return out.drops.count(DropReason::NotConnected);
        };
        let Ok(receive) = Receive::new(Protocol::Udp, client, candidate, bytes) else {
            return out.drops.count(DropReason::Rejected);
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
        self.send_requests(now, out);
        if self.deadline <= now {
            self.guarded(out, now, |rtc| rtc.handle_input(Input::Timeout(now)));
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has to be called.
    pub fn deadline(&self) -> Instant {
        let sending = match &self.role {
            // Nothing of it can be done while there is nowhere to send to.
            Role::Subscribe(subscriber) if self.paths.media().is_some() => {
                subscriber.send.deadline()
            }
            Role::Subscribe(_) | Role::Publish(_) => None,
        };
        let due = sending.into_iter().chain(self.paths.deadline());
        due.fold(self.deadline, Instant::min)
    }

    /// Carries out a command.
    pub fn apply(&mut self, command: Command, now: Instant, out: &mut Output) -> CommandResult {
        command.validate()?;
        let credentials = match &command {
            Command::Publish { offer: sdp, .. } | Command::Answer { sdp, .. } => {
                sdp::ice_credentials(sdp)
            }
            Command::Subscribe { .. } | Command::Candidate(_) | Command::Close { .. } => None,
        };
        let wrong_role = CommandError::WrongRole {
            actual: self.role.name(),
            command: command.name(),
        };
        let applied = catch_unwind(AssertUnwindSafe(|| match (&mut self.role, command) {
            (Role::Publish(publisher), Command::Publish { offer, tracks }) => {
                publisher.accept_offer(self.session, &mut self.rtc, (offer, tracks), now, out)
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
        if let (Ok(_), Some(credentials)) = (&result, credentials) {
            self.checks.set_remote(credentials);
            self.paths.can_request();
        }
        let result = result.map(|reply| match self.with_our_credentials(reply, out) {
            CommandReply::Answer(answer) => {
                CommandReply::Answer(sdp::with_candidates(&answer, &self.tcp_candidates))
            }
            CommandReply::Done => CommandReply::Done,
        });
        self.guarded(out, now, |rtc| rtc.handle_input(Input::Timeout(now)));
        for check in self.checks.take_waiting() {
            self.on_stun(now, (check.source, check.candidate), &check.bytes, out);
        }
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
        if let Role::Subscribe(subscriber) = &self.role {
            prefetch(&**subscriber, SUBSCRIBER_LINES);
        }
    }

    /// Ufrags it answers to, the latest last.
    pub fn ufrags(&self) -> &[Ufrag] {
        self.checks.ufrags()
    }

    /// The client's ufrag.
    #[cfg(test)]
    pub(crate) fn remote_ufrag(&self) -> Option<&str> {
        self.checks.remote_ufrag()
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
        if let Some(keys) = tap::take() {
            self.keyed = true;
            match &mut self.role {
                Role::Publish(publisher) => publisher.incoming.keyed(keys),
                Role::Subscribe(subscriber) => {
                    subscriber.rtcp_opener = Some(keys.rtcp_opener);
                    subscriber.send.keyed(keys.sealer, now);
                }
            }
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

    /// Where a datagram of the session layer goes, if anywhere. Checks are answered by us. Under a subscriber's keys we
    /// number and seal ourselves: nothing else may be sent with them.
    fn transmit(&self, mut transmit: Transmit, out: &mut Output) {
        let destination = match demux::protocol(&transmit.contents) {
            Some(demux::Protocol::Stun) => None,
            Some(demux::Protocol::Rtp | demux::Protocol::Rtcp) => match self.role {
                Role::Publish(_) => self.paths.media().map(|(remote, _)| remote),
                Role::Subscribe(_) => None,
            },
            Some(demux::Protocol::Dtls | demux::Protocol::TurnChannel) | None => {
                self.paths.handshake()
            }
        };
        if let Some(destination) = destination {
            transmit.destination = destination;
            out.transmits.push(transmit);
        }
    }

    fn media(&mut self, packet: RtpPacket, now: Instant, out: &mut Output) {
        let media = match &mut self.role {
            Role::Publish(publisher) => publisher.packet(&mut self.rtc, packet, now),
            Role::Subscribe(_) => Ok(None), // we offered sendonly
        };
        match media {
            Ok(Some(packet)) => out.packets.push(packet),
            Ok(None) => out.drops.count(DropReason::NoTrack),
            Err(refusal) => self.refuse(refusal, out),
        }
    }

    fn refuse(&mut self, refusal: Refusal, out: &mut Output) {
        match refusal {
            Refusal::Drop(reason) => out.drops.count(reason),
            Refusal::TooManySsrcs => {
                out.drops.count(DropReason::NoTrack);
                let limit = MAX_SSRCS_PER_SESSION;
                self.end(&format!("the client used more than {limit} ssrcs"), out);
            }
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
        let known = self.ufrags().iter().any(|ufrag| *ufrag.0 == *chosen.ufrag);
        if known {
            return CommandReply::Answer(sdp);
        }
        let (ours, retired) = self.checks.restart();
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
        out.events.push(PeerEvent::NewUfrag { ufrag, retired });
        if let Role::Publish(publisher) = &mut self.role {
            publisher.answered(sdp.clone());
        }
        CommandReply::Answer(sdp)
    }
}

/// A datagram for `destination`; from where is found when it is sent.
fn to(destination: SocketAddr, bytes: Vec<u8>) -> Transmit {
    Transmit {
        proto: Protocol::Udp,
        source: destination,
        destination,
        contents: bytes.into(),
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
