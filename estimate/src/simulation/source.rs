//! The simulated video source, and its reaction to the estimate.

/// The simulated video source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    /// The rates of the layers; the highest that fits is sent.
    pub(super) layers_bps: &'static [u64],
    /// A camera's frames differ by this much.
    pub(super) unsteady_percent: i64,
    pub(super) sustain_bps: u64,
    pub(super) desired_bps: u64,
}

/// Fine steps up to 3 Mb/s: the sent rate follows the estimate.
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
