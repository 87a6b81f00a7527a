//! What one identity, and all of a room together, may cause: accounts of deliveries, bytes and changes.
//!
//! A request is charged by what follows from it: an event to 500 participants is 500 deliveries. Accounts belong
//! to identities and not to sockets or participants, so nothing is to be gained by coming back or joining anew.
//!
//! An identity pays from its own share first, which nobody else can use up. Beyond it, it pays from its own
//! extra and from the room's pool: ten guests can empty the pool, and the others still have their shares.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::ids::Identity;
use crate::limits::budget::{
    CHANGES_AT_ONCE, CHANGES_PER_MESSAGE, EXTRA, LEAST_MESSAGES, POOL, Rate, SECONDS, SHARE,
};
use crate::signaling::{ErrorCode, Refusal};

/// What a request causes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Events times those who get them.
    pub(super) deliveries: u64,
    /// Bytes of these.
    pub(super) bytes: u64,
    /// Things that become different for the room, or work for the data plane.
    pub(super) changes: u64,
}

/// The accounts of a room.
#[derive(Debug)]
pub(super) struct Budget {
    /// Messages a second that a participant may send, which all accounts follow.
    messages: f64,
    deliveries: Bucket,
    bytes: Bucket,
    account_by_identity: HashMap<Identity, Account>,
    /// Full accounts are forgotten when there are so many.
    sweep_at: usize,
}

#[derive(Debug)]
struct Account {
    changes: Bucket,
    deliveries: Purse,
    bytes: Purse,
}

#[derive(Debug)]
struct Purse {
    share: Bucket,
    extra: Bucket,
}

/// Where a purse's amount comes from.
#[derive(Debug, Clone, Copy)]
enum Payer {
    Share,
    ExtraAndPool,
}

#[derive(Debug)]
struct Bucket {
    capacity: f64,
    per_second: f64,
    level: f64,
    at: Instant,
}

/// An account that does not have what is asked of it.
#[derive(Debug)]
struct Short {
    amount: u64,
    unit: &'static str,
    owner: Owner,
    per_second: f64,
    wait: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Owner {
    Identity,
    Room,
}

const FEWEST_TO_SWEEP: usize = 64;

impl Budget {
    /// Full accounts, where participants may send `messages_per_second`.
    pub(super) fn new(messages_per_second: u32, now: Instant) -> Self {
        let messages = f64::from(messages_per_second.max(LEAST_MESSAGES));
        Self {
            messages,
            deliveries: Bucket::of(messages * POOL.deliveries, now),
            bytes: Bucket::of(messages * POOL.bytes, now),
            account_by_identity: HashMap::new(),
            sweep_at: FEWEST_TO_SWEEP,
        }
    }

    /// Takes `cost`, all of it or nothing. What is more than an account holds passes when the account is full.
    pub(super) fn charge(
        &mut self,
        identity: &Identity,
        cost: Cost,
        now: Instant,
    ) -> Result<(), Refusal> {
        if cost == Cost::default() {
            return Ok(());
        }
        self.sweep(now);
        let messages = self.messages;
        let account = self
            .account_by_identity
            .entry(identity.clone())
            .or_insert_with(|| Account::new(messages, now));
        account
            .pay(cost, (&mut self.deliveries, &mut self.bytes), now)
            .map_err(|short| short.refusal(identity))
    }

    /// When the accounts that were used much are half full again: a room that ended before would start with full
    /// ones.
    pub(super) fn lingers_until(&mut self, now: Instant) -> Option<Instant> {
        let accounts = self.account_by_identity.values_mut();
        let waits = accounts.filter_map(|account| account.wait_for_half(now));
        Some(now + waits.max()?)
    }

    fn sweep(&mut self, now: Instant) {
        if self.account_by_identity.len() >= self.sweep_at {
            self.account_by_identity
                .retain(|_, account| !account.is_full(now));
            self.sweep_at = FEWEST_TO_SWEEP.max(2 * self.account_by_identity.len());
        }
    }
}

impl Account {
    fn new(messages: f64, now: Instant) -> Self {
        let purse = |share, extra| Purse {
            share: Bucket::of(messages * share, now),
            extra: Bucket::of(messages * extra, now),
        };
        let mut changes = Bucket::of(messages * CHANGES_PER_MESSAGE, now);
        changes.capacity = changes.capacity.max(CHANGES_AT_ONCE);
        changes.level = changes.capacity;
        let (share, extra): (Rate, Rate) = (SHARE, EXTRA);
        Self {
            changes,
            deliveries: purse(share.deliveries, extra.deliveries),
            bytes: purse(share.bytes, extra.bytes),
        }
    }

    fn pay(
        &mut self,
        cost: Cost,
        (deliveries, bytes): (&mut Bucket, &mut Bucket),
        now: Instant,
    ) -> Result<(), Short> {
        let short = |unit, owner| {
            move |short| Short {
                unit,
                owner,
                ..short
            }
        };
        self.changes
            .check(cost.changes, now)
            .map_err(short("changes", Owner::Identity))?;
        let of_deliveries = self.deliveries.payer(cost.deliveries, deliveries, now);
        let of_deliveries = of_deliveries.map_err(|(s, owner)| short("deliveries", owner)(s))?;
        let of_bytes = self.bytes.payer(cost.bytes, bytes, now);
        let of_bytes = of_bytes.map_err(|(s, owner)| short("bytes", owner)(s))?;
        self.changes.take(cost.changes);
        self.deliveries
            .take(cost.deliveries, (of_deliveries, deliveries));
        self.bytes.take(cost.bytes, (of_bytes, bytes));
        Ok(())
    }

    /// Shares are not looked at: who talks a little uses them.
    fn wait_for_half(&mut self, now: Instant) -> Option<Duration> {
        let buckets = [
            &mut self.changes,
            &mut self.deliveries.extra,
            &mut self.bytes.extra,
        ];
        let waits = buckets.map(|bucket| {
            bucket.fill(now);
            let lacking = bucket.capacity / 2.0 - bucket.level;
            (lacking > 0.0).then(|| Duration::from_secs_f64(lacking / bucket.per_second))
        });
        waits.into_iter().flatten().max()
    }

    fn is_full(&mut self, now: Instant) -> bool {
        let buckets = [
            &mut self.changes,
            &mut self.deliveries.share,
            &mut self.deliveries.extra,
            &mut self.bytes.share,
            &mut self.bytes.extra,
        ];
        buckets.into_iter().all(|bucket| {
            bucket.fill(now);
            bucket.level >= bucket.capacity
        })
    }
}

impl Purse {
    fn payer(
        &mut self,
        amount: u64,
        pool: &mut Bucket,
        now: Instant,
    ) -> Result<Payer, (Short, Owner)> {
        self.share.fill(now);
        if self.share.level >= amount as f64 {
            return Ok(Payer::Share);
        }
        let own = self.extra.check(amount, now);
        own.map_err(|short| (short, Owner::Identity))?;
        let common = pool.check(amount, now);
        common.map_err(|short| (short, Owner::Room))?;
        Ok(Payer::ExtraAndPool)
    }

    fn take(&mut self, amount: u64, (payer, pool): (Payer, &mut Bucket)) {
        match payer {
            Payer::Share => self.share.take(amount),
            Payer::ExtraAndPool => {
                self.extra.take(amount);
                pool.take(amount);
            }
        }
    }
}

impl Bucket {
    /// Full, with what `SECONDS` fill into it.
    fn of(per_second: f64, now: Instant) -> Self {
        let capacity = per_second * SECONDS;
        Self {
            capacity,
            per_second,
            level: capacity,
            at: now,
        }
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + elapsed * self.per_second).min(self.capacity);
        self.at = self.at.max(now);
    }

    fn check(&mut self, amount: u64, now: Instant) -> Result<(), Short> {
        self.fill(now);
        let lacking = (amount as f64).min(self.capacity) - self.level;
        if lacking <= 0.0 {
            return Ok(());
        }
        Err(Short {
            amount,
            unit: "",
            owner: Owner::Identity,
            per_second: self.per_second,
            wait: Duration::from_secs_f64(lacking / self.per_second),
        })
    }

    fn take(&mut self, amount: u64) {
        self.level = (self.level - amount as f64).max(0.0);
    }
}

impl Short {
    fn refusal(&self, identity: &Identity) -> Refusal {
        let Self {
            amount,
            unit,
            owner,
            per_second,
            wait,
        } = self;
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) + 1;
        let owner = match owner {
            Owner::Identity => format!("'{identity}' has"),
            Owner::Room => "the room has, beyond the shares of its identities,".to_owned(),
        };
        let said = format!(
            "this causes {amount} {unit}, {owner} {per_second:.0} a second: again in {wait_ms} ms"
        );
        Refusal {
            after_ms: Some(wait_ms),
            ..Refusal::new(ErrorCode::TooMuch, said)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn identity(name: &str) -> Identity {
        name.parse().unwrap()
    }

    fn to(audience: u64) -> Cost {
        Cost {
            deliveries: audience,
            bytes: audience * 300,
            changes: 0,
        }
    }

    /// Requests of `cost` that pass within `time`, tried a hundred times a second each by all of `names`.
    fn passed(
        budget: &mut Budget,
        names: &[Identity],
        (cost, start, time): (Cost, Instant, Duration),
    ) -> u64 {
        let mut passed = 0;
        let mut now = start;
        while now < start + time {
            for name in names {
                passed += u64::from(budget.charge(name, cost, now).is_ok());
            }
            now += Duration::from_millis(10);
        }
        passed
    }

    #[test]
    fn one_identity_causes_so_much_and_is_told_when_there_is_more() {
        let start = Instant::now();
        let mut budget = Budget::new(50, start);
        let ann = identity("ann");
        let large = Cost {
            deliveries: 500,
            bytes: 500 * 8_192,
            changes: 0,
        };
        let sent = passed(
            &mut budget,
            std::slice::from_ref(&ann),
            (large, start, 60 * SECOND),
        );
        let bytes = sent * large.bytes;
        let allowed = (60.0 + SECONDS) * 50.0 * (SHARE.bytes + EXTRA.bytes);
        assert!((bytes as f64) < allowed, "{bytes} bytes in a minute");
        assert!(sent > 10, "{sent}");
        let now = start + 60 * SECOND;
        let refused = (0..100).find_map(|_| budget.charge(&ann, large, now).err());
        let refused = refused.unwrap();
        assert_eq!(refused.code, ErrorCode::TooMuch);
        let wait = Duration::from_millis(refused.after_ms.unwrap());
        assert!(refused.message.contains("4096000 bytes"), "{refused}");
        assert!(budget.charge(&ann, large, now + wait).is_ok());
    }

    #[test]
    fn ten_guests_empty_the_pool_and_nobody_else_s_share() {
        let start = Instant::now();
        let mut budget = Budget::new(50, start);
        let guests: Vec<_> = (0..10).map(|n| identity(&format!("guest{n}"))).collect();
        let large = to(20_000);
        let sent = passed(&mut budget, &guests, (large, start, 30 * SECOND));
        let pool = (30.0 + SECONDS) * 50.0 * POOL.deliveries;
        let shares = 10.0 * (30.0 + SECONDS) * 50.0 * SHARE.deliveries;
        assert!((sent * large.deliveries) as f64 <= pool + shares, "{sent}");
        let now = start + 30 * SECOND;
        let ann = identity("ann");
        let refused = (0..3).find_map(|_| budget.charge(&ann, large, now).err());
        let refused = refused.unwrap();
        assert!(refused.message.contains("the room has"), "{refused}");
        for _ in 0..8 {
            budget.charge(&ann, to(1_000), now).unwrap();
        }
    }

    #[test]
    fn a_crowd_that_chats_and_joins_at_once_notices_nothing() {
        let start = Instant::now();
        let mut budget = Budget::new(50, start);
        let crowd: Vec<_> = (0..1_000).map(|n| identity(&format!("p{n}"))).collect();
        for name in &crowd {
            let join = Cost {
                changes: 8,
                ..to(3_000)
            };
            budget.charge(name, join, start).unwrap();
            // A camera and a microphone.
            let publish = Cost {
                changes: 3,
                ..to(8_000)
            };
            budget.charge(name, publish, start).unwrap();
        }
        // A message a second of each: 1,000,000 deliveries.
        for second in 1..=20 {
            for name in &crowd {
                budget
                    .charge(name, to(1_000), start + second * SECOND)
                    .unwrap();
            }
        }
        // Somebody plays with the mute button.
        for tenth in 0..100 {
            let mute = Cost {
                changes: 1,
                ..to(10)
            };
            let at = start + 21 * SECOND + tenth * SECOND / 5;
            budget.charge(&crowd[0], mute, at).unwrap();
        }
    }

    #[test]
    fn what_is_larger_than_an_account_passes_when_it_is_full() {
        let start = Instant::now();
        let mut budget = Budget::new(50, start);
        let ann = identity("ann");
        let huge = to(1_000_000);
        budget.charge(&ann, huge, start).unwrap();
        let refused = budget.charge(&ann, huge, start).unwrap_err();
        let wait = Duration::from_millis(refused.after_ms.unwrap());
        assert!(wait <= SECOND * 9, "{wait:?}");
        budget.charge(&ann, huge, start + wait).unwrap();
    }

    #[test]
    fn accounts_are_kept_until_they_are_full_again() {
        let start = Instant::now();
        let mut budget = Budget::new(50, start);
        let flap = Cost {
            changes: 1,
            ..to(10)
        };
        let ann = identity("ann");
        while budget.charge(&ann, flap, start).is_ok() {}
        let until = budget.lingers_until(start).unwrap();
        assert!(until > start + SECOND && until < start + 10 * SECOND);
        assert_eq!(budget.lingers_until(until + SECOND / 100), None);
        for n in 0..10_000 {
            let later = start + 20 * SECOND + SECOND * n;
            budget
                .charge(&identity(&format!("n{n}")), to(10), later)
                .unwrap();
        }
        assert!(budget.account_by_identity.len() <= 2 * FEWEST_TO_SWEEP);
    }
}
