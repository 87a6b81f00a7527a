//! Positions of values on an axis, and its ticks.

/// An axis between the coordinates `from` and `to` of the picture.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
}

#[derive(Debug, Clone, Copy)]
enum Scale {
    /// Linear from zero to this value.
    Linear(f64),
    /// Logarithmic between two powers of ten.
    Logarithmic(f64, f64),
}

/// Maximum number of ticks on a linear axis.
const TICKS: f64 = 6.0;

impl Axis {
    /// A linear axis from zero to a round value above `max`.
    pub fn linear(max: f64, from: f64, to: f64) -> Self {
        let max = if max > 0.0 { max } else { 1.0 };
        let step = step(max);
        let scale = Scale::Linear((max / step).ceil() * step);
        Self { scale, from, to }
    }

    /// A logarithmic axis between powers of ten around `min` and `max`.
    pub fn logarithmic(min: f64, max: f64, from: f64, to: f64) -> Self {
        let low = 10_f64.powf(min.max(1e-6).log10().floor());
        let high = 10_f64.powf(max.max(low * 10.0).log10().ceil());
        let scale = Scale::Logarithmic(low, high);
        Self { scale, from, to }
    }

    /// Position of `value` on the axis.
    pub fn at(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear(max) => value / max,
            Scale::Logarithmic(low, high) => (value.max(low) / low).log10() / (high / low).log10(),
        };
        self.from + (self.to - self.from) * part.clamp(0.0, 1.0)
    }

    /// Round values at which the axis has ticks.
    pub fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear(max) => {
                let step = step(max);
                let count = (max / step).round() as u32;
                (0..=count).map(|index| f64::from(index) * step).collect()
            }
            Scale::Logarithmic(low, high) => {
                let decades = (high / low).log10().round() as i32;
                (0..=decades)
                    .map(|decade| low * 10_f64.powi(decade))
                    .collect()
            }
        }
    }
}

/// Distance of ticks: 1, 2 or 5 times a power of ten.
fn step(max: f64) -> f64 {
    let rough = max / TICKS;
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|factor| factor * power >= rough * 0.999_999);
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        let axis = Axis::linear(1_900.0, 0.0, 100.0);
        assert_eq!(axis.ticks(), [0.0, 500.0, 1_000.0, 1_500.0, 2_000.0]);
        assert!((axis.at(1_000.0) - 50.0).abs() < 1e-9);
        let upwards = Axis::linear(3.0, 200.0, 0.0);
        assert!((upwards.at(0.0) - 200.0).abs() < 1e-9 && upwards.at(3.0) < 1e-9);
        assert_eq!(Axis::linear(0.0, 0.0, 1.0).ticks().first(), Some(&0.0));
    }

    #[test]
    fn decades_are_evenly_spaced() {
        let axis = Axis::logarithmic(0.3, 42.0, 0.0, 300.0);
        assert_eq!(axis.ticks().len(), 4);
        assert!((axis.at(1.0) - 100.0).abs() < 1e-6);
        assert!(axis.at(0.0).abs() < 1e-9);
    }
}
