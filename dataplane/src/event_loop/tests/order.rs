//! Order of sessions: a frame for many subscribers leaves in several turns, and packets that arrive meanwhile do not
//! wait for the last subscriber.

use std::time::{Duration, Instant};

use super::rig::{Client, Rig, TRACK, wanted};
use crate::drop_reason::DropReason;
use crate::key::{SessionKey, TrackKey};
use crate::limits::{BACKLOG_PACKETS, FEW_SUBSCRIBERS, SEND_BATCH, SESSIONS_PER_TURN};
use crate::media::subscription::tests::packet;
use crate::peer::command::Command;

/// More subscribers than two turns can serve.
const MANY: usize = 3 * SESSIONS_PER_TURN + 20;
const PACKETS: usize = 5;

const _: () = assert!(
    MANY > FEW_SUBSCRIBERS,
    "they are none of the few who go first"
);

/// Stops the shard in the middle of a frame for [`MANY`] subscribers. Returns the number of packets sent so far.
fn in_the_middle(rig: &mut Rig) -> u64 {
    while rig.pass() {} // earlier packets of clients
    let before = rig.shard.report.traffic.packets_out;
    rig.send(PACKETS, false, 1_000);
    assert!(rig.pass(), "there is more to do");
    let sent = rig.shard.report.traffic.packets_out - before;
    assert!(sent >= PACKETS as u64, "{sent} packets");
    let most = (SESSIONS_PER_TURN + SEND_BATCH) * PACKETS;
    assert!(sent <= most as u64, "{sent} packets at once");
    before
}

#[test]
fn a_call_of_two_does_not_wait_until_thousands_have_their_frame() {
    let mut rig = Rig::start(MANY);
    let (mut sender, mut receiver) = rig.call();
    in_the_middle(&mut rig);
    sender.send_frame(&[1_000], false);
    assert!(rig.pass());
    receiver.drive(Instant::now());
    assert_eq!(receiver.received.len(), 1, "it did not wait");
    assert!(
        !rig.shard.forwarding.schedule.is_empty(),
        "the others still do"
    );
    rig.run_for(Duration::from_millis(50));
    for client in &rig.subscribers {
        assert_eq!(client.received.len(), PACKETS);
    }
}

#[test]
fn packets_that_arrive_meanwhile_join_those_of_waiting_sessions() {
    let mut rig = Rig::start(MANY);
    let runs = rig.shard.report.runs.joined();
    let before = in_the_middle(&mut rig);
    let served = (rig.shard.report.traffic.packets_out - before) as usize / PACKETS;
    rig.send(PACKETS, false, 1_000);
    rig.run_for(Duration::from_millis(50));
    for client in &rig.subscribers {
        let seqs: Vec<u64> = client
            .received
            .iter()
            .map(|packet| *packet.seq_no)
            .collect();
        assert_eq!(seqs.len(), 2 * PACKETS);
        assert!(seqs.is_sorted_by(|one, next| one + 1 == *next), "{seqs:?}");
    }
    let runs = (rig.shard.report.runs.joined() - runs) as usize;
    assert!(
        runs <= MANY + served,
        "{runs} runs, {served} of {MANY} were served when the second frame came"
    );
}

#[test]
fn a_session_with_a_reused_index_gets_no_media_of_the_old_session() {
    let mut rig = Rig::start(MANY);
    in_the_middle(&mut rig);
    let last = rig.subscribers.pop().unwrap();
    rig.shard.close(last.index);
    rig.subscribe(SessionKey(999), Client::new());
    let heir = rig.subscribers.last().unwrap();
    assert_eq!(heir.index, last.index, "places are used again");
    while rig.pass() {}
    let dropped = rig.shard.report.drops.of(DropReason::NotConnected);
    assert_eq!(dropped, 0, "packets for who has no path yet");
}

#[test]
fn a_subscription_with_a_reused_index_gets_no_media_of_the_old_one() {
    let mut rig = Rig::start(MANY);
    in_the_middle(&mut rig);
    let (last, now) = (rig.subscribers.pop().unwrap(), Instant::now());
    let shard = &mut rig.shard;
    let mut change = |put, remove| {
        let peer = shard.peers.get_mut(last.index).unwrap();
        let command = Command::Subscribe { put, remove };
        peer.apply(command, now, &mut shard.out).unwrap();
        shard.absorb(last.index);
        shard.handle_session_events(now);
        let peer = shard.peers.get_mut(last.index).unwrap();
        let subscriptions = peer.subscriber().unwrap().subscriptions.iter();
        subscriptions.map(|(sub, _)| sub).collect::<Vec<_>>()
    };
    let before = change(Vec::new(), Vec::new());
    let put = vec![wanted(TrackKey(99))];
    assert_eq!(change(put, vec![TRACK]), before, "places are used again");
    while rig.pass() {}
    let dropped = rig.shard.report.drops.of(DropReason::NoCodec);
    assert_eq!(dropped, 0, "packets of another track");
}

#[test]
fn an_overloaded_shard_drops_and_counts_only_new_packets() {
    let mut rig = Rig::start(MANY);
    let now = Instant::now(); // the same for all packets, so that none is late on a slow host
    in_the_middle(&mut rig);
    for seq in 0..BACKLOG_PACKETS as u64 {
        rig.shard.forward_later(packet(0, seq, false), now); // of an unknown track
    }
    let lost = |rig: &Rig| rig.shard.report.drops.of(DropReason::BacklogFull);
    assert_eq!(lost(&rig), PACKETS as u64, "beside the frame that waits");
    rig.send(PACKETS, false, 1_000);
    assert!(rig.pass());
    assert_eq!(lost(&rig), 2 * PACKETS as u64, "the frame that came");
    rig.run_for(Duration::from_millis(50));
    rig.send(PACKETS, false, 1_000);
    rig.run_for(Duration::from_millis(50));
    for client in &rig.subscribers {
        assert_eq!(client.received.len(), 2 * PACKETS, "the first and the last");
    }
    assert_eq!(lost(&rig), 2 * PACKETS as u64);
}
