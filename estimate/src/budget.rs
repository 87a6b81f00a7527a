//! Limit of transport-wide feedback: the number of statuses that are read grows with the sent packets.
//!
//! A feedback of 22 bytes may claim the status of 65,535 packets. Receivers report each packet once, or a few times when
//! packets arrive out of order, so the work that feedback can cause is bounded by the packets that were sent.

/// Statuses read for each packet sent.
const STATUSES_PER_PACKET: u32 = 8;
/// Statuses that can be read at once, after a quiet time: twice the packets that are remembered.
const MAX_STATUSES_AT_ONCE: u32 = 4_096;
/// Most packets that one feedback may claim to be about: four seconds at 20 Mb/s.
pub(super) const MAX_STATUSES_PER_FEEDBACK: u16 = 8_192;

/// Why a feedback was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FeedbackError {
    /// The feedback claims more packets than allowed.
    #[error("feedback is about {0} packets, more than {MAX_STATUSES_PER_FEEDBACK}")]
    TooLong(u16),
    /// The feedback is about packets that were never sent.
    #[error(
        "feedback is about packets from {base_seq} on, {count} of them, which were not all sent"
    )]
    NeverSent {
        /// Sequence number of the first packet in the feedback.
        base_seq: u16,
        /// Number of packets in the feedback.
        count: u16,
    },
    /// The receiver reports each packet too often.
    #[error("feedback is about {0} packets, and {1} more may be reported now")]
    TooOften(u32, u32),
}

/// Statuses that may be read now.
#[derive(Debug, Default)]
pub(super) struct StatusBudget(u32);

impl StatusBudget {
    /// A packet was sent.
    pub(super) fn sent(&mut self) {
        self.0 = (self.0 + STATUSES_PER_PACKET).min(MAX_STATUSES_AT_ONCE);
    }

    /// Takes `statuses` from the budget, or nothing at all.
    pub(super) fn take(&mut self, statuses: u32) -> Result<(), FeedbackError> {
        let left = self.0.checked_sub(statuses);
        self.0 = left.ok_or(FeedbackError::TooOften(statuses, self.0))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_read_grows_with_what_is_sent() {
        let mut budget = StatusBudget::default();
        assert_eq!(budget.take(1), Err(FeedbackError::TooOften(1, 0)));
        budget.sent();
        assert_eq!(budget.take(STATUSES_PER_PACKET), Ok(()));
        assert!(budget.take(1).is_err());
        (0..1_000_000).for_each(|_| budget.sent());
        let over = MAX_STATUSES_AT_ONCE + 1;
        assert_eq!(
            budget.take(over),
            Err(FeedbackError::TooOften(over, MAX_STATUSES_AT_ONCE))
        );
        assert_eq!(
            budget.take(MAX_STATUSES_AT_ONCE),
            Ok(()),
            "what is refused costs nothing"
        );
    }
}
