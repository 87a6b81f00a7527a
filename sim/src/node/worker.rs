//! One shard with its engine. It takes turns when it has work, like its thread would.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use spillway_dataplane::event_loop::run::{BusyMeter, note_turn, note_wake, turn, wake_at};
use spillway_dataplane::io::engine::Engine;
use spillway_dataplane::io::simulated::{SendLimits, Simulated, Waiting};
use spillway_dataplane::io::udp::{Family, PortKind, SocketIndex};
use spillway_dataplane::mesh::mailbox::Mesh;
use spillway_dataplane::path::Sockets;
use spillway_dataplane::path::arrive::Overflows;
use spillway_dataplane::report::ShardReport;
use spillway_dataplane::shard::state::Shard;
use spillway_dataplane::turn::Now;

use crate::clock::{START_UNIX_S, Time};
use crate::network::Datagram;
use crate::violation::Violation;

/// Receive buffer of a shard, in bytes.
pub(super) const RECEIVE_BUFFER_BYTES: usize = 1 << 20;
/// Turns of a shard at one time after which it does not come to rest.
pub(super) const MAX_TURNS: usize = 1_000;

/// One shard with its engine.
pub(super) struct Worker {
    shard: Shard,
    io: Sockets,
    busy: BusyMeter,
    /// The shard's next tick when it fell asleep; `None` before its first turn.
    tick: Option<Instant>,
    /// Time when the shard fell asleep.
    slept_at: Instant,
    pub(super) is_stalled: bool,
    /// Time by which turns are late.
    pub(super) late: Duration,
    pub(super) limits: SendLimits,
    /// Datagrams that were put into the receive buffer.
    arrived: u64,
    /// Datagrams that were taken out of the send buffer.
    sent: u64,
}

impl Worker {
    pub(super) fn new(shard: Shard, now: Time) -> Self {
        let simulated = Simulated::new(RECEIVE_BUFFER_BYTES, now.instant());
        Self {
            shard,
            io: Sockets {
                engine: Engine::simulated(simulated),
                overflows: Overflows::default(),
                socket_index: SocketIndex::new(vec![(PortKind::Media, Family::V4)]),
            },
            busy: BusyMeter::new(now.instant()),
            tick: None,
            slept_at: now.instant(),
            is_stalled: false,
            late: Duration::ZERO,
            limits: SendLimits::default(),
            arrived: 0,
            sent: 0,
        }
    }

    /// Puts a datagram into the receive buffer.
    pub(super) fn arrive(&mut self, datagram: Datagram) {
        let arrived = self.engine().arrive(Waiting {
            socket: 0,
            source: datagram.from,
            local: datagram.to.ip(),
            bytes: datagram.bytes,
        });
        self.arrived += u64::from(arrived);
    }

    /// Counters of the shard.
    pub(super) fn report(&self) -> &ShardReport {
        &self.shard.report
    }

    fn engine(&mut self) -> &mut Simulated {
        let engine = self.io.engine.as_simulated();
        engine.expect("the engine was made without a kernel")
    }

    /// True if the shard must take a turn at `now`.
    pub(super) fn is_due(&mut self, mesh: &Mesh, now: Time) -> bool {
        !self.is_stalled
            && (self.engine().is_readable()
                || !mesh.is_empty(self.shard.id)
                || self.wake_at() <= now)
    }

    /// Time at which the shard must take a turn; `None` while it is stalled.
    pub(super) fn due_at(&self, mesh: &Mesh) -> Option<Time> {
        let has_mail = !mesh.is_empty(self.shard.id);
        let wake_at = if has_mail { Time::ZERO } else { self.wake_at() };
        (!self.is_stalled).then_some(wake_at)
    }

    /// Time at which the sleeping shard wakes up by itself.
    fn wake_at(&self) -> Time {
        if self.tick.is_none() {
            return Time::ZERO;
        }
        Time::of(wake_at(&self.shard, self.slept_at)) + self.late
    }

    /// Takes turns until the shard would sleep.
    pub(super) fn work(&mut self, now: Time, violations: &mut Vec<Violation>) {
        let instant = now.instant();
        let limits = self.limits;
        self.engine().set_now(instant);
        self.engine().set_limits(limits);
        let mut had_activity = match self.tick {
            Some(tick) => note_wake(&mut self.shard, tick, instant),
            None => true,
        };
        let at = Now {
            instant,
            unix_s: START_UNIX_S + now.since_start().as_secs(),
        };
        for _ in 0..MAX_TURNS {
            let more = turn(&mut self.shard, &mut self.io, &mut self.busy, at);
            note_turn(&mut self.shard, had_activity);
            had_activity = true;
            if !more {
                self.tick = Some(self.shard.next_tick());
                self.slept_at = instant;
                return;
            }
        }
        violations.push(Violation {
            at: now,
            invariant: 9,
            seen: format!("shard {} does not come to rest", self.shard.id),
        });
    }

    /// Moves what the shard sent to `sent`, datagram by datagram.
    pub(super) fn take_sent(&mut self, from: SocketAddr, sent: &mut Vec<Datagram>) {
        for message in self.engine().take_sent() {
            for bytes in message.datagrams() {
                self.sent += 1;
                sent.push(Datagram {
                    from,
                    to: message.destination,
                    bytes: bytes.to_vec(),
                });
            }
        }
    }

    /// Invariant 4: the shard counts each datagram that it received and sent.
    pub(super) fn check(&mut self, now: Time, violations: &mut Vec<Violation>) {
        let waiting = self.engine().waiting() as u64;
        let traffic = self.shard.report.traffic;
        for (what, counted, expected) in [
            ("received", traffic.packets_in, self.arrived - waiting),
            ("sent", traffic.packets_out, self.sent),
        ] {
            if counted != expected {
                violations.push(Violation {
                    at: now,
                    invariant: 4,
                    seen: format!(
                        "shard {} counts {counted} datagrams {what}, and {expected} were",
                        self.shard.id
                    ),
                });
            }
        }
    }
}
