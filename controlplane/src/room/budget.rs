//! Budgets for one identity and for a whole room: deliveries, bytes and changes.
//!
//! A request costs what it causes: an event to 500 participants is 500 deliveries. Accounts belong
//! to identities, not to sockets or participants, so reconnecting does not refill them.
//!
//! An identity first uses its share, which other identities cannot use. After that it uses its
//! extra and the room's pool. Ten guests can empty the pool, but the shares of the others suffice
//! for a join and an offer in a room of any size.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{ErrorCode, Refusal};
use crate::ids::Identity;
use crate::limits::budget::{
    CHANGES_AT_ONCE, CHANGES_PER_MESSAGE, EVENT_BYTES, EXTRA, JOIN_DELIVERIES, LEAST_MESSAGES,
    POOL, PUBLISH_DELIVERIES, Rate, SECONDS, SHARE, SHARE_TRACKS,
};

/// Cost of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Events, each multiplied by its number of receivers.
    pub(super) deliveries: u64,
    /// Bytes of these deliveries.
    pub(super) bytes: u64,
    /// Changes of the room's state, and commands to the data plane.
    pub(super) changes: u64,
}

/// The accounts of a room.
#[derive(Debug)]
pub(super) struct Budget {
    /// Messages per second that a participant may send. The rates of all accounts are multiples of
    /// it.
    messages: f64,
    deliveries: Bucket,
    bytes: Bucket,
    account_by_identity: HashMap<Identity, Account>,
    /// Number of accounts at which full accounts are removed.
    sweep_at: usize,
}

#[derive(Debug)]
struct Account {
    changes: Bucket,
    deliveries: Allowance,
    bytes: Allowance,
}

#[derive(Debug)]
struct Allowance {
    share: Bucket,
    extra: Bucket,
}

/// Division of an amount between the share, and extra and pool.
#[derive(Debug, Clone, Copy)]
struct Split {
    share: f64,
    extra_and_pool: f64,
}

#[derive(Debug)]
struct Bucket {
    capacity: f64,
    per_second: f64,
    level: f64,
    at: Instant,
}

/// The bucket that is too low for a request.
#[derive(Debug)]
struct Shortfall {
    amount: u64,
    unit: &'static str,
    owner: Owner,
    per_second: f64,
    wait: Duration,
}

/// Time until a bucket has the requested amount.
#[derive(Debug, Clone, Copy)]
struct Wait {
    owner: Owner,
    per_second: f64,
    time: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Owner {
    Identity,
    Room,
}

const FEWEST_TO_SWEEP: usize = 64;

impl Budget {
    /// Budgets in a room where participants may send `messages_per_second`. All accounts start
    /// full.
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

    /// Takes `cost` completely or not at all, in a room with `audience` receivers. A cost above a
    /// bucket's capacity is accepted if the bucket is full.
    pub(super) fn charge(
        &mut self,
        identity: &Identity,
        (cost, audience): (Cost, u64),
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
            .or_insert_with(|| Account::new((messages, audience), now));
        account.set_share_capacity(messages, audience);
        account
            .pay(cost, (&mut self.deliveries, &mut self.bytes), now)
            .map_err(|shortfall| shortfall.refusal(identity))
    }

    /// Time when heavily used accounts are half full again. A room that ended earlier would come
    /// back with full accounts.
    pub(super) fn needed_until(&mut self, now: Instant) -> Option<Instant> {
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
    fn new((messages, audience): (f64, u64), now: Instant) -> Self {
        let allowance = |share, extra| Allowance {
            share: Bucket::of(messages * share, now),
            extra: Bucket::of(messages * extra, now),
        };
        let mut changes = Bucket::of(messages * CHANGES_PER_MESSAGE, now);
        changes.capacity = changes.capacity.max(CHANGES_AT_ONCE);
        changes.level = changes.capacity;
        let (share, extra): (Rate, Rate) = (SHARE, EXTRA);
        let mut account = Self {
            changes,
            deliveries: allowance(share.deliveries, extra.deliveries),
            bytes: allowance(share.bytes, extra.bytes),
        };
        account.set_share_capacity(messages, audience);
        for share in [&mut account.deliveries.share, &mut account.bytes.share] {
            share.level = share.capacity;
        }
        account
    }

    /// Sets the capacity of the shares: enough for a join and an offer that `audience` participants
    /// receive.
    fn set_share_capacity(&mut self, messages: f64, audience: u64) {
        let deliveries = audience * (JOIN_DELIVERIES + SHARE_TRACKS * PUBLISH_DELIVERIES);
        let bytes = audience * EVENT_BYTES * (JOIN_DELIVERIES + SHARE_TRACKS);
        let capacity = |rate: f64, least: u64| (messages * rate * SECONDS).max(least as f64);
        self.deliveries.share.capacity = capacity(SHARE.deliveries, deliveries);
        self.bytes.share.capacity = capacity(SHARE.bytes, bytes);
    }

    fn pay(
        &mut self,
        cost: Cost,
        (deliveries, bytes): (&mut Bucket, &mut Bucket),
        now: Instant,
    ) -> Result<(), Shortfall> {
        let shortfall = |(amount, unit)| {
            move |wait: Wait| Shortfall {
                amount,
                unit,
                owner: wait.owner,
                per_second: wait.per_second,
                wait: wait.time,
            }
        };
        let of_changes = self
            .changes
            .check(cost.changes as f64, Owner::Identity, now);
        let of_changes = of_changes.map_err(shortfall((cost.changes, "changes")));
        let of_deliveries = self.deliveries.split(cost.deliveries, deliveries, now);
        let of_deliveries = of_deliveries.map_err(shortfall((cost.deliveries, "deliveries")));
        let of_bytes = self.bytes.split(cost.bytes, bytes, now);
        let of_bytes = of_bytes.map_err(shortfall((cost.bytes, "bytes")));
        match (of_changes, of_deliveries, of_bytes) {
            (Ok(()), Ok(of_deliveries), Ok(of_bytes)) => {
                self.changes.take(cost.changes as f64);
                self.deliveries.take(of_deliveries, deliveries);
                self.bytes.take(of_bytes, bytes);
                Ok(())
            }
            // The longest wait counts, because all buckets must be full enough.
            (of_changes, of_deliveries, of_bytes) => {
                let shorts = [of_changes.err(), of_deliveries.err(), of_bytes.err()];
                let longest = shorts
                    .into_iter()
                    .flatten()
                    .max_by_key(|shortfall| shortfall.wait);
                Err(longest.expect("one of the three is shortfall"))
            }
        }
    }

    /// Time until the buckets other than the shares are half full. Shares are not counted, because
    /// participants with few messages use only their shares.
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

impl Allowance {
    /// Divides `amount` between the share, and extra and pool. If they have too little: the time
    /// until they have enough, or until the share alone has.
    fn split(&mut self, amount: u64, pool: &mut Bucket, now: Instant) -> Result<Split, Wait> {
        let amount = amount as f64;
        self.share.fill(now);
        let share = self.share.level.min(amount);
        let extra_and_pool = amount - share;
        let own = self.extra.check(extra_and_pool, Owner::Identity, now);
        let common = pool.check(extra_and_pool, Owner::Room, now);
        let waits = [own.err(), common.err()].into_iter().flatten();
        let Some(rest) = waits.max_by_key(|wait| wait.time) else {
            return Ok(Split {
                share,
                extra_and_pool,
            });
        };
        if amount > self.share.capacity {
            return Err(rest);
        }
        let alone = self.share.check(amount, Owner::Identity, now);
        let alone = alone.err().filter(|alone| alone.time < rest.time);
        Err(alone.unwrap_or(rest))
    }

    fn take(&mut self, split: Split, pool: &mut Bucket) {
        self.share.take(split.share);
        self.extra.take(split.extra_and_pool);
        pool.take(split.extra_and_pool);
    }
}

impl Bucket {
    /// A full bucket that holds the amount of [`SECONDS`].
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

    fn check(&mut self, amount: f64, owner: Owner, now: Instant) -> Result<(), Wait> {
        self.fill(now);
        let lacking = amount.min(self.capacity) - self.level;
        if lacking <= 0.0 {
            return Ok(());
        }
        Err(Wait {
            owner,
            per_second: self.per_second,
            time: Duration::from_secs_f64(lacking / self.per_second),
        })
    }

    fn take(&mut self, amount: f64) {
        self.level = (self.level - amount).max(0.0);
    }
}

impl Shortfall {
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
mod properties;
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

    fn charge(
        budget: &mut Budget,
        name: &Identity,
        cost: Cost,
        now: Instant,
    ) -> Result<(), Refusal> {
        budget.charge(name, (cost, 1_000), now)
    }

    /// Number of requests that are accepted within `time`. Each of `names` tries one every 10 ms.
    fn passed(
        budget: &mut Budget,
        names: &[Identity],
        (cost, start, time): (Cost, Instant, Duration),
    ) -> u64 {
        let mut passed = 0;
        let mut now = start;
        while now < start + time {
            for name in names {
                passed += u64::from(charge(budget, name, cost, now).is_ok());
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
        let refused = (0..100).find_map(|_| charge(&mut budget, &ann, large, now).err());
        let refused = refused.unwrap();
        assert_eq!(refused.code, ErrorCode::TooMuch);
        let wait = Duration::from_millis(refused.after_ms.unwrap());
        assert!(refused.message.contains("4096000 bytes"), "{refused}");
        assert!(charge(&mut budget, &ann, large, now + wait).is_ok());
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
        let refused = (0..3).find_map(|_| charge(&mut budget, &ann, large, now).err());
        let refused = refused.unwrap();
        assert!(refused.message.contains("the room has"), "{refused}");
        let bob = identity("bob");
        for _ in 0..8 {
            charge(&mut budget, &bob, to(1_000), now).unwrap();
        }
    }

    #[test]
    fn who_empties_the_pool_keeps_nobody_out_of_a_room_of_ten_thousand() {
        let audience = 10_000;
        let start = Instant::now();
        let mut budget = Budget::new(50, start);
        let guests: Vec<_> = (0..10).map(|n| identity(&format!("guest{n}"))).collect();
        let message = Cost {
            deliveries: audience,
            bytes: audience * 8_192,
            changes: 0,
        };
        let join = Cost {
            deliveries: JOIN_DELIVERIES * audience,
            bytes: JOIN_DELIVERIES * audience * EVENT_BYTES,
            changes: 8,
        };
        let publish = Cost {
            deliveries: SHARE_TRACKS * PUBLISH_DELIVERIES * audience,
            bytes: SHARE_TRACKS * EVENT_BYTES * audience,
            changes: 3,
        };
        for second in 0..60 {
            let now = start + SECOND * second;
            for cost in [message, to(audience)] {
                for guest in &guests {
                    while budget.charge(guest, (cost, audience), now).is_ok() {}
                }
            }
            let newcomer = identity(&format!("p{second}"));
            budget.charge(&newcomer, (join, audience), now).unwrap();
            budget.charge(&newcomer, (publish, audience), now).unwrap();
            let refused = budget.charge(&newcomer, (publish, audience), now);
            refused.unwrap_err();
        }
    }

    #[test]
    fn what_a_share_has_not_comes_from_the_others() {
        let start = Instant::now();
        let mut budget = Budget::new(50, start);
        let ann = identity("ann");
        let all = 50.0 * SECONDS * (SHARE.deliveries + EXTRA.deliveries);
        let cost = |deliveries| Cost {
            deliveries,
            ..Cost::default()
        };
        // 176,000 deliveries: more than the share or the extra alone.
        charge(&mut budget, &ann, cost(all as u64), start).unwrap();
        let refused = charge(&mut budget, &ann, cost(1), start).unwrap_err();
        assert!(refused.message.contains("'ann' has"), "{refused}");
    }

    #[test]
    fn the_wait_is_that_of_the_account_that_takes_longest() {
        let start = Instant::now();
        let mut budget = Budget::new(50, start);
        let ann = identity("ann");
        let cost = Cost {
            deliveries: 170_000,
            bytes: 1_000,
            changes: 99,
        };
        charge(&mut budget, &ann, cost, start).unwrap();
        let refused = charge(&mut budget, &ann, cost, start).unwrap_err();
        let wait = Duration::from_millis(refused.after_ms.unwrap());
        assert!(refused.message.contains("99 changes"), "{refused}");
        charge(&mut budget, &ann, cost, start + wait).unwrap();
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
            charge(&mut budget, name, join, start).unwrap();
            // A camera and a microphone.
            let publish = Cost {
                changes: 3,
                ..to(8_000)
            };
            charge(&mut budget, name, publish, start).unwrap();
        }
        // One message per second from each: 1,000,000 deliveries.
        for second in 1..=20 {
            for name in &crowd {
                charge(&mut budget, name, to(1_000), start + second * SECOND).unwrap();
            }
        }
        // A participant that toggles mute quickly.
        for tenth in 0..100 {
            let mute = Cost {
                changes: 1,
                ..to(10)
            };
            let at = start + 21 * SECOND + tenth * SECOND / 5;
            charge(&mut budget, &crowd[0], mute, at).unwrap();
        }
    }

    #[test]
    fn what_is_larger_than_an_account_passes_when_it_is_full() {
        let start = Instant::now();
        let mut budget = Budget::new(50, start);
        let ann = identity("ann");
        let huge = to(1_000_000);
        charge(&mut budget, &ann, huge, start).unwrap();
        let refused = charge(&mut budget, &ann, huge, start).unwrap_err();
        let wait = Duration::from_millis(refused.after_ms.unwrap());
        assert!(wait <= SECOND * 9, "{wait:?}");
        charge(&mut budget, &ann, huge, start + wait).unwrap();
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
        while charge(&mut budget, &ann, flap, start).is_ok() {}
        let until = budget.needed_until(start).unwrap();
        assert!(until > start + SECOND && until < start + 10 * SECOND);
        assert_eq!(budget.needed_until(until + SECOND / 100), None);
        for n in 0..10_000 {
            let later = start + 20 * SECOND + SECOND * n;
            charge(&mut budget, &identity(&format!("n{n}")), to(10), later).unwrap();
        }
        assert!(budget.account_by_identity.len() <= 2 * FEWEST_TO_SWEEP);
    }
}
