//! Counts heap allocations per packet. The limits must not be raised.

use super::rig::{Rig, Values};
use crate::io::engine::EngineKind;
use crate::media::extensions::ExtensionKind;

/// Allocations per incoming packet, for any number of subscribers: those of the session layer, and one copy of the
/// payload that all subscribers share.
const PER_PACKET_IN: f64 = 2.1;
/// Additional allocations for forwarded header extensions: one copy.
const PER_EXTENSIONS: f64 = 1.0;
/// Allocations per outgoing packet.
const PER_PACKET_OUT: f64 = 0.0;
const WARM_UP: usize = 1_200;
const FRAMES: usize = 50;
const PACKETS: usize = 7;

/// Allocations per incoming packet with these header extensions, when `subscribers` receive it.
fn per_packet_in(kind: EngineKind, subscribers: usize, extensions: &Values) -> f64 {
    let mut rig = Rig::start_with(kind, subscribers);
    rig.publisher.extensions = extensions.clone();
    // Allocations of connectivity checks must not count.
    rig.publisher.sends_no_checks = true;
    for client in &mut rig.subscribers {
        client.sends_no_checks = true;
    }
    let frame = |rig: &mut Rig| rig.send(PACKETS, false, 1_100);
    for _ in 0..WARM_UP / PACKETS {
        frame(&mut rig);
        rig.step();
    }
    let sent = rig.shard.report.traffic.packets_out;
    let mut count = 0;
    for _ in 0..FRAMES {
        frame(&mut rig);
        count += allocation_counter::measure(|| rig.turn()).count_total;
        rig.step();
    }
    let sent = rig.shard.report.traffic.packets_out - sent;
    assert!(sent as usize >= FRAMES * PACKETS * subscribers, "{sent}");
    count as f64 / (FRAMES * PACKETS) as f64
}

#[test]
fn packets_allocate_on_receipt_and_never_on_transmission() {
    let (few, many) = (2, 18);
    let carried = Values(vec![
        (ExtensionKind::DependencyDescriptor, vec![0x80; 60]),
        (ExtensionKind::PlayoutDelay, vec![0; 3]),
    ]);
    let none = (Values::default(), PER_PACKET_IN);
    let rows = [(carried, PER_PACKET_IN + PER_EXTENSIONS), none];
    for (kind, (extensions, limit_in)) in [EngineKind::Mmsg, EngineKind::Uring]
        .into_iter()
        .zip(rows.iter().cycle())
        .chain([(EngineKind::Mmsg, &rows[1])])
    {
        let with_few = per_packet_in(kind, few, extensions);
        let with_many = per_packet_in(kind, many, extensions);
        let per_packet_out = (with_many - with_few) / (many - few) as f64;
        println!("{kind}: {with_few:.2} a packet in, {per_packet_out:.3} a packet out");
        assert!(with_few <= *limit_in, "{kind}: {with_few} a packet in");
        // 5 %: rings of the estimator grow while they are new.
        let limit = PER_PACKET_OUT + 0.05;
        assert!(
            per_packet_out <= limit,
            "{kind}: {per_packet_out} a packet out"
        );
    }
}
