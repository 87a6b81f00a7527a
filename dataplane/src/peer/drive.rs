//! Passes inputs to the session layer (str0m) and drains its outputs. A panic inside is caught here: it ends this
//! session, not its shard.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use spillway_wire::demux;
use str0m::net::Transmit;
use str0m::rtp::RtpPacket;
use str0m::{Event, IceConnectionState, Input, Rtc, RtcError};

use super::incoming::Refusal;
use super::output::{Output, PeerEvent};
use super::session::{Peer, Role};
use crate::drop_reason::DropReason;
use crate::dtls::handshake::FailureKind;
use crate::limits::MAX_SSRCS_PER_SESSION;

/// Maximum number of timeouts handled in one call; later ones are handled in the next turn of the loop.
const MAX_IMMEDIATE_TIMEOUTS: usize = 256;
/// A timeout that is due within this time is handled immediately.
const IMMEDIATE: Duration = Duration::from_micros(300);

impl Peer {
    /// Runs `input` and drains the outputs. A panic ends this session, not the shard.
    pub(super) fn guarded(
        &mut self,
        out: &mut Output,
        now: Instant,
        input: impl FnOnce(&mut Rtc) -> Result<(), RtcError>,
    ) {
        if self.ended {
            return;
        }
        let run = catch_unwind(AssertUnwindSafe(|| -> Result<(), RtcError> {
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
        if !self.keyed
            && let Some(keys) = self.handshake.take_keys()
        {
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
            Ok(Ok(())) => self.end(None, "closed", out),
            Ok(Err(error)) => {
                // A forged datagram must not end a call, so an input error alone does not end the session.
                out.drops.count(DropReason::Rejected);
                tracing::debug!(session = self.session.0, %error, "session input refused");
                if !self.rtc.is_alive() {
                    self.refused_by_session_layer(&error, now, out);
                }
            }
            Err(_panic) => self.panicked(out),
        }
        if !self.keyed {
            self.check_handshake(now, out);
        }
    }

    fn refused_by_session_layer(&mut self, error: &RtcError, now: Instant, out: &mut Output) {
        // Before the handshake is complete, str0m returns this error for one reason only: the client's certificate
        // differs from the signalled fingerprint.
        let is_fingerprint = !self.keyed && matches!(error, RtcError::RemoteSdp(_));
        if is_fingerprint {
            let kind = FailureKind::Fingerprint;
            self.handshake.fail(kind, error.to_string(), now);
        }
        let failed = is_fingerprint.then_some(FailureKind::Fingerprint);
        self.end(failed, &error.to_string(), out);
    }

    /// Ends the session some time after its handshake failed; see
    /// [`FAILURE_GRACE`](crate::dtls::handshake::FAILURE_GRACE).
    fn check_handshake(&mut self, now: Instant, out: &mut Output) {
        let Some((failure, addresses)) = self.handshake.failure() else {
            return;
        };
        if now >= addresses {
            self.end(Some(failure.kind), &failure.to_string(), out);
        } else {
            self.deadline = self.deadline.min(addresses);
        }
    }

    /// Ends this session after a panic in its code or in the session layer.
    pub fn panicked(&mut self, out: &mut Output) {
        out.drops.count(DropReason::SessionPanicked);
        self.end(None, "internal error in the session", out);
    }

    fn drain(&mut self, out: &mut Output, now: Instant) -> Result<(), RtcError> {
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

    /// Queues a datagram of the session layer, or drops it. Connectivity checks are answered in `checks`. RTP and RTCP
    /// under a subscriber's keys are sent by `send/` only, because each sequence number may be used once.
    fn transmit(&self, mut transmit: Transmit, out: &mut Output) {
        let destination = match demux::protocol(&transmit.contents) {
            Some(demux::Protocol::Stun) => None,
            Some(demux::Protocol::Rtp | demux::Protocol::Rtcp) => match self.role {
                Role::Publish(_) => self.paths.media().map(|path| path.remote),
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
            Role::Publish(publisher) => {
                publisher.packet(&mut self.rtc, packet, now, &mut out.packets)
            }
            Role::Subscribe(_) => Err(Refusal::Drop(DropReason::NoTrack)), // a subscriber's m-lines are sendonly
        };
        if let Err(refusal) = media {
            self.refuse(refusal, out);
        }
    }

    pub(super) fn refuse(&mut self, refusal: Refusal, out: &mut Output) {
        match refusal {
            Refusal::Drop(reason) => out.drops.count(reason),
            Refusal::TooManySsrcs => {
                out.drops.count(DropReason::NoTrack);
                let limit = MAX_SSRCS_PER_SESSION;
                let reason = format!("the client used more than {limit} ssrcs");
                self.end(None, &reason, out);
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
                self.end(None, "ice timeout", out);
            }
            Event::Closed => self.end(None, "peer left", out),
            // All other events are results of our own calls, or not needed for forwarding.
            _ => {}
        }
    }

    /// Ends the session, because its handshake failed (`failed`) or for another reason.
    pub(super) fn end(&mut self, failed: Option<FailureKind>, reason: &str, out: &mut Output) {
        if !self.ended {
            self.ended = true;
            let reason = reason.to_owned();
            out.events.push(match failed {
                Some(kind) => PeerEvent::HandshakeFailed { kind, reason },
                None => PeerEvent::Closed(reason),
            });
        }
    }
}
