//! Properties of the memory of sent packets, for reports about any packets in any order.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::properties::config;

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn each_packet_arrives_once_and_is_lost_once_and_memory_is_bounded(steps in vec(step(), 1..120)) {
        let (mut sent, mut now_us) = (Sent::default(), 0_i64);
        // Send time and bytes of all packets, and whether a report said that it arrived or was lost.
        let mut packets: Vec<(i64, u16)> = Vec::new();
        let mut oldest = 0; // growth does not bring back what was overwritten
        let mut reports: HashMap<usize, (bool, bool)> = HashMap::new();
        for step in steps {
            match step {
                Step::Send { count, bytes, gap_us } => for _ in 0..count {
                    now_us += gap_us;
                    prop_assert_eq!(sent.push(usize::from(bytes), now_us, 3), packets.len() as u16);
                    packets.push((now_us, bytes));
                    oldest = oldest.max(packets.len().saturating_sub(sent.slots.len()));
                },
                Step::Report { back, arrived } => {
                    let seq = (packets.len() as u16).wrapping_sub(1).wrapping_sub(back);
                    let packet = if arrived { sent.arrived(seq, now_us) } else { sent.lost(seq, now_us) };
                    let number = packets.len().checked_sub(1 + usize::from(back));
                    let Some(number) = number.filter(|number| *number >= oldest) else {
                        prop_assert_eq!(packet, None, "never sent, or forgotten");
                        continue;
                    };
                    let known = reports.entry(number).or_default();
                    let is_news = if arrived { !known.0 } else { *known == (false, false) };
                    prop_assert_eq!(packet.is_some(), is_news, "packet {} after {:?}", number, known);
                    if let Some(packet) = packet {
                        prop_assert_eq!((packet.sent_us, packet.bytes), packets[number]);
                        prop_assert_eq!(packet.cluster, 3);
                        prop_assert_eq!(packet.was_lost, known.1);
                    }
                    *known = (known.0 || arrived, known.1 || !arrived && is_news);
                }
                Step::Cover { back, count } => {
                    let base_seq = (packets.len() as u16).wrapping_sub(back);
                    let remembered = sent.remembered(base_seq, count);
                    let first = packets.len().checked_sub(usize::from(back));
                    let is_sent = first.is_some() && count <= back || count == 0;
                    // Behind half the range a number is ahead of the newest one.
                    let is_near = u32::from(back) < u32::from(count) + u32::from(u16::MAX / 2);
                    if is_near {
                        prop_assert_eq!(remembered.is_some(), is_sent, "{} of {}", count, back);
                    }
                    let expected: Vec<_> = (0..count).map(|offset| base_seq.wrapping_add(offset)).collect();
                    let of: Vec<_> = sent.remembered_of(base_seq, count).collect();
                    prop_assert_eq!(of.len(), remembered.unwrap_or(0) as usize);
                    prop_assert!(of.len() <= sent.slots.len() && expected.ends_with(&of));
                }
            }
            let slots = sent.slots.len();
            prop_assert!(slots <= MAX_SLOTS && (slots == 0 || slots.is_power_of_two()));
        }
    }

    #[test]
    fn bytes_of_lost_feedback_are_counted_once(count in 1..600_usize, covers in vec((0..700_u16, 0..200_u16), 1..20)) {
        let mut sent = Sent::default();
        (0..count).for_each(|_| _ = sent.push(1, 0, 0));
        let mut skipped = 0;
        for (base_seq, length) in covers {
            skipped += sent.skip_to(base_seq);
            sent.reported_to(base_seq.wrapping_add(length));
            prop_assert!(sent.reported <= sent.next);
        }
        prop_assert!(skipped as usize <= count);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Send {
        count: usize,
        bytes: u16,
        gap_us: i64,
    },
    /// A report about the packet so many numbers before the newest one.
    Report { back: u16, arrived: bool },
    /// A feedback about `count` packets, from the one so many numbers before the next one.
    Cover { back: u16, count: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    let back = || prop_oneof![6 => 0..40_u16, 2 => 0..3_000_u16, 1 => any::<u16>()];
    let gap_us = prop_oneof![0..100_i64, 0..2_000_i64, 0..300_000_i64];
    prop_oneof![
        3 => (1..400_usize, any::<u16>(), gap_us)
            .prop_map(|(count, bytes, gap_us)| Step::Send { count, bytes, gap_us }),
        6 => (back(), any::<bool>()).prop_map(|(back, arrived)| Step::Report { back, arrived }),
        2 => (back(), 0..2_500_u16).prop_map(|(back, count)| Step::Cover { back, count }),
    ]
}
