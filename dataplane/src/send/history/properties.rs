//! Properties of the history and of the sealed datagrams that are kept, for packets in any order.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::limits::KEPT_DATAGRAMS;
use crate::media::subscription::tests::packet;
use crate::properties::config;
use crate::send::kept::Kept;

const AGE: Duration = Duration::from_millis(300);

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn the_history_has_the_latest_packets_and_no_others(arrivals in arrivals()) {
        let (mut history, mut last) = (History::default(), HashMap::new());
        for packet in packets(&arrivals) {
            history.keep(&packet);
            last.insert((packet.layer.0, place(packet.seq)), (packet.epoch, packet.seq));
            for (layer, seq) in [(packet.layer, packet.seq), (packet.layer, packet.seq + HISTORY_PACKETS as u64)] {
                for epoch in [packet.epoch, packet.epoch + 1] {
                    let expected = last.get(&(layer.0, place(seq))) == Some(&(epoch, seq));
                    let found = history.get(layer, epoch, seq);
                    prop_assert_eq!(found.is_some(), expected, "epoch {} packet {}", epoch, seq);
                    prop_assert!(found.is_none_or(|found| (found.epoch, found.seq) == (epoch, seq)));
                }
            }
        }
        for ((layer, _), (epoch, seq)) in last {
            prop_assert!(history.get(LayerIndex(layer), epoch, seq).is_some());
        }
    }

    #[test]
    fn a_late_subscriber_gets_a_recent_keyframe_and_all_after_it(arrivals in arrivals()) {
        let mut history = History::default();
        let all = packets(&arrivals);
        for (at, packet) in all.iter().enumerate() {
            history.keep(packet);
            let now = packet.arrived;
            let of_layer = || all[..=at].iter().filter(|other| other.layer == packet.layer);
            let epoch = of_layer().map(|other| other.epoch).max().unwrap();
            let of_epoch = || of_layer().filter(move |other| other.epoch == epoch);
            let newest = of_epoch().map(|other| other.seq).max().unwrap();
            let key = of_epoch().filter(|other| other.keyframe).max_by_key(|other| other.seq);
            let mut expected = Vec::new();
            if let Some(key) = key.filter(|key| newest - key.seq < HISTORY_PACKETS as u64 && now - key.arrived <= AGE) {
                expected.extend(of_epoch().map(|other| other.seq).filter(|seq| *seq >= key.seq));
                expected.sort_unstable();
                expected.dedup();
            }
            let found: Vec<_> = history.since_keyframe(packet.layer, now, AGE).map(|found| found.seq).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn sealed_datagrams_are_kept_by_their_number(seqs in vec(prop_oneof![any::<u16>(), 0..300_u16], 1..300)) {
        let (mut kept, mut last) = (Kept::default(), HashMap::new());
        for seq in seqs {
            kept.keep(seq, &seq.to_be_bytes());
            last.insert(usize::from(seq) % KEPT_DATAGRAMS, seq);
            let other = seq.wrapping_add(KEPT_DATAGRAMS as u16);
            prop_assert_eq!(kept.get(other), None);
            for seq in last.values() {
                prop_assert_eq!(kept.get(*seq), Some(&seq.to_be_bytes()[..]));
            }
        }
    }
}

/// A packet that arrives, relative to the newest one of its layer.
#[derive(Debug, Clone)]
struct Arrival {
    layer: u8,
    /// Steps of the sequence number, from the newest one.
    step: i64,
    keyframe: bool,
    pause_ms: u64,
    restarts: bool,
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let step = prop_oneof![12 => Just(1_i64), 4 => -20..20_i64, 1 => 0..1_200_i64];
    let flags = (prop::bool::weighted(0.05), prop::bool::weighted(0.01));
    let arrival = (0..2_u8, step, flags, 0..20_u64).prop_map(
        |(layer, step, (keyframe, restarts), pause_ms)| Arrival {
            layer,
            step,
            keyframe,
            pause_ms,
            restarts,
        },
    );
    vec(arrival, 1..200)
}

/// The packets. As with a publisher, a packet that comes twice is the same packet, and epochs only count up.
fn packets(arrivals: &[Arrival]) -> Vec<MediaPacket> {
    let mut newest = [(0_u32, 1_000_u64); 2];
    let mut known: HashMap<(u8, u32, u64), bool> = HashMap::new();
    let mut now = Instant::now();
    let mut packets = Vec::new();
    for arrival in arrivals {
        now += Duration::from_millis(arrival.pause_ms);
        let (epoch, highest) = &mut newest[usize::from(arrival.layer)];
        if arrival.restarts {
            (*epoch, *highest) = (*epoch + 1, 700);
        }
        let seq = highest.saturating_add_signed(arrival.step);
        *highest = seq.max(*highest);
        if known.contains_key(&(arrival.layer, *epoch, seq)) {
            continue;
        }
        known.insert((arrival.layer, *epoch, seq), arrival.keyframe);
        packets.push(MediaPacket {
            epoch: *epoch,
            arrived: now,
            ..packet(arrival.layer, seq, arrival.keyframe)
        });
    }
    packets
}
