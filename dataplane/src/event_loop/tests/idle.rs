//! Counters of sessions that start and end, and the slow tick of an idle shard.

use std::time::{Duration, Instant};

use super::rig::Rig;
use crate::limits::{QUIET_TICK, TICK};

#[test]
fn gauges_fall_when_sessions_end() {
    let mut rig = Rig::start(3);
    let counted = |rig: &Rig| (rig.shard.report.tracks, rig.shard.report.subscriptions);
    assert_eq!(counted(&rig), (1, 3));
    let gone = rig.subscribers.remove(1).index;
    rig.shard.close(gone);
    assert_eq!(counted(&rig), (1, 2));
    let publisher = rig.publisher.index;
    rig.shard.close(publisher);
    assert_eq!(counted(&rig), (0, 2), "they wait for it to come back");
    for client in std::mem::take(&mut rig.subscribers) {
        rig.shard.close(client.index);
    }
    assert_eq!(counted(&rig), (0, 0));
}

#[test]
fn the_tick_is_slow_only_where_nothing_happens() {
    let mut rig = Rig::start(1);
    let left = |rig: &Rig| {
        rig.shard
            .next_tick()
            .saturating_duration_since(Instant::now())
    };
    rig.send(1, true, 1_000);
    rig.step();
    assert!(left(&rig) <= TICK, "packets are measured");
    let subscriber = rig.subscribers.remove(0).index;
    rig.shard.close(subscriber);
    let publisher = rig.publisher.index;
    rig.shard.close(publisher);
    rig.shard.periodic.has_unreported_events = true; // as if the loop, which does not run here, had been woken
    assert!(left(&rig) <= TICK, "that they left is not reported yet");
    rig.run_for(Duration::from_secs(1));
    assert!(left(&rig) > TICK && left(&rig) <= QUIET_TICK);
    let now = Instant::now();
    rig.shard.note_activity(now);
    rig.shard.periodic.has_unreported_events = true;
    assert_eq!(rig.shard.next_tick(), now + TICK, "not by the first packet");
    rig.shard.note_activity(now + TICK / 2);
    assert_eq!(rig.shard.next_tick(), now + TICK, "nor ever later");
}
