//! Properties of the backlog and the schedule: tracks with few and many subscribers, scheduled and served in any order.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::key::{SessionIndex, SubscriptionIndex};
use crate::media::subscription::tests::packet;
use crate::properties::config;
use crate::shard::schedule::{PendingPackets, QueueKind};

const TRACKS: usize = 6;
const SESSIONS: usize = 10;

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn every_subscriber_gets_every_packet_once_and_in_order(
        steps in vec(step(), 1..200),
        wrap_after in (0..200_u32, 0..60_u32),
        audiences in vec(vec(any::<bool>(), SESSIONS), TRACKS),
    ) {
        let mut work = Schedule::default();
        let mut backlog = Backlog {
            first_packet: u32::MAX - wrap_after.0,
            first_batch: u32::MAX - wrap_after.1,
            ..Backlog::default()
        };
        let mut next = [0_u64; TRACKS];
        let (mut expected, mut got) = (Numbers::new(), Numbers::new());
        for step in steps {
            match step {
                Step::Arrive(track, packets) => {
                    let batch = backlog.add_batch(TrackKey(track as u64));
                    for _ in 0..packets {
                        prop_assert!(backlog.push(packet(0, next[track], false), Instant::now()));
                        next[track] += 1;
                    }
                    for place in backlog.unscheduled().collect::<Vec<_>>() {
                        backlog.add_to_batch(batch, place);
                    }
                    let audience = audiences[track].iter().enumerate().filter(|(_, is_there)| **is_there);
                    let sub = SubscriptionIndex(track as u32);
                    let queue = if track < 3 { QueueKind::FewSubscribers } else { QueueKind::ManySubscribers };
                    for (session, _) in audience {
                        work.add(SessionIndex(session), PendingPackets { batch, sub }, queue);
                        let seqs = next[track] - packets as u64..next[track];
                        expected.entry((session, track)).or_default().extend(seqs);
                    }
                    backlog.close_round(&work);
                    prop_assert_eq!(backlog.unscheduled().count() + backlog.new_batches().count(), 0);
                }
                Step::Serve(sessions) => (0..sessions).for_each(|_| {
                    serve(&mut work, &backlog, &mut got);
                }),
                Step::End(track) => {
                    backlog.forget(TrackKey(track as u64));
                    // What was served stays; what waited is dropped.
                    for (key, seqs) in expected.iter_mut().filter(|((_, of), _)| *of == track) {
                        *seqs = got.get(key).cloned().unwrap_or_default();
                    }
                }
                Step::Free => backlog.free_served(&work),
            }
            prop_assert!(backlog.packets.len() <= BACKLOG_PACKETS);
        }
        while serve(&mut work, &backlog, &mut got) {}
        backlog.free_served(&work);
        prop_assert!(work.is_empty() && backlog.packets.is_empty() && backlog.batches.is_empty());
        prop_assert!(backlog.rounds.is_empty() && backlog.scheduled == 0 && backlog.in_rounds == 0);
        got.retain(|_, seqs| !seqs.is_empty());
        expected.retain(|_, seqs| !seqs.is_empty());
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn the_backlog_is_bounded_in_packets_and_in_time(
        steps in vec((0..3_000_usize, 0..400_u64, prop::bool::weighted(0.2)), 1..20),
    ) {
        let (work, mut backlog) = (Schedule::default(), Backlog::default());
        let mut now = Instant::now();
        let some = packet(0, 1, false);
        for (count, pause_ms, is_served) in steps {
            now += std::time::Duration::from_millis(pause_ms);
            let oldest = backlog.packets.front().map_or(now, |first| first.arrived);
            let before = backlog.packets.len();
            let taken = (0..count).filter(|_| {
                backlog.push(MediaPacket { arrived: now, ..some.clone() }, now)
            });
            let taken = taken.count();
            let expected = if now - oldest >= BACKLOG_TIME { 0 } else { count.min(BACKLOG_PACKETS - before) };
            prop_assert_eq!(taken, expected);
            prop_assert_eq!(backlog.packets.len(), before + taken);
            backlog.close_round(&work);
            if is_served {
                backlog.free_served(&work); // nobody waited
                prop_assert!(backlog.packets.is_empty());
            }
        }
    }
}

/// Sequence numbers by session and track.
type Numbers = BTreeMap<(usize, usize), Vec<u64>>;

/// Serves the next session. False when none waits.
fn serve(work: &mut Schedule, backlog: &Backlog, got: &mut Numbers) -> bool {
    let mut pending = Vec::new();
    let Some(session) = work.take(&mut pending) else {
        return false;
    };
    for PendingPackets { batch, sub } in pending {
        let batch = backlog.batch(batch);
        assert_eq!(batch.track.0, u64::from(sub.0));
        let seqs = batch.packets.iter().map(|place| backlog.packet(*place).seq);
        got.entry((session.0, sub.0 as usize))
            .or_default()
            .extend(seqs);
    }
    true
}

#[derive(Debug, Clone)]
enum Step {
    /// Packets of a track are received and scheduled.
    Arrive(usize, usize),
    /// So many sessions are served.
    Serve(usize),
    /// A track is not published any more.
    End(usize),
    Free,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..TRACKS, 1..4_usize).prop_map(|(track, packets)| Step::Arrive(track, packets)),
        5 => (1..8_usize).prop_map(Step::Serve),
        1 => (0..TRACKS).prop_map(Step::End),
        3 => Just(Step::Free),
    ]
}
