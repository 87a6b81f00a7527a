//! Cuts the packets of a session into runs of equal size; the last packet may be shorter. Packets that are a few bytes
//! shorter are padded within a budget.
//!
//! Publishers cut a frame into packets whose sizes differ by one or two bytes. Without padding a frame would become
//! several runs.

use crate::limits::{MAX_RUN_BYTES, MAX_RUN_DATAGRAMS};

/// The next run: the first of the waiting packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Number of packets in the run.
    pub packets: usize,
    /// Size that all packets but the last are padded to, in bytes.
    pub segment_bytes: usize,
}

/// Cuts the next run off `sizes`, which must not be empty. A packet grows by at most `max_padding` bytes.
pub fn cut(sizes: impl Iterator<Item = usize>, max_padding: usize) -> Cut {
    let mut sizes = sizes.peekable();
    let first = sizes.next().expect("the caller has packets to send");
    let (mut packets, mut largest, mut smallest) = (1, first, first);
    for size in sizes {
        let grown = largest.max(size);
        let fits = packets < MAX_RUN_DATAGRAMS && (packets + 1) * grown <= MAX_RUN_BYTES;
        // All packets before the new one would be padded to the largest size.
        if !fits || grown - smallest > max_padding {
            break;
        }
        (largest, packets) = (grown, packets + 1);
        smallest = smallest.min(size);
    }
    Cut {
        packets,
        segment_bytes: largest,
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_of_equal_sizes_within_the_budget_and_a_shorter_one_ends_them() {
        // (sizes, budget, packets and segment size of the first run)
        let table: [(&[usize], usize, (usize, usize)); 9] = [
            (&[100], 0, (1, 100)),
            (&[100, 100, 100], 0, (3, 100)),
            (&[100, 100, 60, 100], 0, (3, 100)), // the shorter one is the last
            (&[100, 101, 100, 101], 0, (1, 100)),
            (&[100, 101, 100, 101], 1, (4, 101)),
            (&[100, 60, 60], 8, (2, 100)),
            (&[60, 100], 8, (1, 60)),
            (&[60, 64, 68, 72], 8, (3, 68)),
            (&[100, 92, 101, 100], 8, (2, 100)),
        ];
        for (sizes, budget, (packets, segment_bytes)) in table {
            let expected = Cut {
                packets,
                segment_bytes,
            };
            assert_eq!(
                cut(sizes.iter().copied(), budget),
                expected,
                "{sizes:?} {budget}"
            );
        }
    }

    #[test]
    fn runs_keep_to_what_the_kernel_takes() {
        let many = cut(std::iter::repeat_n(100, 500), 0);
        assert_eq!(many.packets, MAX_RUN_DATAGRAMS);
        let long = cut(std::iter::repeat_n(1_500, 500), 0);
        assert_eq!(long.packets, MAX_RUN_BYTES / 1_500);
    }
}
