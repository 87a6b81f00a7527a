//! What the network did with datagrams, by kind.

/// Counts of datagrams since the start.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams that hosts sent.
    pub sent: u64,
    /// Datagrams that hosts received, second copies included.
    pub delivered: u64,
    /// Datagrams that were copied on the way.
    pub duplicated: u64,
    /// Datagrams that arrived after a later one of their path.
    pub reordered: u64,
    /// Datagrams that were lost one by one.
    pub lost: u64,
    /// Datagrams that were lost in bursts.
    pub lost_in_bursts: u64,
    /// Datagrams that found the queue of the bottleneck full.
    pub overflowed: u64,
    /// Datagrams that were sent into a cut.
    pub cut: u64,
}

impl Counts {
    /// Number of datagrams that must be on their way: sent and copied, neither delivered nor dropped.
    pub fn flying(&self) -> u64 {
        let gone = self.lost + self.lost_in_bursts + self.overflowed + self.cut;
        self.sent + self.duplicated - self.delivered - gone
    }

    /// Faults by name, for the report of a run.
    pub fn faults(&self) -> [(&'static str, u64); 6] {
        [
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
            ("lost", self.lost),
            ("lost_in_bursts", self.lost_in_bursts),
            ("overflowed", self.overflowed),
            ("cut", self.cut),
        ]
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        let Self {
            sent,
            delivered,
            duplicated,
            reordered,
            lost,
            lost_in_bursts,
            overflowed,
            cut,
        } = other;
        self.sent += sent;
        self.delivered += delivered;
        self.duplicated += duplicated;
        self.reordered += reordered;
        self.lost += lost;
        self.lost_in_bursts += lost_in_bursts;
        self.overflowed += overflowed;
        self.cut += cut;
    }
}
