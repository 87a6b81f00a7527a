//! Datagrams from the client: each is authenticated before it changes any state.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use spillway_wire::{demux, stun};
use str0m::Input;
use str0m::net::{Protocol, Receive, Transmit};

use super::checks::{self, PacketAddresses};
use super::output::Output;
use super::session::{Peer, Role};
use crate::drop_reason::DropReason;

impl Peer {
    /// Handles a datagram from `source`, a known address of the client, to our `candidate`. If it is a connectivity
    /// check, its password was verified.
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
            return self.on_stun(now, PacketAddresses { source, candidate }, bytes, out);
        }
        if let Role::Subscribe(subscriber) = &mut self.role {
            match protocol {
                Some(demux::Protocol::Rtcp) => {
                    let listen = AssertUnwindSafe(|| subscriber.listen(bytes, now, out));
                    match catch_unwind(listen) {
                        Ok(true) => self.paths.record_received(source, now),
                        Ok(false) => {}
                        Err(_panic) => self.panicked(out),
                    }
                    return;
                }
                Some(demux::Protocol::Rtp) => return out.drops.count(DropReason::NoTrack), // m-lines are sendonly
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
                Ok(true) => self.paths.record_received(source, now),
                Ok(false) => {}
                Err(refusal) => return self.refuse(refusal, out),
            }
        }
        if let (Role::Publish(publisher), Some(demux::Protocol::Rtp)) = (&mut self.role, protocol) {
            publisher.arriving(bytes);
        }
        let packets = out.packets.len();
        let was_keyed = self.keyed;
        self.feed(now, bytes, out);
        if let Role::Publish(publisher) = &mut self.role {
            publisher.arrived();
        }
        if out.packets.len() > packets {
            self.paths.record_received(source, now);
        }
        if self.keyed && !was_keyed {
            self.paths.handshake_done(source);
        }
    }

    /// Handles a verified check, or a response to one of our requests.
    pub(super) fn on_stun(
        &mut self,
        now: Instant,
        addresses: PacketAddresses,
        bytes: &[u8],
        out: &mut Output,
    ) {
        let source = addresses.source;
        let Ok(message) = stun::Message::parse(bytes) else {
            return out.drops.count(DropReason::MalformedStun);
        };
        if !message.is_binding_request() {
            let is_answer = self.checks.is_response(&message)
                && self.paths.answered(source, message.transaction(), now);
            if is_answer && let Some(rtt) = self.paths.rtt() {
                self.measured_rtt(rtt);
            }
            match is_answer {
                true => self.paths.record_received(source, now),
                false => out.drops.count(DropReason::CheckRefused),
            }
            return;
        }
        match self.checks.check(addresses, &message) {
            checks::Verdict::Answer {
                response,
                is_current,
                nominates,
            } => {
                self.paths.record_received(source, now);
                self.paths.checked(source, now);
                out.transmits.push(to(source, response));
                self.send_requests(now, out);
                if nominates {
                    self.paths.nominate(source, now);
                }
                if is_current {
                    self.checks.set_shown(bytes, now);
                    self.feed(now, bytes, out);
                }
            }
            checks::Verdict::RoleConflict(response) => out.transmits.push(to(source, response)),
            checks::Verdict::Wait => {}
            checks::Verdict::Refuse => out.drops.count(DropReason::CheckRefused),
        }
    }

    fn measured_rtt(&mut self, rtt: Duration) {
        self.handshake.measured(rtt);
        if let Role::Subscribe(subscriber) = &mut self.role {
            subscriber.send.measured_rtt(rtt);
        }
    }

    /// Sends due requests to addresses that are not proven yet.
    pub(super) fn send_requests(&mut self, now: Instant, out: &mut Output) {
        while let Some((remote, transaction)) = self.paths.poll_request(now) {
            let request = self.checks.request(transaction);
            out.transmits.extend(request.map(|bytes| to(remote, bytes)));
        }
    }

    /// Passes a datagram of the client to the session layer.
    pub(super) fn feed(&mut self, now: Instant, bytes: &[u8], out: &mut Output) {
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
}

/// A datagram to `destination`. The source address is chosen when it is sent.
fn to(destination: SocketAddr, bytes: Vec<u8>) -> Transmit {
    Transmit {
        proto: Protocol::Udp,
        source: destination,
        destination,
        contents: bytes.into(),
    }
}
