//! Sessions with due timers: timeouts of the session, and packets that are sent without media.

use std::time::Instant;

use crate::key::SessionIndex;
use crate::limits::TIMERS_PER_TURN;
use crate::send::queue::SendContext;
use crate::send::{padding, report};
use crate::shard::state::Shard;

/// Handles a bounded number of due timers. True when more may be due.
pub(super) fn run(shard: &mut Shard, now: Instant) -> bool {
    shard.turn_timeout(now);
    for _ in 0..TIMERS_PER_TURN {
        let Some(index) = shard.timers.pop_due(now).map(SessionIndex) else {
            return false;
        };
        shard.guard(index, |shard| {
            let Some(peer) = shard.peers.get_mut(index) else {
                return;
            };
            peer.handle_timeout(now, &mut shard.out);
            shard.absorb(index);
            send_periodic(shard, index, now);
        });
        shard.handle_session_events(now);
    }
    true
}

/// Sends due packets of a session: sender reports, and padding that probes the path.
fn send_periodic(shard: &mut Shard, index: SessionIndex, now: Instant) {
    let Some(peer) = shard.peers.get_mut(index) else {
        return;
    };
    let Some(path) = peer.paths.media() else {
        return;
    };
    if let Some(subscriber) = peer.subscriber() {
        let mut context = SendContext {
            queue: shard.egress.queues.to(path.remote),
            path,
            now,
            report: &mut shard.report,
        };
        report::send_due(&mut subscriber.slots, &mut subscriber.send, &mut context);
        padding::send_due(&mut subscriber.slots, &mut subscriber.send, &mut context);
    }
    let deadline = peer.deadline();
    shard.timers.set(index.0, deadline);
}
