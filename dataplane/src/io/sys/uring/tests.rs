//! The ring on real sockets: receives, sends, buffer exhaustion.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::super::{enable_packet_info, enable_receive_offload};
use super::*;

const SIZES: UringSizes = UringSizes {
    messages: 8,
    buffers: 4,
    payload_bytes: 1 << 16,
};

fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

fn message(bytes: &[u8], to: &UdpSocket) -> Message<'static> {
    Message {
        bytes: Box::leak(bytes.to_vec().into_boxed_slice()),
        destination: to.local_addr().unwrap(),
        source: None,
        segment_bytes: None,
        frame: None,
    }
}

/// Receives until `count` messages have arrived.
fn receive(ring: &mut Uring, count: usize) -> Vec<(usize, Vec<u8>, usize, SocketAddr)> {
    let mut got = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(5);
    while got.len() < count && Instant::now() < deadline {
        for index in 0..ring.receive().unwrap() {
            let (socket, received) = ring.get(index).unwrap();
            assert!(!received.truncated);
            let bytes = received.bytes.to_vec();
            got.push((socket, bytes, received.segment_bytes, received.source));
        }
    }
    got
}

#[test]
fn messages_have_source_socket_address_and_bytes() {
    let sockets = [socket(), socket()];
    enable_packet_info(sockets[1].as_fd(), false).unwrap();
    let mut ring = Uring::new(&[sockets[0].as_fd(), sockets[1].as_fd()], None, SIZES).unwrap();
    assert_eq!(ring.receive().unwrap(), 0);
    let sender = socket();
    sender
        .send_to(b"one", sockets[1].local_addr().unwrap())
        .unwrap();
    while ring.receive().unwrap() == 0 {}
    let (number, received) = ring.get(0).unwrap();
    assert_eq!((number, received.bytes), (1, &b"one"[..]));
    assert_eq!(received.source, sender.local_addr().unwrap());
    assert_eq!(received.local, Some("127.0.0.1".parse::<IpAddr>().unwrap()));
    sender
        .send_to(b"", sockets[0].local_addr().unwrap())
        .unwrap();
    let [(number, bytes, ..)] = &receive(&mut ring, 1)[..] else {
        panic!("an empty datagram is one");
    };
    assert_eq!((*number, bytes.len()), (0, 0));
}

#[test]
fn more_than_the_buffers_hold_arrives_after_they_are_given_back() {
    let receiver = socket();
    let mut ring = Uring::new(&[receiver.as_fd()], None, SIZES).unwrap();
    assert_eq!(ring.receive().unwrap(), 0);
    let sender = socket();
    for number in 0..50_u8 {
        sender
            .send_to(&[number; 100], receiver.local_addr().unwrap())
            .unwrap();
    }
    let got = receive(&mut ring, 50);
    let numbers: Vec<u8> = got.iter().map(|(_, bytes, ..)| bytes[0]).collect();
    assert_eq!(numbers, (0..50).collect::<Vec<u8>>());
}

#[test]
fn joined_datagrams_say_where_each_ends() {
    let receiver = socket();
    enable_receive_offload(receiver.as_fd()).unwrap();
    let sender = socket();
    let mut ring = Uring::new(&[receiver.as_fd(), sender.as_fd()], None, SIZES).unwrap();
    let run = Message {
        segment_bytes: Some(4),
        ..message(b"aaaabbbbcc", &receiver)
    };
    assert_eq!(ring.send(1, [run].into_iter()).unwrap(), 1);
    assert_eq!(ring.result(0).unwrap(), 10);
    let got = receive(&mut ring, 1);
    let expected = (0, b"aaaabbbbcc".to_vec(), 4, sender.local_addr().unwrap());
    assert_eq!(got, [expected]);
}

#[test]
fn segments_leave_from_the_asked_for_address() {
    let receiver = socket();
    let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
    let mut ring = Uring::new(&[sender.as_fd()], None, SIZES).unwrap();
    let source: IpAddr = "127.0.0.9".parse().unwrap();
    let run = Message {
        segment_bytes: Some(4),
        source: Some(source),
        ..message(b"aaaabbbbcc", &receiver)
    };
    assert_eq!(ring.send(0, [run].into_iter()).unwrap(), 1);
    let mut buffer = [0; 16];
    for expected in [&b"aaaa"[..], b"bbbb", b"cc"] {
        let (length, from) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.ip()), (expected, source));
    }
}

#[test]
fn an_error_belongs_to_its_message_and_holds_up_none() {
    let receiver = socket();
    let sender = socket();
    let mut ring = Uring::new(&[sender.as_fd()], None, SIZES).unwrap();
    let unreachable = Message {
        destination: "[2001:db8::1]:9".parse().unwrap(),
        ..message(b"x", &receiver)
    };
    let messages = [
        message(b"a", &receiver),
        unreachable,
        message(b"b", &receiver),
    ];
    assert_eq!(ring.send(0, messages.into_iter()).unwrap(), 3);
    assert_eq!(ring.result(0).unwrap(), 1);
    assert!(ring.result(1).is_err());
    assert_eq!(ring.result(2).unwrap(), 1);
    let mut buffer = [0; 16];
    for expected in [b"a", b"b"] {
        let (length, _) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], expected);
    }
}

#[test]
fn sending_takes_no_more_than_a_batch_and_keeps_what_arrives_meanwhile() {
    let both = socket();
    let mut ring = Uring::new(&[both.as_fd()], None, SIZES).unwrap();
    assert_eq!(ring.receive().unwrap(), 0);
    let messages = (0..20).map(|_| message(b"to myself", &both));
    assert_eq!(ring.send(0, messages.clone()).unwrap(), ring.capacity());
    assert_eq!(ring.send(0, messages.take(3)).unwrap(), 3);
    assert_eq!(receive(&mut ring, 11).len(), 11);
    assert!(!ring.has_fetched());
}

#[test]
fn messages_fetched_by_a_send_are_announced() {
    let both = socket();
    let mut ring = Uring::new(&[both.as_fd()], None, SIZES).unwrap();
    assert_eq!(ring.receive().unwrap(), 0);
    for _ in 0..1_000 {
        ring.send(0, [message(b"to myself", &both)].into_iter())
            .unwrap();
        let mut asked = [PollFd::new(&both, PollFlags::IN)];
        let is_readable = poll(&mut asked, Some(&Timespec::default())).unwrap() > 0;
        assert!(is_readable || ring.has_fetched(), "a sleeper would miss it");
        assert_eq!(receive(&mut ring, 1).len(), 1);
    }
}

#[test]
fn a_sleeper_is_woken_by_the_ring() {
    let receiver = socket();
    let mut ring = Uring::new(&[receiver.as_fd()], None, SIZES).unwrap();
    assert_eq!(ring.receive().unwrap(), 0);
    let is_readable = |ring: &Uring| {
        let mut poll = libc::pollfd {
            fd: ring.as_fd().as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid pollfd, alive during the call.
        unsafe { libc::poll(&raw mut poll, 1, 1_000) == 1 }
    };
    socket()
        .send_to(b"wake", receiver.local_addr().unwrap())
        .unwrap();
    assert!(is_readable(&ring));
    assert_eq!(receive(&mut ring, 1).len(), 1);
}

#[test]
fn sizes_are_checked_and_rings_end_with_receives_armed() {
    let receiver = socket();
    for buffers in [0, 3, 40_000] {
        let sizes = UringSizes { buffers, ..SIZES };
        let refused = Uring::new(&[receiver.as_fd()], None, sizes).err().unwrap();
        assert!(matches!(refused, UringError::Count(_)));
    }
    for _ in 0..50 {
        let mut ring = Uring::new(&[receiver.as_fd()], None, SIZES).unwrap();
        ring.receive().unwrap();
        receiver
            .send_to(b"x", receiver.local_addr().unwrap())
            .unwrap();
    }
    assert!(
        Uring::new(&[receiver.as_fd()], None, SIZES)
            .unwrap()
            .has_deferred_work()
    );
}
