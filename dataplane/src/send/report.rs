//! Sender reports (RFC 3550 section 6.4.1): which wall clock time and which timestamp belong together.
//!
//! The wall clock is the publisher's, so that its sound and its picture stay together at the receiver.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use spillway_wire::rtcp::{SenderInfo, write_sender_report};

use super::stream::Stream;

/// Bytes a sealed report needs at most.
pub const MAX_BYTES: usize = 384;
/// Of these, what sealing adds at most.
const SEALING_BYTES: usize = 32;
/// Seconds from the NTP epoch, 1900, to the one of Unix.
const NTP_OFFSET_S: u64 = 2_208_988_800;

/// Writes the report of `stream` at `now`; `None` when there is nothing to say.
pub fn write(stream: &mut Stream, now: Instant, out: &mut [u8; MAX_BYTES]) -> Option<usize> {
    let report = stream.report(now)?;
    let info = SenderInfo {
        ssrc: report.ssrc,
        ntp: report.ntp,
        rtp_time: report.rtp_time,
        packets: report.packets,
        octets: report.octets,
    };
    write_sender_report(&info, report.cname, &mut out[..MAX_BYTES - SEALING_BYTES])
}

/// Seconds since 1900 in the upper half, parts of a second in the lower.
pub(super) fn ntp(wall: SystemTime) -> Option<u64> {
    let since_unix = wall.duration_since(UNIX_EPOCH).ok()?;
    let fraction = (u64::from(since_unix.subsec_nanos()) << 32) / 1_000_000_000;
    Some((since_unix.as_secs() + NTP_OFFSET_S) << 32 | fraction)
}

/// The middle 32 bits of an NTP time, as receivers refer to a report.
pub(super) fn compact_ntp(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ntp_counts_from_1900_in_parts_of_2_32() {
        let wall = UNIX_EPOCH + Duration::from_millis(1_500);
        assert_eq!(ntp(wall), Some((NTP_OFFSET_S + 1) << 32 | 1 << 31));
    }
}
