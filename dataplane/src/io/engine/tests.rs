//! Both engines on real sockets: batches, joined datagrams, failures.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::*;
use crate::io::route::{Facts, Link, Local, Neighbour, Reachability, Route, RouteTarget, Routes};
use crate::io::udp;

fn engines() -> impl Iterator<Item = (EngineKind, Engine, u16)> {
    [EngineKind::Mmsg, EngineKind::Uring]
        .into_iter()
        .map(|kind| {
            let (port, _, sockets) = udp::for_tests(1 << 20);
            (
                kind,
                Engine::start(&EngineStart { kind, egress: None }, &sockets).unwrap(),
                port,
            )
        })
}

fn received(engine: &mut Engine) -> Vec<(usize, Vec<u8>)> {
    let mut all = Vec::new();
    for _ in 0..50 {
        let (count, _) = engine.receive().unwrap();
        for index in 0..count {
            let (socket, received) = engine.get(index).unwrap();
            all.push((socket, received.bytes.to_vec()));
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    all
}

#[test]
fn both_engines_take_from_both_sockets_and_say_from_which() {
    for (kind, mut engine, port) in engines() {
        let v4 = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(received(&mut engine).is_empty());
        v4.send_to(b"four", ("127.0.0.1", port)).unwrap();
        let mut expected = vec![(0, b"four".to_vec())];
        if let Ok(v6) = UdpSocket::bind("[::1]:0") {
            v6.send_to(b"six", ("::1", port)).unwrap();
            expected.push((1, b"six".to_vec()));
        }
        let mut got = received(&mut engine);
        got.sort();
        assert_eq!(got, expected, "{kind}");
    }
}

#[test]
fn both_engines_say_which_message_failed_and_send_the_others() {
    for (kind, mut engine, _) in engines() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = receiver.local_addr().unwrap();
        let message = |bytes, destination| Message {
            bytes,
            destination,
            source: None,
            segment_bytes: None,
            frame: None,
        };
        let nowhere = "[2001:db8::1]:9".parse().unwrap();
        let mut rest = vec![
            message(&b"a"[..], to),
            message(b"b", nowhere),
            message(b"c", to),
        ];
        let mut failed = 0;
        while !rest.is_empty() {
            let tried = engine.send(0, rest.iter().copied()).unwrap();
            failed += (0..tried)
                .filter(|index| engine.result(*index).is_err())
                .count();
            rest.drain(..tried);
        }
        assert_eq!(failed, 1, "{kind}");
        let mut buffer = [0; 4];
        for expected in [b"a", b"c"] {
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected, "{kind}");
        }
    }
}

/// Index of the loopback interface, the first of every network namespace.
const LOOPBACK: u32 = 1;

/// Moves this thread into its own network namespace, whose loopback accepts frames with other sources. False if this
/// process is not permitted to.
fn enter_own_network() -> bool {
    if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
        eprintln!("skipped: no network namespace of its own: {error}");
        return false;
    }
    for setting in ["route_localnet", "accept_local"] {
        std::fs::write(format!("/proc/sys/net/ipv4/conf/lo/{setting}"), "1").unwrap();
    }
    for command in ["link set lo up", "addr add fd00::2/128 dev lo nodad"] {
        let words = command.split(' ');
        let status = std::process::Command::new("ip").args(words).status();
        assert!(status.unwrap().success(), "ip {command}");
    }
    true
}

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
/// An address on the loopback interface of the test's network namespace.
const V6_NEAR: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));

/// Engines that send everything to 127.0.0.0/25 and fd00::2 as frames through `interface`; empty if this process may
/// not send frames.
fn with_frames(interface: u32) -> Vec<(EngineKind, Engine, u16)> {
    let route = |to, length, router| Route {
        to,
        length,
        target: RouteTarget::Link {
            interface,
            router: Some(router),
            mtu: u32::MAX,
        },
    };
    let neighbour = |ip| Neighbour {
        interface,
        ip,
        mac: [0; 6],
        reach: Reachability::Fresh,
        is_router: false,
    };
    // A local prefix that is not an address of the host, so that frames to it are sent.
    let own = |to: IpAddr| Local {
        to,
        length: if to.is_ipv4() { 32 } else { 128 },
        is_own: true,
    };
    let facts = Facts {
        links: vec![Link {
            index: interface,
            mac: [0; 6],
            mtu: 65_535,
        }],
        routes: vec![
            route([127, 0, 0, 0].into(), 25, V4),
            route(V6_NEAR, 128, V6),
        ],
        neighbours: vec![neighbour(V4), neighbour(V6)],
        local: vec![own(V4), own(V6)],
        left_out: None,
    };
    let Some(start) = EgressStart::fixed(Routes::new(&facts)) else {
        eprintln!("skipped: packet sockets need CAP_NET_RAW");
        return Vec::new();
    };
    let kinds = [EngineKind::Mmsg, EngineKind::Uring].into_iter();
    let start = |kind| {
        let (port, _, sockets) = udp::for_tests(1 << 20);
        let engine = Engine::start(
            &EngineStart {
                kind,
                egress: Some(start.clone()),
            },
            &sockets,
        )
        .unwrap();
        (kind, engine, port)
    };
    kinds.map(start).collect()
}

/// Sends `messages`. Returns which were sent as frames, and how often one had to be tried again.
fn send_all(engine: &mut Engine, place: usize, messages: &[Message<'_>]) -> (Vec<bool>, usize) {
    let (mut rest, mut framed, mut again) = (messages, Vec::new(), 0);
    for _ in 0..10 {
        let tried = engine.send(place, rest.iter().copied()).unwrap();
        for index in 0..tried {
            match engine.result(index) {
                Ok(()) => framed.push(engine.is_framed(index)),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::Interrupted);
                    again += 1;
                }
            }
        }
        rest = &messages[framed.len()..];
        if rest.is_empty() {
            break;
        }
    }
    (framed, again)
}

fn receiver(addr: &str) -> UdpSocket {
    let socket = UdpSocket::bind(addr).unwrap();
    let patience = std::time::Duration::from_secs(5);
    socket.set_read_timeout(Some(patience)).unwrap();
    socket
}

fn from_loopback(bytes: &[u8], destination: SocketAddr, segment: Option<u16>) -> Message<'_> {
    Message {
        bytes,
        destination,
        source: Some(if destination.is_ipv4() { V4 } else { V6 }),
        segment_bytes: segment,
        frame: None,
    }
}

#[test]
fn frames_arrive_as_the_datagrams_they_are_beside_those_of_the_stack() {
    if !enter_own_network() {
        return;
    }
    for (kind, mut engine, port) in with_frames(LOOPBACK) {
        let (near, far) = (receiver("127.0.0.2:0"), receiver("127.0.0.200:0"));
        let (to, beyond) = (near.local_addr().unwrap(), far.local_addr().unwrap());
        let long = vec![7; 1_200];
        let messages = [
            from_loopback(b"short", to, None),
            from_loopback(b"by the stack", beyond, None),
            from_loopback(&long, to, None),
            from_loopback(b"aaaabbbbcc", to, Some(4)),
            from_loopback(b"", to, None),
        ];
        let (framed, _) = send_all(&mut engine, 0, &messages);
        assert_eq!(framed, [true, false, true, true, true], "{kind}");
        let mut buffer = [0; 2_000];
        for expected in [&b"short"[..], &long, b"aaaa", b"bbbb", b"cc", b""] {
            let (length, from) = near.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected, "{kind}");
            assert_eq!(from, SocketAddr::from(([127, 0, 0, 1], port)));
        }
        let length = far.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"by the stack");

        let six = receiver("[fd00::2]:0");
        let to = six.local_addr().unwrap();
        let messages = [
            from_loopback(b"short", to, None),
            from_loopback(b"aaaabbbbcc", to, Some(4)),
        ];
        assert_eq!(
            send_all(&mut engine, 1, &messages).0,
            [true, true],
            "{kind}"
        );
        for expected in [&b"short"[..], b"aaaa", b"bbbb", b"cc"] {
            let (length, from) = six.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected, "{kind}");
            assert_eq!(from, SocketAddr::new(V6, port));
        }
    }
}

#[test]
fn what_an_interface_refuses_goes_by_the_stack() {
    for (kind, mut engine, _) in with_frames(u32::MAX >> 1) {
        let receiver = receiver("127.0.0.2:0");
        let to = receiver.local_addr().unwrap();
        let messages = [
            from_loopback(b"aaaabb", to, Some(4)),
            from_loopback(b"one", to, None),
            from_loopback(b"two", to, None),
        ];
        let (framed, again) = send_all(&mut engine, 0, &messages);
        assert_eq!(framed, [false; 3], "{kind}");
        assert!(again > 0, "{kind}: none was tried as a frame");
        let mut buffer = [0; 8];
        for expected in [&b"aaaa"[..], b"bb", b"one", b"two"] {
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected, "{kind}");
        }
    }
}
