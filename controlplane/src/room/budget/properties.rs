//! Properties of budgets, for any costs of several identities at any times.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::properties::config;

const IDENTITIES: usize = 3;

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn no_window_costs_more_than_the_accounts_hold_and_gain(
        (messages, audience) in (10..200_u32, 1..300_u64),
        requests in vec(request(), 1..80),
    ) {
        let start = Instant::now();
        let mut now = start;
        let mut budget = Budget::new(messages, start);
        let mut paid: Vec<(Instant, usize, Cost)> = Vec::new();
        for request in requests {
            now += request.pause;
            let before = levels(&budget);
            match budget.charge(&identity(request.identity), (request.cost, audience), now) {
                Ok(()) => paid.push((now, request.identity, request.cost)),
                Err(refusal) => {
                    let after = levels(&budget);
                    let is_kept = |(name, level): (&String, &f64)| after[name] >= *level;
                    prop_assert!(before.iter().all(is_kept), "what is refused takes nothing");
                    // Nobody else asks meanwhile, so the wait that was named is long enough.
                    let wait_ms = refusal.after_ms.expect("a wait is named");
                    now += Duration::from_millis(wait_ms);
                    let again = budget.charge(&identity(request.identity), (request.cost, audience), now);
                    prop_assert_eq!(again, Ok(()));
                    paid.push((now, request.identity, request.cost));
                }
            }
            for (bucket, capacity) in buckets(&budget) {
                prop_assert!((0.0..=capacity + 1e-6).contains(&bucket.level), "{:?}", bucket);
            }
        }
        for (at, (since, ..)) in paid.iter().enumerate() {
            let seconds = (now - *since).as_secs_f64();
            let mut beyond_shares = [0.0; 2];
            for index in 0..IDENTITIES {
                let Some(account) = budget.account_by_identity.get(&identity(index)) else { continue };
                let of: Vec<Cost> = paid[at..].iter().filter(|paid| paid.1 == index).map(|paid| paid.2).collect();
                // A cost above a bucket's capacity counts as the capacity.
                let sum = |amount: Amount, most: f64| -> f64 {
                    of.iter().map(|cost| (amount(cost) as f64).min(most)).sum()
                };
                let holds = |bucket: &Bucket| bucket.capacity + seconds * bucket.per_second;
                let changes = sum(|cost| cost.changes, account.changes.capacity);
                prop_assert!(changes <= holds(&account.changes) + 1e-3, "{} changes", changes);
                let amounts: [(&Allowance, Amount); 2] =
                    [(&account.deliveries, |cost| cost.deliveries), (&account.bytes, |cost| cost.bytes)];
                for ((allowance, amount), beyond) in amounts.into_iter().zip(&mut beyond_shares) {
                    let most = allowance.extra.capacity;
                    let sum = sum(amount, most);
                    let both = holds(&allowance.share) + holds(&allowance.extra);
                    prop_assert!(sum <= both + 1e-3, "{} of {}", sum, both);
                    *beyond += (sum - holds(&allowance.share)).max(0.0);
                }
            }
            for (beyond, pool) in beyond_shares.into_iter().zip([&budget.deliveries, &budget.bytes]) {
                prop_assert!(beyond <= pool.capacity + seconds * pool.per_second + 1e-3);
            }
        }
        // An idle budget needs nobody: its heavily used accounts are half full at the named time.
        if let Some(until) = budget.needed_until(now) {
            prop_assert!(until > now);
            prop_assert_eq!(budget.needed_until(until + Duration::from_millis(1)), None);
        }
    }

    #[test]
    fn an_identity_has_its_share_whatever_the_others_spend(
        (messages, audience) in (10..200_u32, 1..20_000_u64),
        bytes_each in prop_oneof![0..100_u64, 0..9_000_u64],
        requests in vec(request(), 1..40),
    ) {
        let start = Instant::now();
        let mut now = start;
        let mut budget = Budget::new(messages, start);
        let message = Cost { deliveries: audience, bytes: audience * bytes_each, changes: 0 };
        for request in requests {
            now += request.pause;
            let _ = budget.charge(&identity(request.identity), (request.cost, audience), now);
            // A crowd spends all that it has.
            for member in 0..12 {
                let mut left = 400;
                while left > 0 && budget.charge(&identity(member), (message, audience), now).is_ok() {
                    left -= 1;
                }
            }
        }
        let join_and_offer = Cost {
            deliveries: audience * (JOIN_DELIVERIES + SHARE_TRACKS * PUBLISH_DELIVERIES),
            bytes: audience * EVENT_BYTES * (JOIN_DELIVERIES + SHARE_TRACKS),
            changes: 11,
        };
        let newcomer = "newcomer".parse().unwrap();
        prop_assert_eq!(budget.charge(&newcomer, (join_and_offer, audience), now), Ok(()));
    }
}

/// One of the amounts of a cost.
type Amount = fn(&Cost) -> u64;

#[derive(Debug, Clone)]
struct Request {
    identity: usize,
    cost: Cost,
    pause: Duration,
}

fn request() -> impl Strategy<Value = Request> {
    let amount = || prop_oneof![0..3_000_u64, 0..40_000_u64];
    let bytes = prop_oneof![0..100_000_u64, 0..20_000_000_u64];
    let pause_ms = prop_oneof![Just(0_u64), 0..500_u64, 0..20_000_u64];
    (0..IDENTITIES, amount(), bytes, 0..40_u64, pause_ms).prop_map(
        |(identity, deliveries, bytes, changes, pause_ms)| Request {
            identity,
            cost: Cost {
                deliveries,
                bytes,
                changes,
            },
            pause: Duration::from_millis(pause_ms),
        },
    )
}

fn identity(index: usize) -> Identity {
    format!("p{index}").parse().expect("a name")
}

/// All buckets with their capacities.
fn buckets(budget: &Budget) -> Vec<(&Bucket, f64)> {
    let accounts = budget.account_by_identity.values();
    let own = accounts.flat_map(|account| {
        let Account {
            changes,
            deliveries,
            bytes,
        } = account;
        [
            changes,
            &deliveries.share,
            &deliveries.extra,
            &bytes.share,
            &bytes.extra,
        ]
    });
    let all = own.chain([&budget.deliveries, &budget.bytes]);
    all.map(|bucket| (bucket, bucket.capacity)).collect()
}

/// Levels of all buckets, by a name.
fn levels(budget: &Budget) -> HashMap<String, f64> {
    let mut levels = HashMap::from([
        ("deliveries".to_owned(), budget.deliveries.level),
        ("bytes".to_owned(), budget.bytes.level),
    ]);
    for (identity, account) in &budget.account_by_identity {
        levels.insert(format!("{identity} changes"), account.changes.level);
        levels.insert(format!("{identity} share"), account.deliveries.share.level);
        levels.insert(format!("{identity} extra"), account.deliveries.extra.level);
        levels.insert(format!("{identity} bytes"), account.bytes.share.level);
        levels.insert(format!("{identity} extra bytes"), account.bytes.extra.level);
    }
    levels
}
