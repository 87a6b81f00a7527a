//! What one packet allocates, counted. The numbers may only fall.

use super::rig::Rig;

/// Allocations of a packet that comes in, whoever it is for: the session layer's receiving half and the
/// one copy of the payload that all subscribers are sealed from.
const PER_PACKET_IN: f64 = 12.0;
/// Allocations of a packet that goes out: none.
const PER_PACKET_OUT: f64 = 0.0;
const WARM_UP: usize = 1_200;
const FRAMES: usize = 50;
const PACKETS: usize = 7;

/// Allocations per packet in with `subscribers` watching.
fn per_packet_in(subscribers: usize) -> f64 {
    let mut rig = Rig::start(subscribers);
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
fn a_packet_allocates_where_it_comes_in_and_never_where_it_goes_out() {
    let (few, many) = (2, 18);
    let (with_few, with_many) = (per_packet_in(few), per_packet_in(many));
    let per_packet_out = (with_many - with_few) / (many - few) as f64;
    println!("allocations: {with_few:.2} a packet in, {per_packet_out:.3} a packet out");
    assert!(with_few <= PER_PACKET_IN, "{with_few} a packet in");
    // Half of a thousandth: rings of the estimator that grow while they are young.
    assert!(
        per_packet_out <= PER_PACKET_OUT + 0.05,
        "{per_packet_out} a packet out"
    );
}
