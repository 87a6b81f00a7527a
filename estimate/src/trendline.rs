//! Detects a growing queue: compares the slope of the smoothed delays of the last groups with a threshold that adapts
//! to the jitter of the path (draft-ietf-rmcat-gcc-02 sections 5.3, 5.4).

use super::arrival::Step;

/// Number of groups in the line fit.
const WINDOW: usize = 20;
const SMOOTHING: f64 = 0.9;
const GAIN: f64 = 4.0;
/// Maximum number of groups that scale the slope, so that a new filter counts less.
const MAX_CONFIDENCE: u32 = 60;
const FIRST_THRESHOLD_MS: f64 = 12.5;
const THRESHOLD_RANGE_MS: std::ops::RangeInclusive<f64> = 6.0..=600.0;
/// Rates at which the threshold rises and falls, per millisecond.
const RISE: f64 = 0.0087;
const FALL: f64 = 0.039;
/// A slope further above the threshold than this is a spike; the threshold does not adapt to it.
const SPIKE_MS: f64 = 15.0;
const MAX_ADAPTATION_MS: f64 = 100.0;
/// Time for which the slope must be above the threshold.
const OVERUSE_MS: f64 = 10.0;

/// State of the queue according to the delays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Usage {
    /// The queue on the path grows.
    Over,
    /// The queue on the path keeps its length.
    #[default]
    Normal,
    /// The queue on the path drains.
    Under,
}

/// Line fit of the delays, and the detector that uses its slope.
#[derive(Debug)]
pub(super) struct Trendline {
    /// Ring of points: arrival time and smoothed delay, in ms.
    points: [(f64, f64); WINDOW],
    steps: u32,
    first_at_us: i64,
    delay_ms: f64,
    smoothed_ms: f64,
    threshold_ms: f64,
    threshold_at_us: i64,
    slope: f64,
    /// Duration (ms) and number of groups for which the slope has been above the threshold.
    steep: Option<(f64, u32)>,
    usage: Usage,
}

impl Trendline {
    pub(super) fn new() -> Self {
        Self {
            points: [(0.0, 0.0); WINDOW],
            steps: 0,
            first_at_us: 0,
            delay_ms: 0.0,
            smoothed_ms: 0.0,
            threshold_ms: FIRST_THRESHOLD_MS,
            threshold_at_us: 0,
            slope: 0.0,
            steep: None,
            usage: Usage::Normal,
        }
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// Adds the step of a group of packets that arrived.
    pub(super) fn add(&mut self, step: Step) {
        if self.steps == 0 {
            self.first_at_us = step.at_us;
            self.threshold_at_us = step.at_us;
        }
        self.delay_ms += (step.arrived_us - step.sent_us) as f64 / 1_000.0;
        self.smoothed_ms += (1.0 - SMOOTHING) * (self.delay_ms - self.smoothed_ms);
        let at_ms = (step.at_us - self.first_at_us) as f64 / 1_000.0;
        self.points[self.steps as usize % WINDOW] = (at_ms, self.smoothed_ms);
        self.steps = self.steps.saturating_add(1);
        if self.steps as usize >= WINDOW {
            let slope = self.fit();
            self.detect(slope, step.sent_us as f64 / 1_000.0);
            self.slope = slope;
            self.adapt(step.at_us);
        }
    }

    /// Slope of the least-squares line; 0 when all packets arrived at the same time.
    fn fit(&self) -> f64 {
        let count = WINDOW as f64;
        let (sum_x, sum_y) = self
            .points
            .iter()
            .fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        let (mean_x, mean_y) = (sum_x / count, sum_y / count);
        let (rise, run) = self.points.iter().fold((0.0, 0.0), |sum, (x, y)| {
            let from_mean = x - mean_x;
            (
                sum.0 + from_mean * (y - mean_y),
                sum.1 + from_mean * from_mean,
            )
        });
        if run > 0.0 { rise / run } else { 0.0 }
    }

    fn scaled(&self, slope: f64) -> f64 {
        f64::from(self.steps.min(MAX_CONFIDENCE)) * slope * GAIN
    }

    fn detect(&mut self, slope: f64, sent_ms: f64) {
        let scaled = self.scaled(slope);
        if scaled > self.threshold_ms {
            // On average, half of the first step was above the threshold.
            let (so_far_ms, groups) = self.steep.unwrap_or((-sent_ms / 2.0, 0));
            let (steep_ms, groups) = (so_far_ms + sent_ms, groups + 1);
            self.steep = Some((steep_ms, groups));
            if steep_ms > OVERUSE_MS && groups > 1 && slope >= self.slope {
                self.steep = None;
                self.usage = Usage::Over;
            }
        } else {
            self.steep = None;
            self.usage = match scaled < -self.threshold_ms {
                true => Usage::Under,
                false => Usage::Normal,
            };
        }
    }

    fn adapt(&mut self, at_us: i64) {
        let passed_ms = (at_us - self.threshold_at_us) as f64 / 1_000.0;
        self.threshold_at_us = at_us;
        let scaled = self.scaled(self.slope).abs();
        if scaled > self.threshold_ms + SPIKE_MS {
            return;
        }
        let rate = match scaled < self.threshold_ms {
            true => FALL,
            false => RISE,
        };
        let step_ms = rate * (scaled - self.threshold_ms) * passed_ms.clamp(0.0, MAX_ADAPTATION_MS);
        self.threshold_ms = (self.threshold_ms + step_ms)
            .clamp(*THRESHOLD_RANGE_MS.start(), *THRESHOLD_RANGE_MS.end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups 20 ms apart; the delay of group `n` changes by `change_us(n)`.
    fn usage_after(groups: i64, change_us: impl Fn(i64) -> i64) -> Usage {
        let mut trendline = Trendline::new();
        let mut at_us = 0;
        for group in 0..groups {
            let arrived_us = 20_000 + change_us(group);
            at_us += arrived_us;
            trendline.add(Step {
                sent_us: 20_000,
                arrived_us,
                at_us,
            });
        }
        trendline.usage()
    }

    #[test]
    fn growth_shrinking_and_trembling_are_told_apart() {
        let growth = |from: i64, by_us: i64| move |n| if n < from { 0 } else { by_us };
        let table = [
            ("level", usage_after(200, |_| 0), Usage::Normal),
            (
                "10 % too much",
                usage_after(120, growth(90, 2_000)),
                Usage::Over,
            ),
            (
                "draining",
                usage_after(120, growth(90, -2_000)),
                Usage::Under,
            ),
            (
                "too little to tell",
                usage_after(15, growth(0, 2_000)),
                Usage::Normal,
            ),
            (
                "trembling",
                usage_after(400, |n| [4_000, -4_000][n as usize % 2]),
                Usage::Normal,
            ),
        ];
        for (case, usage, expected) in table {
            assert_eq!(usage, expected, "{case}");
        }
    }
}
