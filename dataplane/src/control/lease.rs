//! Leases: sessions end when the server that holds their lease does not renew it.
//!
//! The clock of leases runs only while servers renew leases: so a lease expires only when another lease is renewed, and
//! a server that restarts finds all its sessions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use spillway_mutants::{Mutant, is_planted};

use crate::limits::{LEASE_SILENCE, LEASE_TIME, MAX_LEASES};
use crate::peer::command::CommandError;

/// Leases of all owners.
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_owner: BTreeMap<String, Lease>,
    /// Time of the lease clock at the latest renewal. Pauses of `LEASE_SILENCE` or more do not count.
    clock: Duration,
    renewed: Option<Instant>,
}

#[derive(Debug)]
struct Lease {
    /// Duration of the lease, as last renewed.
    time: Duration,
    /// End of the lease, on the lease clock.
    ends: Duration,
}

impl Leases {
    /// Renews the lease of `owner` for `time` from `now`. Returns owners whose leases have expired.
    pub(super) fn renew(
        &mut self,
        owner: &str,
        time: Duration,
        now: Instant,
    ) -> Result<Vec<String>, CommandError> {
        check(time)?;
        let (got, limit) = (self.by_owner.len() + 1, MAX_LEASES);
        if got > limit && !self.by_owner.contains_key(owner) {
            return Err(CommandError::TooMany {
                what: "leases",
                got,
                limit,
            });
        }
        self.pass(now);
        let ends = self.clock + time;
        let is_new = !self.by_owner.contains_key(owner);
        if is_new || !is_planted(Mutant::LeaseNeverRenewed) {
            self.by_owner.insert(owner.to_owned(), Lease { time, ends });
        }
        let clock = self.clock;
        let ended = self
            .by_owner
            .iter()
            .filter(|(_, lease)| lease.ends <= clock);
        let ended: Vec<String> = ended.map(|(owner, _)| owner.clone()).collect();
        ended
            .iter()
            .for_each(|owner| _ = self.by_owner.remove(owner));
        Ok(ended)
    }

    /// Advances the lease clock to `now`. After a pause of `LEASE_SILENCE` or more all leases start again with their
    /// full time.
    fn pass(&mut self, now: Instant) {
        let since = self.renewed.replace(now).map(|at| now.duration_since(at));
        match since.filter(|since| *since < LEASE_SILENCE) {
            Some(since) => self.clock += since,
            None => {
                for lease in self.by_owner.values_mut() {
                    lease.ends = self.clock + lease.time;
                }
            }
        }
    }

    /// Remaining time of the lease of `owner`; zero without a lease.
    pub(super) fn left(&self, owner: &str, now: Instant) -> Duration {
        let since = self.renewed.map(|at| now.duration_since(at));
        let clock = self.clock
            + since
                .filter(|since| *since < LEASE_SILENCE)
                .unwrap_or_default();
        let lease = self.by_owner.get(owner);
        lease.map_or(Duration::ZERO, |lease| lease.ends.saturating_sub(clock))
    }
}

fn check(time: Duration) -> Result<(), CommandError> {
    if LEASE_TIME.contains(&time) {
        return Ok(());
    }
    let (least, most) = (LEASE_TIME.start().as_millis(), LEASE_TIME.end().as_millis());
    let got = time.as_millis();
    let message = format!("lease of {got} ms is outside {least}..={most}");
    Err(CommandError::Invalid(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(23);
    const INTERVAL: Duration = Duration::from_secs(2);

    /// Renews for `owner` like a server, from second `from` to `to`. Returns the expired leases with their times.
    fn renewed(
        leases: &mut Leases,
        owner: &str,
        (start, from, to): (Instant, u64, u64),
    ) -> Vec<(String, u64)> {
        let mut ended = Vec::new();
        let mut at = Duration::from_secs(from);
        while at <= Duration::from_secs(to) {
            let gone = leases.renew(owner, TIME, start + at).unwrap();
            ended.extend(gone.into_iter().map(|owner| (owner, at.as_secs())));
            at += INTERVAL;
        }
        ended
    }

    #[test]
    fn a_lease_runs_out_while_another_is_renewed() {
        let (mut leases, start) = (Leases::default(), Instant::now());
        leases.renew("gone", TIME, start).unwrap();
        assert_eq!(leases.left("gone", start + INTERVAL), TIME - INTERVAL);
        let ended = renewed(&mut leases, "here", (start, 0, 100));
        assert_eq!(ended, [("gone".to_owned(), 24)]);
        assert_eq!(leases.left("gone", start), Duration::ZERO);
    }

    #[test]
    fn time_without_renewals_does_not_count() {
        let (mut leases, start) = (Leases::default(), Instant::now());
        assert!(renewed(&mut leases, "first", (start, 0, 20)).is_empty());
        // The server is down for an hour; then another server renews.
        let ended = renewed(&mut leases, "second", (start, 3_620, 3_700));
        assert_eq!(
            ended,
            [("first".to_owned(), 3_644)],
            "its whole time, from then on"
        );
    }

    #[test]
    fn a_short_restart_leaves_more_than_the_silence_takes() {
        let (mut leases, start) = (Leases::default(), Instant::now());
        assert!(renewed(&mut leases, "first", (start, 0, 20)).is_empty());
        let at = start + Duration::from_secs(20) + LEASE_SILENCE - Duration::from_millis(1);
        leases.renew("second", TIME, at).unwrap();
        assert!(leases.left("first", at) >= TIME - LEASE_SILENCE);
    }

    #[test]
    fn after_a_pause_of_all_renewals_leases_have_their_full_time() {
        let (mut leases, start) = (Leases::default(), Instant::now());
        for owner in ["a", "b", "c"] {
            leases.renew(owner, TIME, start).unwrap();
        }
        let back = start + Duration::from_secs(60);
        assert!(leases.renew("a", TIME, back).unwrap().is_empty());
        assert_eq!(leases.left("b", back), TIME);
        let later = start + Duration::from_secs(80);
        let ended = renewed(&mut leases, "a", (start, 62, 80));
        assert!(ended.is_empty(), "{ended:?}");
        assert!(leases.renew("b", TIME, later).unwrap().is_empty());
        let ended = renewed(&mut leases, "a", (start, 82, 90));
        assert_eq!(ended, [("c".to_owned(), 84)]);
    }

    #[test]
    fn what_is_asked_for_has_limits() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        for time in [Duration::ZERO, Duration::from_secs(7_200)] {
            let refused = leases.renew("a", time, now).unwrap_err().to_string();
            assert!(refused.contains("outside 1000..=3600000"), "{refused}");
        }
        for number in 0..MAX_LEASES {
            leases.renew(&number.to_string(), TIME, now).unwrap();
        }
        let refused = leases.renew("more", TIME, now).unwrap_err().to_string();
        assert!(refused.contains("1024"), "{refused}");
        leases.renew("0", TIME, now).unwrap();
    }
}
