//! The simulated video source, which follows the estimate.

/// Properties of the simulated video source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    /// Bit rates of the layers; the highest one that fits the estimate is sent.
    pub(super) layers_bps: &'static [u64],
    /// Variation of the frame sizes, in percent.
    pub(super) unsteady_percent: i64,
    pub(super) sustain_bps: u64,
    pub(super) desired_bps: u64,
}

/// Many layers up to 3 Mb/s, so that the sent rate follows the estimate.
pub(super) const FINE: &[u64] = &{
    let mut layers = [0; 60];
    let mut index = 0;
    while index < layers.len() {
        layers[index] = 50_000 * (index as u64 + 1);
        index += 1;
    }
    layers
};
pub(super) const GREEDY: Source = Source {
    layers_bps: FINE,
    unsteady_percent: 30,
    sustain_bps: 0,
    desired_bps: 3_000_000,
};
pub(super) const LAYERS: Source = Source {
    layers_bps: &[150_000, 500_000, 2_000_000],
    unsteady_percent: 30,
    sustain_bps: 0,
    desired_bps: 2_300_000,
};
pub(super) const LOW_LAYER: Source = Source {
    layers_bps: &[300_000],
    unsteady_percent: 30,
    sustain_bps: 0,
    desired_bps: 0,
};
