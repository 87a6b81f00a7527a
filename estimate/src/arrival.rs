//! Groups packets that were sent together, and measures how much later each group arrives than expected
//! (draft-ietf-rmcat-gcc-02 section 5.2 and 5.3).

/// Packets that were sent within this time are one group.
const GROUP_US: i64 = 5_000;
/// Packets that arrive faster than they were sent have waited together, because the receiver woke up late or a radio
/// got the channel. They are one group, up to this duration.
const BURST_US: i64 = 100_000;

/// Groups packets by their send time.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    current: Option<Group>,
    previous: Option<Group>,
}

/// Differences between two consecutive groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) sent_us: i64,
    pub(super) arrived_us: i64,
    /// Arrival time of the later group on the receiver's clock.
    pub(super) at_us: i64,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    first_sent_us: i64,
    last_sent_us: i64,
    first_arrived_us: i64,
    last_arrived_us: i64,
}

impl Arrivals {
    /// Adds a packet that arrived. Returns the step between the last two complete groups, if this packet starts a new
    /// group.
    pub(super) fn add(&mut self, sent_us: i64, arrived_us: i64) -> Option<Step> {
        let Some(current) = &mut self.current else {
            self.current = Some(Group::new(sent_us, arrived_us));
            return None;
        };
        // The packet belongs to a group that is already complete.
        if sent_us < current.first_sent_us {
            return None;
        }
        if current.includes(sent_us, arrived_us) {
            current.last_sent_us = current.last_sent_us.max(sent_us);
            current.last_arrived_us = current.last_arrived_us.max(arrived_us);
            return None;
        }
        let complete = *current;
        *current = Group::new(sent_us, arrived_us);
        let previous = self.previous.replace(complete)?;
        let step = Step {
            sent_us: complete.last_sent_us - previous.last_sent_us,
            arrived_us: complete.last_arrived_us - previous.last_arrived_us,
            at_us: complete.last_arrived_us,
        };
        // A group that overtook another one shows nothing about the queue.
        (step.arrived_us >= 0).then_some(step)
    }
}

impl Group {
    fn new(sent_us: i64, arrived_us: i64) -> Self {
        Self {
            first_sent_us: sent_us,
            last_sent_us: sent_us,
            first_arrived_us: arrived_us,
            last_arrived_us: arrived_us,
        }
    }

    fn includes(&self, sent_us: i64, arrived_us: i64) -> bool {
        let between_us = arrived_us - self.last_arrived_us;
        let catches_up = between_us < sent_us - self.last_sent_us
            && between_us <= GROUP_US
            && arrived_us - self.first_arrived_us < BURST_US;
        sent_us - self.first_sent_us <= GROUP_US || catches_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(packets: &[(i64, i64)]) -> Vec<(i64, i64)> {
        let mut arrivals = Arrivals::default();
        packets
            .iter()
            .filter_map(|(sent_ms, arrived_ms)| arrivals.add(sent_ms * 1_000, arrived_ms * 1_000))
            .map(|step| (step.sent_us / 1_000, step.arrived_us / 1_000))
            .collect()
    }

    #[test]
    fn groups_are_what_was_sent_together() {
        let frames = [(0, 50), (1, 51), (20, 70), (24, 76), (40, 95), (60, 115)];
        assert_eq!(steps(&frames), [(23, 25), (16, 19)]);
    }

    #[test]
    fn what_waited_for_a_late_receiver_is_one_group() {
        let stalled = [
            (0, 50),
            (20, 70),
            (40, 150),
            (60, 150),
            (80, 150),
            (100, 150),
            (120, 170),
            (140, 190),
        ];
        assert_eq!(steps(&stalled), [(20, 20), (80, 80), (20, 20)]);
    }

    #[test]
    fn disorder_is_left_out() {
        assert_eq!(
            steps(&[(0, 50), (20, 70), (3, 72), (40, 90), (60, 85), (80, 130)]).len(),
            2
        );
    }
}
