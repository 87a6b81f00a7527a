//! One session: the part that publish and subscribe sessions share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use str0m::{IceCreds, Input, Rtc};

use super::checks::{Checks, PacketAddresses};
use super::command::{Command, CommandError, CommandReply, CommandResult};
use super::output::{Output, PeerEvent, PeerState};
use super::paths::Paths;
use super::publish::Publisher;
use super::rtc::ice_creds;
use super::sdp;
use super::subscribe::Subscriber;
use crate::drop_reason::DropReason;
use crate::dtls::handshake::Handshake;
use crate::ice::credentials::{Credentials, Ufrag};
use crate::io::sys::prefetch;
use crate::key::{LayerIndex, SessionKey, SubscriptionIndex, TrackKey};
use crate::media::layer_allocation::Target;
use crate::media::track::TrackInfo;

/// One session: a peer connection with a client.
pub struct Peer {
    /// Key of the session in the data plane.
    pub session: SessionKey,
    /// Whether the session publishes or subscribes.
    pub role: Role,
    /// Addresses of the client.
    pub paths: Paths,
    /// ICE state of the session.
    pub(super) checks: Box<Checks>,
    /// The session layer; boxed, because it is large and sending does not need it.
    pub(super) rtc: Box<Rtc>,
    /// Candidate lines for our SDP; see [`tcp_candidates`](sdp::candidates::tcp_candidates).
    pub(super) tcp_candidates: Arc<str>,
    /// State shared with the session's DTLS instance.
    pub(super) handshake: Arc<Handshake>,
    pub(super) connected: bool,
    /// True after the DTLS handshake.
    pub(super) keyed: bool,
    pub(super) ended: bool,
    pub(super) deadline: Instant,
}

/// Role of a session.
pub enum Role {
    /// The client sends media to us.
    Publish(Box<Publisher>),
    /// We send media to the client.
    Subscribe(Box<Subscriber>),
}

/// Maximum number of cache lines of a subscriber that sending touches.
const SUBSCRIBER_LINES: usize = 12;

impl Peer {
    /// Handles timers that are due at `now`.
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
            let last_received = self.paths.last_received_on_media_path();
            if let Some(check) = self.checks.repeat_check(last_received, now) {
                self.feed(now, &check, out);
            }
            self.guarded(out, now, |rtc| rtc.handle_input(Input::Timeout(now)));
        }
    }

    /// Time at which [`handle_timeout`](Self::handle_timeout) must be called.
    pub fn deadline(&self) -> Instant {
        let sending = match &self.role {
            // Reports and padding need a path to send to.
            Role::Subscribe(subscriber) if self.paths.media().is_some() => {
                subscriber.send.deadline()
            }
            Role::Subscribe(_) | Role::Publish(_) => None,
        };
        let due = sending.into_iter().chain(self.paths.deadline());
        due.fold(self.deadline, Instant::min)
    }

    /// Executes a command of the control plane.
    pub fn apply(&mut self, command: Command, now: Instant, out: &mut Output) -> CommandResult {
        command.validate()?;
        let negotiates = matches!(&command, Command::Publish { .. } | Command::Answer { .. });
        let wrong_role = CommandError::WrongRole {
            actual: self.role.name(),
            command: command.name(),
        };
        let applied = catch_unwind(AssertUnwindSafe(|| match (&mut self.role, command) {
            (Role::Publish(publisher), Command::Publish { offer, tracks }) => {
                publisher.accept_offer(&mut self.rtc, offer, tracks, now, out)
            }
            (Role::Subscribe(subscriber), Command::Subscribe { put, remove }) => {
                subscriber.change(&mut self.rtc, put, &remove, out)
            }
            (Role::Subscribe(subscriber), Command::Answer { revision, sdp }) => {
                subscriber.accept_answer(&mut self.rtc, revision, &sdp, out)
            }
            (_, Command::Candidate(line)) => check_candidate(&line),
            (_, Command::Close { reason }) => {
                let _ = self.rtc.close(); // sends a DTLS close_notify if possible
                out.events.push(PeerEvent::Closed(reason));
                Ok(CommandReply::Done)
            }
            (Role::Publish(_), Command::Subscribe { .. } | Command::Answer { .. })
            | (Role::Subscribe(_), Command::Publish { .. }) => Err(wrong_role),
        }));
        if let Some(handshake) = Handshake::take_created() {
            self.handshake = handshake; // the session layer was created again
        }
        let result = applied.unwrap_or_else(|_| {
            self.end(None, "internal error in the session", out);
            out.drops.count(DropReason::SessionPanicked);
            Err(CommandError::BadSdp(
                "the session could not handle it and was closed".into(),
            ))
        });
        let credentials = self
            .role
            .credentials()
            .filter(|_| negotiates && result.is_ok());
        if let Some(credentials) = credentials.cloned() {
            self.checks.set_remote(Credentials {
                ufrag: credentials.ufrag,
                pass: credentials.pass,
            });
            self.paths.can_request();
        }
        let result = result.map(|reply| match self.with_our_credentials(reply, out) {
            CommandReply::Answer(mut answered) => {
                answered.sdp =
                    sdp::candidates::with_candidates(&answered.sdp, &self.tcp_candidates);
                CommandReply::Answer(answered)
            }
            CommandReply::Done => CommandReply::Done,
        });
        self.guarded(out, now, |rtc| rtc.handle_input(Input::Timeout(now)));
        for check in self.checks.take_waiting() {
            let addresses = PacketAddresses {
                source: check.source,
                candidate: check.candidate,
            };
            self.on_stun(now, addresses, &check.bytes, out);
        }
        result
    }

    /// Requests a keyframe from a publisher.
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

    /// Sets the bandwidth that the estimator of a subscriber should probe for; `reserved_bps` (audio) is added. `None`:
    /// the subscriber has no choice of layers, so its path is not measured.
    pub fn set_probe_targets(&mut self, target: Option<Target>, reserved_bps: u64, now: Instant) {
        let Role::Subscribe(subscriber) = &mut self.role else {
            return;
        };
        subscriber.send.measure(target.is_some(), now);
        if let (Some(estimator), Some(target)) = (subscriber.send.estimator(), target) {
            let with_reserve = |bps: u64| if bps == 0 { 0 } else { bps + reserved_bps };
            let (sustain, desired) = (target.sustain_bps, target.desired_bps);
            estimator.set_targets(with_reserve(sustain), with_reserve(desired));
        }
    }

    /// True when media can be sent: the session is connected, has keys and a proven address.
    pub fn is_reachable(&self) -> bool {
        self.connected && self.keyed && self.paths.media().is_some()
    }

    /// The subscribing half, if the session subscribes.
    pub fn subscriber(&mut self) -> Option<&mut Subscriber> {
        match &mut self.role {
            Role::Subscribe(subscriber) => Some(subscriber),
            Role::Publish(_) => None,
        }
    }

    /// Maps the codecs of the published track for subscription `sub`, if its m-line is negotiated.
    pub fn connect(&mut self, sub: SubscriptionIndex, published: &TrackInfo, out: &mut Output) {
        if let Role::Subscribe(subscriber) = &mut self.role {
            let rtc = &mut self.rtc;
            let connected = AssertUnwindSafe(|| subscriber.connect(rtc, sub, published, out));
            if catch_unwind(connected).is_err() {
                self.panicked(out);
            }
        }
    }

    /// Offers a codec first, see [`Subscriber::offer_first`].
    pub fn offer_first(
        &mut self,
        sub: SubscriptionIndex,
        codec: u8,
        published: &TrackInfo,
        out: &mut Output,
    ) -> bool {
        let Role::Subscribe(subscriber) = &mut self.role else {
            return true;
        };
        let rtc = &mut self.rtc;
        let offered =
            AssertUnwindSafe(|| subscriber.offer_first(rtc, (sub, codec), published, out));
        catch_unwind(offered).unwrap_or_else(|_| {
            self.panicked(out);
            true
        })
    }

    /// Prefetches the first memory that sending to the session needs.
    pub fn prefetch(&self) {
        if let Role::Subscribe(subscriber) = &self.role {
            prefetch(&**subscriber, SUBSCRIBER_LINES);
        }
    }

    /// Our ICE ufrags of the session, the latest last.
    pub fn ufrags(&self) -> &[Ufrag] {
        self.checks.ufrags()
    }

    /// ICE username fragment of the client.
    #[cfg(test)]
    pub(crate) fn remote_ufrag(&self) -> Option<&str> {
        self.checks.remote_ufrag()
    }

    /// State of the session for the control plane.
    pub fn state(&self) -> PeerState {
        let mut state = match &self.role {
            Role::Publish(_) => PeerState::default(),
            Role::Subscribe(subscriber) => subscriber.state(),
        };
        state.connected = self.connected;
        state
    }

    /// After an ICE restart of the client the session layer chooses new credentials. This replaces them by credentials
    /// that every shard can verify.
    fn with_our_credentials(&mut self, reply: CommandReply, out: &mut Output) -> CommandReply {
        let CommandReply::Answer(mut answered) = reply else {
            return reply;
        };
        let chosen = self.rtc.direct_api().local_ice_credentials();
        let known = self.ufrags().iter().any(|ufrag| *ufrag.0 == *chosen.ufrag);
        if known {
            return CommandReply::Answer(answered);
        }
        let (ours, retired) = self.checks.restart();
        answered.sdp = answered
            .sdp
            .replace(
                &format!("a=ice-ufrag:{}", chosen.ufrag),
                &format!("a=ice-ufrag:{}", ours.ufrag),
            )
            .replace(
                &format!("a=ice-pwd:{}", chosen.pass),
                &format!("a=ice-pwd:{}", ours.pass),
            );
        let ufrag = Ufrag(ours.ufrag.clone().into());
        let creds = ice_creds(ours);
        self.rtc.direct_api().set_local_ice_credentials(creds);
        out.events.push(PeerEvent::NewUfrag { ufrag, retired });
        if let Role::Publish(publisher) = &mut self.role {
            publisher.answered(answered.sdp.clone());
        }
        CommandReply::Answer(answered)
    }
}

impl Role {
    fn name(&self) -> &'static str {
        match self {
            Role::Publish(_) => "publish",
            Role::Subscribe(_) => "subscribe",
        }
    }

    /// The client's ICE credentials, from the last accepted SDP.
    fn credentials(&self) -> Option<&IceCreds> {
        match self {
            Role::Publish(publisher) => publisher.credentials.as_ref(),
            Role::Subscribe(subscriber) => subscriber.credentials.as_ref(),
        }
    }
}

/// Checks the syntax of a client's candidate and ignores it: an ICE-lite agent answers any sender of a valid check (RFC
/// 8445 section 2.5). If the session layer got a candidate that cannot be paired with ours, it would give up before the
/// first check.
fn check_candidate(line: &str) -> CommandResult {
    let line = line.trim().trim_start_matches("a=");
    // Browsers send an empty candidate at the end, and mDNS names, which only the client can resolve.
    if !line.is_empty() && !line.contains(".local ") {
        str0m::Candidate::from_sdp_string(line)
            .map_err(|error| CommandError::BadCandidate(error.to_string()))?;
    }
    Ok(CommandReply::Done)
}
