//! NTP timestamps of sender reports (RFC 3550 section 4).

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds from the NTP epoch (1900) to the Unix epoch (1970).
const NTP_OFFSET_S: u64 = 2_208_988_800;

/// NTP timestamp of `wall`: seconds since 1900 in the upper 32 bits, fractions of 2^-32 s in the lower. `None` outside
/// of its range.
pub(super) fn ntp(wall: SystemTime) -> Option<u64> {
    let since_unix = wall.duration_since(UNIX_EPOCH).ok()?;
    let fraction = (u64::from(since_unix.subsec_nanos()) << 32) / 1_000_000_000;
    Some((since_unix.as_secs() + NTP_OFFSET_S) << 32 | fraction)
}

/// The middle 32 bits of an NTP timestamp: the LSR field of receiver reports.
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
