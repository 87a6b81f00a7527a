//! Limits the work that transport-wide feedback can cause.
//!
//! A feedback message of 22 bytes can claim the status of 65,535 packets. Receivers report each packet once, or a few
//! times when packets arrive out of order. So the number of statuses that are read is limited by the number of sent
//! packets.

/// Number of statuses that may be read for each sent packet.
const STATUSES_PER_PACKET: u32 = 8;
/// Maximum number of statuses that may be read in a burst: twice the packets that are remembered.
const MAX_STATUSES_AT_ONCE: u32 = 4_096;
/// Maximum number of packets in one feedback message: four seconds at 20 Mb/s.
pub(super) const MAX_STATUSES_PER_FEEDBACK: u16 = 8_192;

/// Reason why a feedback message was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FeedbackError {
    /// The feedback covers more packets than allowed.
    #[error("feedback is about {0} packets, more than {MAX_STATUSES_PER_FEEDBACK}")]
    TooLong(u16),
    /// The feedback covers packets that were never sent.
    #[error(
        "feedback is about packets from {base_seq} on, {count} of them, which were not all sent"
    )]
    NeverSent {
        /// Sequence number of the first packet in the feedback.
        base_seq: u16,
        /// Number of packets in the feedback.
        count: u16,
    },
    /// The receiver reported each packet too often.
    #[error("feedback is about {0} packets, and {1} more may be reported now")]
    TooOften(u32, u32),
}

/// Number of statuses that may be read now.
#[derive(Debug, Default)]
pub(super) struct StatusBudget(u32);

impl StatusBudget {
    /// Adds the share of one sent packet.
    pub(super) fn sent(&mut self) {
        self.0 = (self.0 + STATUSES_PER_PACKET).min(MAX_STATUSES_AT_ONCE);
    }

    /// Takes `statuses` from the budget; takes nothing if there are fewer.
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
