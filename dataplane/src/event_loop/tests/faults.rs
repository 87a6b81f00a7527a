//! Faulty subscribers, and publishers that send too much: other participants lose nothing.

use std::time::Duration;

use super::rig::Rig;
use crate::drop_reason::DropReason;

const FRAMES: usize = 40;
const PACKETS: usize = 5;

fn send_frames(rig: &mut Rig, packets: usize, bytes: usize) {
    for _ in 0..FRAMES {
        rig.send(packets, false, bytes);
        rig.step();
    }
    rig.run_for(Duration::from_millis(300));
}

#[test]
fn lost_packets_are_sent_again_from_the_history_of_the_track() {
    let mut rig = Rig::start(3);
    rig.subscribers[1].loses_every = 10;
    for _ in 0..FRAMES {
        rig.send(PACKETS, false, 900);
        // Receivers request only the latest hundred packets, every 33 ms; retransmissions may be lost too.
        rig.run_for(Duration::from_millis(25));
    }
    rig.subscribers[1].loses_every = 0;
    rig.run_for(Duration::from_millis(500));
    for (number, client) in rig.subscribers.iter().enumerate() {
        let mut seqs: Vec<u64> = client
            .received
            .iter()
            .map(|packet| *packet.seq_no)
            .collect();
        seqs.sort_unstable();
        seqs.dedup();
        let gaps = seqs
            .windows(2)
            .filter(|pair| pair[1] != pair[0] + 1)
            .count();
        let resent = rig.shard.report.resent;
        let refused = rig.shard.report.drops.of(DropReason::NotResent);
        assert_eq!(
            gaps, 0,
            "subscriber {number}, {resent} sent again, {refused} refused: {seqs:?}"
        );
        assert!(seqs.len() >= FRAMES * PACKETS - 2, "{} packets", seqs.len());
    }
    assert!(rig.shard.report.resent >= 10, "{}", rig.shard.report.resent);
}

#[test]
fn a_subscriber_that_went_away_costs_the_others_nothing() {
    let mut rig = Rig::start(4);
    let gone = rig.subscribers.remove(2);
    drop(gone); // its port answers with ICMP from now on
    send_frames(&mut rig, PACKETS, 900);
    for client in &rig.subscribers {
        assert_eq!(client.received.len(), FRAMES * PACKETS);
    }
}

#[test]
fn a_session_whose_code_panics_ends_alone() {
    let mut rig = Rig::start(3);
    let index = rig.subscribers[1].index;
    let peer = rig.shard.peers.get_mut(index).unwrap();
    peer.subscriber().unwrap().slots.clear(); // m-lines that its subscription still refers to
    send_frames(&mut rig, PACKETS, 900);
    assert_eq!(rig.shard.report.drops.of(DropReason::SessionPanicked), 1);
    assert!(rig.shard.peers.get_mut(index).is_none());
    for number in [0, 2] {
        let client = &rig.subscribers[number];
        assert_eq!(client.received.len(), FRAMES * PACKETS, "{number}");
    }
}

#[test]
fn packets_longer_than_the_path_takes_are_the_kernels_to_cut() {
    let mut rig = Rig::start(2);
    send_frames(&mut rig, 2, 1_900);
    for client in &rig.subscribers {
        assert_eq!(client.received.len(), FRAMES * 2);
    }
    assert_eq!(rig.shard.report.drops.of(DropReason::SendRefused), 0);
}

#[test]
fn frames_of_packets_that_differ_by_a_byte_leave_as_one_run() {
    let mut rig = Rig::start(2);
    let (before, padding) = (rig.shard.report.runs, rig.shard.report.padding_bytes);
    for _ in 0..FRAMES {
        rig.send_sizes(&[1_001, 1_000, 1_001, 1_000, 1_000]);
        rig.step();
    }
    let runs = rig.shard.report.runs.runs() - before.runs();
    assert!(
        runs <= (FRAMES * 2 * 5 / 3) as u64,
        "{runs} runs for {} packets",
        FRAMES * 10
    );
    assert!(rig.shard.report.padding_bytes > padding);
    for client in &mut rig.subscribers {
        assert!(client.received.len() >= FRAMES * 5 - 5);
        let sizes: std::collections::HashSet<usize> = client
            .received
            .iter()
            .map(|packet| packet.payload.len())
            .collect();
        let expected = [1_000, 1_001].into_iter().collect();
        assert_eq!(sizes, expected, "padding is taken off by the receiver");
    }
}
