//! What one stream may send again, and under which numbers (RFC 4588).
//!
//! Whoever asks for packets gets at most a part of what was sent on top: neither a broken client nor
//! one that lies makes us amplify.

use std::time::{Duration, Instant};

/// The retransmission stream beside a media stream.
#[derive(Debug)]
pub struct Resend {
    /// Its SSRC.
    pub ssrc: u32,
    next_seq: u64,
    allowance_bytes: usize,
    latest: Box<[(u16, Option<Instant>); LATEST]>,
}

/// Of what is sent, this part may be sent again.
const PART: usize = 4;
/// What may be sent again at once, beyond that.
const BURST_BYTES: usize = 128 << 10;
/// Retransmissions remembered so that a repeated request is not answered twice.
const LATEST: usize = 64;
/// A request repeated within this time crossed its answer.
const REPEAT_AFTER: Duration = Duration::from_millis(20);

impl Resend {
    /// Starts at `first_seq`, which has to be below 2^16: receivers assume a rollover count of 0.
    pub fn new(ssrc: u32, first_seq: u16) -> Self {
        Self {
            ssrc,
            next_seq: u64::from(first_seq),
            allowance_bytes: BURST_BYTES,
            latest: Box::new([(0, None); LATEST]),
        }
    }

    /// `bytes` of media were sent.
    pub fn earn(&mut self, bytes: usize) {
        self.allowance_bytes = (self.allowance_bytes + bytes / PART).min(BURST_BYTES);
    }

    /// Whether the `bytes` of packet `seq` may be sent again at `now`, and counts them if so.
    pub fn allow(&mut self, seq: u16, bytes: usize, now: Instant) -> bool {
        let latest = &mut self.latest[usize::from(seq) % LATEST];
        let is_repeat = latest.0 == seq
            && latest
                .1
                .is_some_and(|at| now.saturating_duration_since(at) < REPEAT_AFTER);
        if is_repeat || self.allowance_bytes < bytes {
            return false;
        }
        self.allowance_bytes -= bytes;
        *latest = (seq, Some(now));
        true
    }

    /// The next sequence number, used once.
    pub fn next_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_once_in_a_while_and_within_the_allowance() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut resend = Resend::new(7, 100);
        assert!(resend.allow(1, 1_000, at(0)));
        assert!(!resend.allow(1, 1_000, at(19)), "crossed its answer");
        assert!(resend.allow(2, 1_000, at(19)));
        assert!(resend.allow(1, 1_000, at(20)));
        let allowed = (3..1_000)
            .filter(|seq| resend.allow(*seq, 1_000, at(21)))
            .count();
        assert_eq!(allowed, (BURST_BYTES - 3_000) / 1_000);
        resend.earn(4_000);
        assert!(resend.allow(5_000, 1_000, at(22)));
        assert!(!resend.allow(5_001, 1_000, at(22)));
        assert_eq!((resend.next_seq(), resend.next_seq()), (100, 101));
    }
}
