//! Retransmissions of one stream: its allowance, and its RTX sequence numbers (RFC 4588).
//!
//! A client gets at most a limited share of its packets a second time, so neither a broken nor a hostile client can use
//! us to amplify traffic.

use std::time::{Duration, Instant};

use crate::limits::HISTORY_PACKETS;

/// The retransmission stream beside a media stream.
#[derive(Debug)]
pub struct Resend {
    /// SSRC of the retransmission stream.
    pub ssrc: u32,
    /// True if the receiver has reported on the SSRC, so packets need no mid.
    pub is_bound: bool,
    next_seq: u64,
}

/// Limits the retransmissions of one stream, in bytes and per packet.
#[derive(Debug)]
pub struct Allowance {
    bytes: usize,
    /// Time of the first request; `at_ms` values count from it.
    start: Option<Instant>,
    /// Latest retransmissions, indexed by sequence number; allocated at the first request.
    latest: Vec<Repeat>,
}

/// Time of a retransmission request, and the RTT of the subscriber.
#[derive(Debug, Clone, Copy)]
pub struct RetransmitRequest {
    /// Time of the request.
    pub now: Instant,
    /// Round trip time; zero until it is known.
    pub rtt: Duration,
}

/// Earlier retransmissions of one packet.
#[derive(Debug, Default, Clone, Copy)]
struct Repeat {
    seq: u16,
    /// Number of retransmissions; 0 if none.
    count: u8,
    /// Time of the last retransmission, in milliseconds since `start`.
    at_ms: u32,
}

/// Each sent media packet adds 1/`PART` of its bytes to the allowance.
const PART: usize = 4;
/// Initial and maximum allowance, in bytes.
const BURST_BYTES: usize = 128 << 10;
/// Number of packets whose retransmissions are remembered: all that the history can contain.
const LATEST: usize = HISTORY_PACKETS;
/// Minimum time between two retransmissions of one packet, even if the RTT is shorter: an earlier request was probably
/// sent before the first retransmission arrived.
const REPEAT_AFTER: Duration = Duration::from_millis(20);
/// Maximum number of retransmissions of one packet.
const MAX_REPEATS: u8 = 5;
/// Part of the allowance that repeated requests may not use, in bytes: a client that receives nothing repeats all its
/// requests.
const RESERVED_BYTES: usize = BURST_BYTES / 2;

impl Resend {
    /// Sequence numbers start at `first_seq`, which must be below 2^16, because receivers assume a rollover count of 0.
    pub fn new(ssrc: u32, first_seq: u16) -> Self {
        Self {
            ssrc,
            is_bound: false,
            next_seq: u64::from(first_seq),
        }
    }

    /// Returns the next RTX sequence number. Each is used once.
    pub fn next_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq - 1
    }
}

impl Allowance {
    /// Adds the share of `bytes` sent media to the allowance.
    pub fn earn(&mut self, bytes: usize) {
        self.bytes = (self.bytes + bytes / PART).min(BURST_BYTES);
    }

    /// True if the `bytes` of packet `seq` may be sent again; then they are counted. The interval between
    /// retransmissions of one packet starts at `rtt` and doubles each time, because a client that receives nothing
    /// repeats its requests.
    pub fn allow(&mut self, seq: u16, bytes: usize, at: RetransmitRequest) -> bool {
        let RetransmitRequest { now, rtt } = at;
        let start = *self.start.get_or_insert(now);
        let now_ms = now.saturating_duration_since(start).as_millis() as u32;
        if self.latest.is_empty() {
            self.latest.resize(LATEST, Repeat::default());
        }
        let repeat = &mut self.latest[usize::from(seq) % LATEST];
        if repeat.seq != seq {
            *repeat = Repeat::default();
        }
        let wait = rtt.max(REPEAT_AFTER) * (1 << repeat.count.saturating_sub(1));
        let is_early = u128::from(now_ms.wrapping_sub(repeat.at_ms)) < wait.as_millis();
        let is_repeated = repeat.count > 0;
        let reserved = if is_repeated { RESERVED_BYTES } else { 0 };
        if is_repeated && (is_early || repeat.count >= MAX_REPEATS) || self.bytes < bytes + reserved
        {
            return false;
        }
        self.bytes -= bytes;
        *repeat = Repeat {
            seq,
            count: repeat.count + 1,
            at_ms: now_ms,
        };
        true
    }
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            bytes: BURST_BYTES,
            start: None,
            latest: Vec::new(),
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn a_request_is_answered_once_in_a_while_and_within_the_allowance() {
        let start = Instant::now();
        let at = |ms| RetransmitRequest {
            now: start + Duration::from_millis(ms),
            rtt: SHORT,
        };
        let mut allowance = Allowance::default();
        assert!(allowance.allow(1, 1_000, at(0)));
        assert!(!allowance.allow(1, 1_000, at(19)), "crossed its answer");
        assert!(allowance.allow(2, 1_000, at(19)));
        assert!(allowance.allow(1, 1_000, at(20)));
        let allowed = (3..1_000)
            .filter(|seq| allowance.allow(*seq, 1_000, at(21)))
            .count();
        assert_eq!(allowed, (BURST_BYTES - 3_000) / 1_000);
        allowance.earn(4_000);
        assert!(allowance.allow(5_000, 1_000, at(22)));
        assert!(!allowance.allow(5_001, 1_000, at(22)));
        let mut resend = Resend::new(7, 100);
        assert_eq!((resend.next_seq(), resend.next_seq()), (100, 101));
    }

    #[test]
    fn repeated_requests_are_answered_once_per_rtt_and_less_and_less_often() {
        let start = Instant::now();
        let asked = |ms| RetransmitRequest {
            now: start + Duration::from_millis(ms),
            rtt: Duration::from_millis(100),
        };
        let mut allowance = Allowance::default();
        let mut sent = Vec::new();
        for ms in 0..100_000 {
            if allowance.allow(9, 1, asked(ms)) {
                sent.push(ms);
            }
        }
        assert_eq!(sent, [0, 100, 300, 700, 1_500]);
        assert_eq!(sent.len(), usize::from(MAX_REPEATS));
        (100..300).for_each(|seq| assert!(allowance.allow(seq, 340, asked(0))));
        let late = asked(1_000);
        assert!(
            !allowance.allow(100, 300, late),
            "the rest is for what was not asked for yet"
        );
        assert!(allowance.allow(300, 300, late));
        // 65,536 packets later the number belongs to another packet, and its entry was used by others.
        let later = asked(200_000);
        assert!(allowance.allow(9 + 4 * LATEST as u16, 1, later) && allowance.allow(9, 1, later));
    }
}
