//! Table of faults and states: how often a fault met a state. A pair that was never met is a hole: nobody knows whether
//! the code survives it.

use std::fmt;

use crate::fault::FaultKind;

/// States of sessions that faults can meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Connectivity checks have not succeeded yet.
    Checking,
    /// The DTLS handshake is not complete.
    Handshaking,
    /// An offer waits for its answer.
    Negotiating,
    /// A subscription waits for its first keyframe.
    AwaitingKeyframe,
    /// Media flows without a disturbance.
    Flowing,
    /// A subscription switches to another layer.
    SwitchingLayer,
    /// Lost packets are sent again.
    Resending,
    /// The estimator probes for bandwidth.
    Probing,
    /// The subscriptions are paused, or nothing is published.
    Idle,
    /// The session moves to another shard.
    Moving,
    /// The client has a new address that is not proven.
    Roaming,
    /// The person has just left.
    Closing,
}

/// Counts of met pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    met: [[u64; State::ALL.len()]; FaultKind::ALL.len()],
}

impl State {
    /// All states, in the order of the columns.
    pub const ALL: [State; 12] = [
        State::Checking,
        State::Handshaking,
        State::Negotiating,
        State::AwaitingKeyframe,
        State::Flowing,
        State::SwitchingLayer,
        State::Resending,
        State::Probing,
        State::Idle,
        State::Moving,
        State::Roaming,
        State::Closing,
    ];

    /// Name of the state in the table.
    pub fn label(self) -> &'static str {
        match self {
            State::Checking => "checking",
            State::Handshaking => "handshaking",
            State::Negotiating => "negotiating",
            State::AwaitingKeyframe => "keyframe",
            State::Flowing => "flowing",
            State::SwitchingLayer => "switching",
            State::Resending => "resending",
            State::Probing => "probing",
            State::Idle => "idle",
            State::Moving => "moving",
            State::Roaming => "roaming",
            State::Closing => "closing",
        }
    }
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            met: [[0; State::ALL.len()]; FaultKind::ALL.len()],
        }
    }
}

impl Coverage {
    /// Counts that `fault` met `state`.
    pub fn meet(&mut self, fault: FaultKind, state: State) {
        self.met[fault.index()][state as usize] += 1;
    }

    /// How often `fault` met `state`.
    pub fn count(&self, fault: FaultKind, state: State) -> u64 {
        self.met[fault.index()][state as usize]
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        let ours = self.met.iter_mut().flatten();
        for (ours, theirs) in ours.zip(other.met.iter().flatten()) {
            *ours += theirs;
        }
    }

    /// Pairs that were never met, of the faults in `possible`.
    pub fn holes<'a>(
        &'a self,
        possible: &'a [FaultKind],
    ) -> impl Iterator<Item = (FaultKind, State)> + 'a {
        let pairs = possible
            .iter()
            .flat_map(|fault| State::ALL.map(|state| (*fault, state)));
        pairs.filter(move |(fault, state)| self.count(*fault, *state) == 0)
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:14}", "")?;
        for state in State::ALL {
            write!(f, " {:>11}", state.label())?;
        }
        for fault in FaultKind::ALL {
            write!(f, "\n{:14}", fault.label())?;
            for state in State::ALL {
                write!(f, " {:>11}", self.count(fault, state))?;
            }
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_place() {
        for (index, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, index, "{state:?}");
        }
    }

    #[test]
    fn what_was_never_met_is_a_hole() {
        let possible = [FaultKind::Loss, FaultKind::Cut];
        let mut coverage = Coverage::default();
        assert_eq!(coverage.holes(&possible).count(), 2 * State::ALL.len());
        coverage.meet(FaultKind::Loss, State::Flowing);
        coverage.meet(FaultKind::Roam, State::Flowing);
        let mut other = Coverage::default();
        other.meet(FaultKind::Loss, State::Flowing);
        other.meet(FaultKind::Cut, State::Closing);
        coverage.add(&other);
        assert_eq!(coverage.count(FaultKind::Loss, State::Flowing), 2);
        let holes: Vec<_> = coverage.holes(&possible).collect();
        assert_eq!(holes.len(), 2 * State::ALL.len() - 2);
        assert!(!holes.contains(&(FaultKind::Cut, State::Closing)));
    }

    #[test]
    fn the_table_has_a_row_for_each_fault() {
        let table = Coverage::default().to_string();
        assert_eq!(table.lines().count(), 1 + FaultKind::ALL.len());
        let widths: Vec<_> = table.lines().map(str::len).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{table}");
    }
}
