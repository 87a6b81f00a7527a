//! Chooses the layer of each subscription of one subscriber, from its bandwidth and its priorities.
//!
//! A pure function. Every subscription gets the lowest layer at any estimate, because estimates can be wrong, and a
//! video with losses is better than none. The rest of the bandwidth goes to higher layers, one step per round, higher
//! priority first.

use super::track::TrackStatus;
use crate::key::LayerIndex;
use crate::limits::MAX_LAYERS;

/// Parameters of a subscription: pause, maximum height, priority.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionParams {
    /// True: send no media, and keep the m-line.
    pub paused: bool,
    /// Maximum height in pixels; 0: no limit.
    pub max_height: u32,
    /// Subscriptions with a higher priority get bandwidth first.
    pub priority: u32,
}

/// One video subscription that competes for the subscriber's bandwidth.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Parameters of the subscription.
    pub params: SubscriptionParams,
    /// Number of declared layers; 1 without simulcast.
    pub layers: u8,
    /// Height of each layer in pixels; 0 when unknown.
    pub heights: [u32; MAX_LAYERS],
    /// Measured bit rates of the publisher's layers.
    pub status: TrackStatus,
    /// The layer that is forwarded now.
    pub current: Option<LayerIndex>,
}

/// Factor between the bit rate of a higher layer and the bandwidth needed to switch to it. Prevents switches at each
/// change of the estimate.
const RISE_MARGIN: f64 = 1.15;
/// The layer of each candidate; `None` if it is paused. Layers above the lowest must fit into `budget_bps` together.
pub fn allocate(candidates: &[Candidate], budget_bps: u64) -> Vec<Option<LayerIndex>> {
    let mut given: Vec<Option<LayerIndex>> = vec![None; candidates.len()];
    let mut left = budget_bps as f64;
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(candidates[index].params.priority));
    for round in 0..MAX_LAYERS {
        for &index in &order {
            let candidate = &candidates[index];
            let eligible = candidate.eligible();
            let Some(&layer) = eligible.get(round) else {
                continue;
            };
            let has_all_below = given[index] == round.checked_sub(1).map(|below| eligible[below]);
            // A layer that just started may measure less than the one below it. This frees nothing: a lower priority
            // would get bandwidth that a higher one was refused before.
            let below = given[index].map_or(0.0, |below| candidate.bps(below));
            let price = (candidate.bps(layer) - below).max(0.0);
            if round == 0 || has_all_below && candidate.affords(layer, price, left) {
                left -= price;
                given[index] = Some(layer);
            }
        }
    }
    given
}

/// Bandwidth targets of the estimator, in bits per second.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The sent rate plus the cheapest next layer. The estimator sustains this rate with padding until the path is
    /// proven to carry it.
    pub sustain_bps: u64,
    /// The rate of all candidates at their best layers: the target of probes.
    pub desired_bps: u64,
}

/// Bandwidth targets at which candidates could get better layers than `given`.
pub fn target(candidates: &[Candidate], given: &[Option<LayerIndex>]) -> Target {
    let (mut sent, mut desired, mut cheapest) = (0.0, 0.0, None::<f64>);
    for (candidate, layer) in candidates.iter().zip(given) {
        let eligible = candidate.eligible();
        let now = layer.map_or(0.0, |layer| candidate.bps(layer));
        sent += now;
        desired += eligible
            .last()
            .map_or(0.0, |&best| candidate.bps(best) * RISE_MARGIN);
        let next = eligible.into_iter().find(|next| Some(*next) > *layer);
        if let Some(next) = next {
            let step = (candidate.bps(next) * RISE_MARGIN - now).max(0.0);
            cheapest = Some(cheapest.map_or(step, |best| best.min(step)));
        }
    }
    let Some(step) = cheapest else {
        return Target::default(); // all subscriptions have their best layer: no probe is needed
    };
    Target {
        sustain_bps: (sent + step).round() as u64,
        desired_bps: f64::round(desired) as u64,
    }
}

impl Candidate {
    /// Layers that may be sent, lowest first: with packets, and not higher than requested. The lowest layer may always
    /// be sent.
    fn eligible(&self) -> Vec<LayerIndex> {
        if self.params.paused {
            return Vec::new();
        }
        let live: Vec<LayerIndex> = (0..self.layers)
            .map(LayerIndex)
            .filter(|layer| self.status.live.contains(*layer))
            .collect();
        if live.is_empty() {
            // No measurements: keep the current layer during a pause; start with the lowest layer, which publishers
            // start first.
            return vec![self.current.unwrap_or(LayerIndex(0))];
        }
        let fits = |layer: &LayerIndex| {
            self.params.max_height == 0 || self.heights[layer.index()] <= self.params.max_height
        };
        let lowest = live[0];
        live.into_iter()
            .filter(|layer| *layer == lowest || fits(layer))
            .collect()
    }

    fn bps(&self, layer: LayerIndex) -> f64 {
        f64::from(self.status.layer_bps[layer.index()])
    }

    fn affords(&self, layer: LayerIndex, price: f64, left: f64) -> bool {
        let holds = self.current.is_some_and(|current| current >= layer);
        let needed = if holds { price } else { price * RISE_MARGIN };
        needed <= left.max(0.0)
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::LayerSet;

    fn simulcast(params: SubscriptionParams, current: Option<u8>) -> Candidate {
        Candidate {
            params,
            layers: 3,
            heights: [180, 360, 720],
            status: TrackStatus {
                layer_bps: [150_000, 500_000, 1_700_000],
                live: [0, 1, 2].map(LayerIndex).into_iter().collect(),
            },
            current: current.map(LayerIndex),
        }
    }

    fn layers(candidates: &[Candidate], budget: u64) -> Vec<Option<u8>> {
        allocate(candidates, budget)
            .into_iter()
            .map(|layer| layer.map(|l| l.0))
            .collect()
    }

    #[test]
    fn the_best_layer_that_fits_with_a_margin_to_rise_and_none_to_stay() {
        let fresh = simulcast(SubscriptionParams::default(), None);
        for (budget, expected) in [
            (0, Some(0)),
            (200_000, Some(0)),
            (700_000, Some(1)),
            (2_100_000, Some(2)),
        ] {
            assert_eq!(layers(&[fresh], budget), [expected], "{budget}");
        }
        assert_eq!(
            layers(&[fresh], 1_750_000),
            [Some(1)],
            "a rise needs a margin"
        );
        let high = simulcast(SubscriptionParams::default(), Some(2));
        assert_eq!(
            layers(&[high], 1_750_000),
            [Some(2)],
            "what it has it keeps"
        );
    }

    #[test]
    fn all_subscriptions_get_the_lowest_layer_before_one_gets_more() {
        let important = simulcast(
            SubscriptionParams {
                priority: 9,
                ..SubscriptionParams::default()
            },
            None,
        );
        let other = simulcast(SubscriptionParams::default(), None);
        assert_eq!(layers(&[other, important], 400_000), [Some(0), Some(0)]);
        assert_eq!(layers(&[other, important], 800_000), [Some(0), Some(1)]);
        assert_eq!(layers(&[other, important], 0), [Some(0), Some(0)]);
    }

    #[test]
    fn a_layer_that_measures_less_than_the_one_below_frees_nothing_for_lower_priorities() {
        let with_rates = |priority, layer_bps| {
            let params = SubscriptionParams {
                priority,
                ..SubscriptionParams::default()
            };
            let mut candidate = simulcast(params, None);
            candidate.layers = 2;
            candidate.status.layer_bps = layer_bps;
            candidate.status.live = [0, 1].map(LayerIndex).into_iter().collect();
            candidate
        };
        let rates = [100_000, 600_000, 0];
        let candidates = [
            with_rates(2, rates),
            with_rates(1, [500_000, 10_000, 0]),
            with_rates(0, rates),
        ];
        let given = layers(&candidates, 1_200_000);
        assert_eq!(given, [Some(0), Some(1), Some(0)]);
    }

    #[test]
    fn wishes_are_kept() {
        let small = SubscriptionParams {
            max_height: 360,
            ..SubscriptionParams::default()
        };
        assert_eq!(layers(&[simulcast(small, None)], 9_000_000), [Some(1)]);
        let tiny = SubscriptionParams {
            max_height: 90,
            ..SubscriptionParams::default()
        };
        assert_eq!(
            layers(&[simulcast(tiny, None)], 9_000_000),
            [Some(0)],
            "never nothing"
        );
        let paused = SubscriptionParams {
            paused: true,
            ..SubscriptionParams::default()
        };
        assert_eq!(layers(&[simulcast(paused, Some(2))], 9_000_000), [None]);
    }

    #[test]
    fn a_dead_layer_is_not_waited_for() {
        let mut candidate = simulcast(SubscriptionParams::default(), Some(2));
        candidate.status.live = [0, 1].map(LayerIndex).into_iter().collect();
        assert_eq!(layers(&[candidate], 9_000_000), [Some(1)]);
        candidate.status.live = LayerSet::NONE;
        assert_eq!(
            layers(&[candidate], 9_000_000),
            [Some(2)],
            "a pause of all is no change"
        );
        candidate.current = None;
        assert_eq!(layers(&[candidate], 9_000_000), [Some(0)]);
    }

    #[test]
    fn the_target_is_the_cheapest_next_layer_and_everything() {
        let candidates = [
            simulcast(SubscriptionParams::default(), Some(0)),
            simulcast(SubscriptionParams::default(), Some(1)),
        ];
        let given = [Some(LayerIndex(0)), Some(LayerIndex(1))];
        let target = target(&candidates, &given);
        assert_eq!(target.sustain_bps, 150_000 + 500_000 + (575_000 - 150_000));
        assert_eq!(target.desired_bps, 2 * 1_955_000);
        let best = [Some(LayerIndex(2)); 2];
        assert_eq!(
            super::target(&candidates, &best),
            Target::default(),
            "nothing is left to find out"
        );
    }
}
