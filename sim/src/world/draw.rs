//! Draws the faults of a run from its seed.

use std::time::Duration;

use crate::clock::Time;
use crate::fault::{Fault, FaultKind};
use crate::rng::{Rng, Seed};
use crate::schedule::Schedule;

/// All kinds, each as often as it is here.
pub const POSSIBLE: [FaultKind; 30] = FaultKind::ALL;

/// Mean time between faults.
const PAUSE_MS: u64 = 700;

/// Faults for a run of `lasts`. The last tenth of the run has no fault, so that everybody recovers.
pub fn draw(seed: Seed, lasts: Duration) -> Schedule {
    let mut rng = seed.stream("faults");
    let mut faults = Vec::new();
    let end_ms = lasts.as_millis() as u64 * 9 / 10;
    let mut at_ms = rng.between(1, 2 * PAUSE_MS);
    while at_ms < end_ms {
        let kind = draw_kind(&mut rng);
        let (amount, most_ms) = extent(kind, &mut rng);
        let lasts_ms = rng.between(1, most_ms).min(end_ms - at_ms);
        faults.push(Fault {
            at: Time::from_ms(at_ms),
            kind,
            target: rng.below(1 << 16) as u32,
            amount,
            lasts: Duration::from_millis(lasts_ms),
        });
        at_ms += rng.between(1, 2 * PAUSE_MS);
    }
    Schedule::new(faults)
}

/// A kind: faults that end hosts or stop the store are rare, because nothing else is checked during them.
fn draw_kind(rng: &mut Rng) -> FaultKind {
    loop {
        let kind = *rng.one_of(&POSSIBLE).expect("there are kinds");
        let is_heavy = matches!(
            kind,
            FaultKind::DeadNode
                | FaultKind::DeadServer
                | FaultKind::StoreAway
                | FaultKind::StoreDemoted
                | FaultKind::Partition
        );
        if !is_heavy || rng.below(4) == 0 {
            return kind;
        }
    }
}

/// Amount of a fault, and its maximum duration in ms.
fn extent(kind: FaultKind, rng: &mut Rng) -> (u32, u64) {
    let (least, most, most_ms) = match kind {
        FaultKind::Delay => (10, 300, 8_000),
        FaultKind::Jitter => (5, 80, 8_000),
        FaultKind::Loss => (5, 200, 8_000),
        FaultKind::LossBurst => (3, 40, 5_000),
        FaultKind::Reorder | FaultKind::Duplicate => (5, 200, 8_000),
        FaultKind::Rate => (50, 1_000, 8_000),
        FaultKind::Cut => (0, 0, 3_000),
        FaultKind::Roam => (0, 0, 1),
        FaultKind::FullSocket => (0, 5_000, 500),
        FaultKind::StalledShard => (0, 0, 800),
        FaultKind::LateTimers => (1, 200, 3_000),
        FaultKind::Partition => (0, 7, 20_000),
        FaultKind::DeadNode => (0, 0, 3_000),
        FaultKind::DeadServer => (0, 0, 30_000),
        FaultKind::SocketCut => (0, 20_000, 1),
        FaultKind::StoreAway => (0, 0, 6_000),
        FaultKind::StoreSlow => (10, 500, 6_000),
        FaultKind::StoreDemoted => (0, 0, 6_000),
        FaultKind::WrongClock => (0, 50, 10_000),
        FaultKind::Misbehave => (0, 8, 1_000),
        FaultKind::Leave => (0, 0, 10_000),
        FaultKind::Mute => (0, 1, 6_000),
        FaultKind::Sleep => (0, 0, 8_000),
        FaultKind::Unsubscribe | FaultKind::Pause | FaultKind::Narrow => (0, 9, 6_000),
        FaultKind::Unpublish => (0, 1, 6_000),
        FaultKind::Message => (1, 6, 1),
        FaultKind::HangUp => (0, 0, 1),
    };
    (rng.between(least, most) as u32, most_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_one_schedule_and_many_have_all_kinds() {
        let lasts = Duration::from_secs(60);
        assert_eq!(draw(Seed(1), lasts), draw(Seed(1), lasts));
        assert_ne!(draw(Seed(1), lasts), draw(Seed(2), lasts));
        for kind in POSSIBLE {
            let has = |seed| {
                let schedule = draw(Seed(seed), lasts);
                schedule.faults().iter().any(|fault| fault.kind == kind)
            };
            assert!((0..20).any(has), "{kind:?}");
        }
        let end = Time::ZERO + lasts * 9 / 10;
        let faults = draw(Seed(3), lasts);
        assert!(faults.faults().iter().all(|fault| fault.ends_at() <= end));
    }
}
