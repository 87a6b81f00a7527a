//! Tests with whole runs of a world.

use std::time::Duration;

use super::{Outcome, Size, World};
use crate::clock::Time;
use crate::coverage::State;
use crate::fault::Fault;
use crate::fault::FaultKind;
use crate::rng::Seed;
use crate::schedule::Schedule;

const SMALL: Size = Size {
    nodes: 2,
    shards: 2,
    servers: 2,
    rooms: 2,
    people_per_room: 12,
    publishers: 2,
    lasts: Duration::from_secs(10),
};

fn run(seed: u64, schedule: &Schedule) -> Outcome {
    World::new(Seed(seed), SMALL, schedule).unwrap().run()
}

fn fault(at_ms: u64, kind: FaultKind, amount: u32) -> Fault {
    Fault {
        at: Time::from_ms(at_ms),
        kind,
        target: 1,
        amount,
        lasts: Duration::from_secs(2),
    }
}

#[test]
fn without_faults_everybody_sees_and_nothing_is_wrong() {
    let outcome = run(1, &Schedule::default());
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
    // Nine viewers of each of two publishers in two rooms, some 10 pictures a second for 7 s at least.
    assert!(outcome.frames > 2 * 9 * 2 * 70, "{} frames", outcome.frames);
    assert_eq!(outcome.network.lost, 0);
}

#[test]
fn one_seed_has_one_hash() {
    let schedule = Schedule::new(vec![
        fault(3_000, FaultKind::Loss, 50),
        fault(4_000, FaultKind::Roam, 0),
    ]);
    let [first, second] = [1, 1].map(|seed| run(seed, &schedule).digest);
    assert_eq!(first, second);
    assert_ne!(first, run(2, &schedule).digest);
}

#[test]
fn faults_of_paths_and_shards_break_no_invariant() {
    let schedule = Schedule::new(vec![
        fault(2_500, FaultKind::Loss, 50),
        fault(3_000, FaultKind::Reorder, 50),
        fault(4_000, FaultKind::StalledShard, 0),
        fault(5_000, FaultKind::FullSocket, 0),
        fault(6_000, FaultKind::Roam, 0),
    ]);
    let outcome = run(3, &schedule);
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
    assert!(outcome.network.lost > 0);
    assert!(outcome.coverage.count(FaultKind::Loss, State::Flowing) > 0);
}
