//! Runs through real sockets, with both engines.

use std::net::{SocketAddr, UdpSocket};

use super::*;
use crate::io::engine::{EngineKind, EngineStart};
use crate::io::udp;
use crate::key::{LayerIndex, ShardId};
use crate::limits::{SEND_ARENA_BYTES, SEND_BATCH};

fn engine(kind: EngineKind) -> Engine {
    let (_, _, sockets) = udp::for_tests(4 << 20);
    Engine::start(&EngineStart { kind, egress: None }, &sockets).unwrap()
}

const KINDS: [EngineKind; 2] = [EngineKind::Mmsg, EngineKind::Uring];

fn run(bytes: usize, segment_bytes: usize, destination: SocketAddr) -> Run {
    Run {
        bytes,
        segment_bytes,
        destination,
        source: None,
        arrived: None,
    }
}

fn put(queue: &mut SendQueue, contents: &[u8], run: Run, report: &mut ShardReport) {
    queue.room(run.bytes).unwrap().copy_from_slice(contents);
    queue.commit(run, report);
}

fn received(socket: &UdpSocket) -> Vec<Vec<u8>> {
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4_096];
    std::iter::from_fn(|| {
        let length = socket.recv(&mut buffer).ok()?;
        Some(buffer[..length].to_vec())
    })
    .collect()
}

#[test]
fn runs_arrive_as_the_datagrams_they_are_and_are_counted() {
    KINDS.into_iter().for_each(runs_arrive);
}

fn runs_arrive(kind: EngineKind) {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut engine = engine(kind);
    let to = receiver.local_addr().unwrap();
    let mut report = ShardReport::new(ShardId(0));
    let mut queue = SendQueue::new();
    put(&mut queue, b"aaaabbbbcc", run(10, 4, to), &mut report);
    queue.push(b"d", run(1, 1, to), &mut report);
    assert!(!flush(&mut queue, &mut engine, 0, &mut report));
    assert_eq!(received(&receiver), [&b"aaaa"[..], b"bbbb", b"cc", b"d"]);
    assert_eq!(report.traffic.packets_out, 4);
    assert_eq!(report.traffic.bytes_out, 11);
}

#[test]
fn a_destination_that_refuses_runs_gets_every_datagram_alone_from_then_on() {
    KINDS.into_iter().for_each(runs_are_refused);
}

fn runs_are_refused(kind: EngineKind) {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut engine = engine(kind);
    let to = receiver.local_addr().unwrap();
    let mut report = ShardReport::new(ShardId(0));
    let mut queue = SendQueue::new();
    let long = vec![7; 65_100];
    put(&mut queue, &long, run(65_100, 100, to), &mut report); // 651 segments: too many
    flush(&mut queue, &mut engine, 0, &mut report);
    let got = received(&receiver).len() as u64;
    assert_eq!(report.refused_runs, 1);
    assert_eq!(report.traffic.packets_out, 651, "none is lost by us");
    assert!(got > 100, "{got}");
    put(&mut queue, b"aaaabb", run(6, 4, to), &mut report);
    flush(&mut queue, &mut engine, 0, &mut report);
    assert_eq!(report.refused_runs, 1, "found out once");
    assert_eq!(report.traffic.packets_out, 653);
}

#[test]
fn a_refused_destination_costs_the_others_nothing() {
    KINDS.into_iter().for_each(some_are_refused);
}

fn some_are_refused(kind: EngineKind) {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut engine = engine(kind);
    let to = receiver.local_addr().unwrap();
    let nowhere = "[2001:db8::1]:9".parse().unwrap(); // no address of the socket's family
    let mut report = ShardReport::new(ShardId(0));
    let mut queue = SendQueue::new();
    for round in 0..SEND_BATCH * 3 {
        let destination = if round % 7 == 3 { nowhere } else { to };
        queue.push(b"x", run(1, 1, destination), &mut report);
    }
    flush(&mut queue, &mut engine, 0, &mut report);
    let refused = report.drops.of(DropReason::SendRefused);
    assert_eq!(refused, (SEND_BATCH * 3).div_ceil(7) as u64);
    assert_eq!(
        received(&receiver).len() as u64,
        (SEND_BATCH * 3) as u64 - refused
    );
}

#[test]
fn datagrams_to_one_client_join_until_one_is_longer_or_a_shorter_one_ended_the_run() {
    let [a, b] = ["192.0.2.1:9", "192.0.2.2:9"].map(|addr| addr.parse().unwrap());
    let mut report = ShardReport::new(ShardId(0));
    let mut queue = SendQueue::new();
    for (to, bytes) in [(a, 10), (a, 10), (a, 7), (a, 7), (b, 7), (a, 7), (a, 8)] {
        let parts = [&[1; 4][..], &[2; 32][..bytes - 4], &[]];
        queue.join(parts, run(0, 0, to), &mut report);
    }
    let cut = |placed: &Placed| (placed.run.bytes, placed.run.segment_bytes);
    let cuts = |queue: &SendQueue| queue.runs.iter().map(cut).collect::<Vec<_>>();
    assert_eq!(cuts(&queue), [(27, 10), (7, 7), (7, 7), (7, 7), (8, 8)]);
    queue.take_redirected(|run, bytes| {
        assert_eq!((bytes.len(), bytes[0]), (run.bytes, 1));
        run.destination == a
    });
    assert_eq!(cuts(&queue), [(7, 7)]);
    queue.join([b"new", &[], &[]], run(0, 0, a), &mut report);
    queue.take_redirected(|run, _| {
        assert_eq!(run.destination, a, "the other was looked at before");
        true
    });
    assert_eq!(cuts(&queue), [(7, 7)]);
}

#[test]
fn what_waits_behind_a_full_socket_is_looked_at_once() {
    let to = "192.0.2.1:9".parse().unwrap();
    let mut report = ShardReport::new(ShardId(0));
    let mut queue = SendQueue::new();
    let mut looks = 0;
    for added in [3, 0, 2] {
        for _ in 0..added {
            queue.push(b"x", run(1, 1, to), &mut report);
        }
        queue.take_redirected(|_, _| {
            looks += 1;
            false
        });
        // As after a send that found room for one.
        queue.sent_runs += 1;
        queue.free_sent();
    }
    assert_eq!(looks, 5);
}

#[test]
fn a_full_socket_sheds_the_lowest_layers_first() {
    let mut queue = SendQueue::new();
    let layers = [0, 1, 2].map(LayerIndex);
    let nowhere = "192.0.2.1:9".parse().unwrap();
    queue.blocked = true;
    for (used, shed) in [(0, 0), (1, 0), (26, 1), (51, 2), (76, 3)] {
        queue.used = SEND_ARENA_BYTES / 100 * used;
        queue.runs = vec![Placed::new(0, run(1, 1, nowhere))];
        let count = layers
            .iter()
            .filter(|layer| queue.must_drop(**layer))
            .count();
        assert_eq!(count, shed, "{used} % full");
    }
    queue.blocked = false;
    assert!(!queue.must_drop(LayerIndex(0)));
}
