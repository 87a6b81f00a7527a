//! The loop of a shard on its glommio executor: numbered, bounded steps, repeated while there is work. Then the shard
//! sleeps until a socket or the eventfd is readable, or a timer is due.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

pub use super::tick::BusyMeter;
use super::timers;
use crate::io::clock;
use crate::io::engine::{Engine, EngineStart};
use crate::io::udp::{PortKind, ShardSockets};
use crate::io::wait::Wait;
use crate::limits::BUSY_STRETCH;
use crate::mesh::message::ToControl;
use crate::path::arrive::Overflows;
use crate::path::transmit::transmit;
use crate::path::{self, Sockets};
use crate::shard::state::Shard;
use crate::turn::Now;

/// Pause before sending to a full socket is tried again.
const SEND_RETRY: Duration = Duration::from_micros(500);

/// Runs `shard` until it is stopped. Must be called inside a glommio executor.
pub async fn run(
    mut shard: Shard,
    sockets: ShardSockets,
    start: EngineStart,
) -> anyhow::Result<()> {
    let wait = wait_for(&shard, &sockets)?;
    let mut io = Sockets {
        engine: Engine::start(&start, &sockets)?,
        overflows: Overflows::default(),
        socket_index: sockets.socket_index(),
    };
    let mut busy = BusyMeter::new(clock::now());
    let mut had_activity = true;
    let mut woke = clock::now();
    while !shard.is_stopping() {
        let start = clock::now();
        let at = Now {
            instant: start,
            unix_s: clock::unix_s(),
        };
        let more = turn(&mut shard, &mut io, &mut busy, at);
        let end = clock::now();
        busy.add(end.duration_since(start));
        shard.load.is_busy = more && end.duration_since(woke) >= BUSY_STRETCH;
        note_turn(&mut shard, had_activity);
        had_activity = more || sleep(&mut shard, &wait);
        if !more {
            woke = clock::now();
        }
        glommio::executor().yield_if_needed().await;
    }
    flush(&mut shard, &mut io, clock::now());
    while shard
        .outbox
        .send_control(ToControl::Stopped(shard.id))
        .is_err()
    {
        glommio::executor().yield_task_queue_now().await;
    }
    shard.outbox.flush();
    Ok(())
}

/// One turn of the loop. True when more work is waiting.
pub fn turn(shard: &mut Shard, io: &mut Sockets, busy: &mut BusyMeter, at: Now) -> bool {
    let now = at.instant;
    shard.unix_s = at.unix_s;
    // 1: messages from other threads.
    let mut more = shard.read_mail(now);
    // 2: sessions with due timers.
    more |= timers::run(shard, now);
    // 3: sockets, hops 1 to 3 of the path.
    more |= path::receive(shard, io, now, |shard, datagram| {
        shard.receive_turn(datagram, now);
    });
    more |= shard.receive_relayed(now);
    more |= shard.receive_streams(now);
    shard.handle_session_events(now);
    // 4: forwards to some of the waiting sessions; others follow in the next turn.
    more |= path::forward(shard, now, |shard| {
        flush(shard, io, now);
    });
    shard.handle_session_events(now);
    // 5: periodic work.
    shard.tick(now, busy);
    shard.handle_session_events(now);
    // 6: sends everything that waits.
    shard.load.is_blocked = flush(shard, io, now);
    // 7: letters that did not fit into a mailbox.
    more |= shard.outbox.flush();
    more | io.engine.has_fetched()
}

/// Call this after each [`turn`]. `had_activity`: the turn was taken for another reason than the tick.
pub fn note_turn(shard: &mut Shard, had_activity: bool) {
    // Also counts activity after the tick in the same turn.
    shard.periodic.has_unreported_events |= had_activity;
}

/// Time at which a sleeping `shard` must take its next turn, if no message or datagram comes before.
pub fn wake_at(shard: &Shard, now: Instant) -> Instant {
    let retry = shard.load.is_blocked.then(|| now + SEND_RETRY);
    let turn = shard.egress.turn.as_ref();
    let turn = turn.and_then(|turn| turn.server().poll_timeout());
    let streams = shard.egress.streams.poll_timeout();
    let timers = [shard.timers.next(), turn, streams, retry];
    let due = timers.into_iter().flatten();
    due.fold(shard.next_tick(), Instant::min)
}

/// Call this when `shard` wakes up at `now`; `tick` was its next tick when it fell asleep. True when it woke up for
/// another reason.
pub fn note_wake(shard: &mut Shard, tick: Instant, now: Instant) -> bool {
    let had_activity = now < tick;
    if had_activity {
        shard.note_activity(now);
    }
    had_activity
}

fn flush(shard: &mut Shard, io: &mut Sockets, now: Instant) -> bool {
    shard.redirect(now);
    let Shard { report, egress, .. } = shard;
    let (engine, socket_index) = (&mut io.engine, &io.socket_index);
    let queues = &mut egress.queues;
    let mut waits = transmit(queues, engine, (socket_index, PortKind::Media), report);
    if let Some(turn) = &mut egress.turn {
        turn.flush_peers(report);
        waits |= transmit(
            turn.queues(),
            engine,
            (socket_index, PortKind::Turn),
            report,
        );
    }
    egress.streams.flush(now);
    waits
}

/// Sleeps until there is work. True when the reason is not only the tick.
fn sleep(shard: &mut Shard, wait: &Wait) -> bool {
    let bell = shard.outbox.mesh().bell(shard.id);
    bell.fall_asleep();
    let (mut rang, tick) = (false, shard.next_tick());
    if shard.outbox.mesh().is_empty(shard.id) {
        let now = clock::now();
        rang = wait.readable(wake_at(shard, now).saturating_duration_since(now));
    }
    bell.wake_up();
    if rang {
        bell.silence();
    }
    note_wake(shard, tick, clock::now())
}

/// All file descriptors that `shard` must wait for.
fn wait_for(shard: &Shard, sockets: &ShardSockets) -> io::Result<Wait> {
    let bell = shard.outbox.mesh().bell(shard.id).as_fd();
    let relayed = shard.egress.turn.iter().map(|turn| turn.sockets().as_fd());
    let others = relayed.chain([shard.egress.streams.as_fd()]);
    Wait::new(sockets.iter().chain(others), bell)
}
