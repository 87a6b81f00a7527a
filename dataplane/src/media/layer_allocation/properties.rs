//! Properties of the choice of layers, for any subscriptions, measurements and estimates.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::properties::config;

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn layers_above_the_lowest_fit_into_the_estimate(candidates in candidates(), budget in budget()) {
        let given = allocate(&candidates, budget);
        let lowest: Vec<_> = candidates.iter().map(|candidate| candidate.eligible().first().copied()).collect();
        let policy = total(&candidates, &lowest);
        let most = budget.max(policy);
        prop_assert!(total(&candidates, &given) <= most, "{} of {}", total(&candidates, &given), most);
        prop_assert_eq!(allocate(&candidates, budget), given, "the same input has the same output");
    }

    #[test]
    fn every_subscription_gets_a_layer_that_it_asked_for(candidates in candidates(), budget in budget()) {
        for (candidate, layer) in candidates.iter().zip(allocate(&candidates, budget)) {
            prop_assert_eq!(layer.is_none(), candidate.params.paused);
            let Some(layer) = layer else { continue };
            let live = |layer: u8| candidate.status.live.contains(LayerIndex(layer));
            let Some(lowest) = (0..candidate.layers).find(|layer| live(*layer)) else {
                prop_assert_eq!(layer, candidate.current.unwrap_or(LayerIndex(0)), "nothing is measured");
                continue;
            };
            prop_assert!(layer.0 < candidate.layers && live(layer.0));
            let fits = candidate.params.max_height == 0
                || candidate.heights[layer.index()] <= candidate.params.max_height;
            prop_assert!(fits || layer.0 == lowest, "{:?}", layer);
        }
    }

    /// With a greater estimate, the first choice that differs is a higher layer: choices are made in rounds, in each
    /// round the higher priority first. After that choice less may be left for the others.
    #[test]
    fn a_greater_estimate_gives_more_to_the_first_that_can_use_it(
        candidates in candidates(),
        budgets in (budget(), budget()),
    ) {
        let [less, more] = [budgets.0.min(budgets.1), budgets.0.max(budgets.1)].map(|budget| {
            let given = allocate(&candidates, budget);
            let mut order: Vec<_> = (0..candidates.len()).collect();
            order.sort_by_key(|index| std::cmp::Reverse(candidates[*index].params.priority));
            let rounds = (0..MAX_LAYERS).flat_map(|round| order.iter().map(move |index| (round, *index)));
            let has = rounds.map(|(round, index)| {
                let eligible = candidates[index].eligible();
                eligible.get(round).is_some_and(|layer| given[index] >= Some(*layer))
            });
            has.collect::<Vec<_>>()
        });
        prop_assert!(more >= less, "{:?} {:?}", more, less);
    }

    #[test]
    fn one_subscription_never_loses_by_a_greater_estimate(candidate in candidate(), budgets in (budget(), budget())) {
        let (less, more) = (budgets.0.min(budgets.1), budgets.0.max(budgets.1));
        prop_assert!(allocate(&[candidate], more) >= allocate(&[candidate], less));
    }

    #[test]
    fn of_equal_subscriptions_the_higher_priority_gets_no_less(
        mut candidates in candidates(),
        one in candidate(),
        (lower, step) in (0..5_u32, 1..5_u32),
        places in any::<(prop::sample::Index, prop::sample::Index)>(),
        budget in budget(),
    ) {
        let low = places.0.index(candidates.len() + 1);
        candidates.insert(low, with_priority(one, lower));
        let high = places.1.index(candidates.len() + 1);
        candidates.insert(high, with_priority(one, lower + step));
        let low = low + usize::from(high <= low);
        let given = allocate(&candidates, budget);
        prop_assert!(given[high] >= given[low], "{:?}", given);
    }

    #[test]
    fn the_order_of_the_input_does_not_matter_between_priorities(
        (candidates, shuffled) in candidates().prop_flat_map(|candidates| {
            let order: Vec<usize> = (0..candidates.len()).collect();
            (Just(candidates), Just(order).prop_shuffle())
        }),
        budget in budget(),
    ) {
        let candidates = (0..).zip(candidates).map(|(priority, candidate)| with_priority(candidate, priority));
        let candidates: Vec<_> = candidates.collect();
        let moved: Vec<_> = shuffled.iter().map(|index| candidates[*index]).collect();
        let given = allocate(&candidates, budget);
        let expected: Vec<_> = shuffled.iter().map(|index| given[*index]).collect();
        prop_assert_eq!(allocate(&moved, budget), expected);
    }

    #[test]
    fn probes_are_wanted_while_a_layer_is_missing(candidates in candidates(), budget in budget()) {
        let given = allocate(&candidates, budget);
        let wanted = target(&candidates, &given);
        let is_missing = |(candidate, layer): (&Candidate, &Option<LayerIndex>)| {
            candidate.eligible().last().is_some_and(|best| Some(*best) > *layer)
        };
        if !candidates.iter().zip(&given).any(is_missing) {
            prop_assert_eq!(wanted, Target::default());
            return Ok(());
        }
        prop_assert!(wanted.sustain_bps >= total(&candidates, &given));
        let best: Vec<_> = candidates.iter().map(|candidate| candidate.eligible().last().copied()).collect();
        prop_assert!(wanted.desired_bps >= total(&candidates, &best));
    }
}

fn with_priority(mut candidate: Candidate, priority: u32) -> Candidate {
    candidate.params.priority = priority;
    candidate
}

fn total(candidates: &[Candidate], given: &[Option<LayerIndex>]) -> u64 {
    let rates = candidates.iter().zip(given);
    rates
        .map(|(candidate, layer)| {
            layer.map_or(0, |layer| {
                u64::from(candidate.status.layer_bps[layer.index()])
            })
        })
        .sum()
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    vec(candidate(), 0..8)
}

fn candidate() -> impl Strategy<Value = Candidate> {
    let height = || {
        prop_oneof![
            Just(0_u32),
            prop::sample::select(vec![90, 180, 360, 720, 1_080]),
            any::<u32>()
        ]
    };
    let params = (prop::bool::weighted(0.1), height(), 0..4_u32);
    let params = params.prop_map(|(paused, max_height, priority)| SubscriptionParams {
        paused,
        max_height,
        priority,
    });
    let bps = || prop_oneof![4 => 1_000..3_000_000_u32, 1 => any::<u32>(), 1 => Just(0)];
    let rising = (1_000..300_000_u32, 1_000..900_000_u32, 1_000..2_000_000_u32)
        .prop_map(|(low, middle, high)| [low, low + middle, low + middle + high]);
    let layer_bps = prop_oneof![rising, [bps(), bps(), bps()]];
    let live = prop_oneof![4 => Just(0b111_u8), 1 => 0..0b1000_u8];
    let current = prop::option::of(0..MAX_LAYERS as u8);
    (
        params,
        1..=MAX_LAYERS as u8,
        [height(), height(), height()],
        layer_bps,
        live,
        current,
    )
        .prop_map(
            |(params, layers, heights, layer_bps, live, current)| Candidate {
                params,
                layers,
                heights,
                status: TrackStatus {
                    layer_bps,
                    live: (0..layers)
                        .filter(|layer| live & 1 << layer != 0)
                        .map(LayerIndex)
                        .collect(),
                },
                current: current.filter(|current| *current < layers).map(LayerIndex),
            },
        )
}

fn budget() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..12_000_000_u64, 1 => Just(0), 1 => any::<u64>()]
}
