//! Tests of the network: each condition does what it says, and no datagram is forgotten.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::*;
use crate::rng::Chance;

const DELAY: Duration = Duration::from_millis(20);
const STEADY: Conditions = Conditions::steady(DELAY);

fn host(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

fn datagram(from: u8, to: u8, bytes: &[u8]) -> Datagram {
    Datagram {
        from: SocketAddr::new(host(from), 1_000),
        to: SocketAddr::new(host(to), 2_000),
        bytes: bytes.to_vec(),
    }
}

fn one_way(from: u8, to: u8) -> Direction {
    Direction {
        from: host(from),
        to: host(to),
    }
}

/// Sends `count` datagrams of 100 bytes, one a millisecond. Returns their numbers and arrival times in ms.
fn sends(network: &mut Network, count: u32) -> Vec<(u32, u128)> {
    let mut arrived = Vec::new();
    for ms in 0..u64::from(count) + 10_000 {
        let now = Time::from_ms(ms);
        if ms < u64::from(count) {
            let mut bytes = [0; 100];
            bytes[..4].copy_from_slice(&(ms as u32).to_be_bytes());
            network.send(datagram(1, 2, &bytes), now);
        }
        while let Some(datagram) = network.receive(now) {
            let (number, _) = datagram.bytes.split_first_chunk().unwrap();
            arrived.push((u32::from_be_bytes(*number), now.since_start().as_millis()));
        }
        assert_eq!(network.counts().flying(), network.flying() as u64);
    }
    assert_eq!(network.flying(), 0);
    arrived
}

fn network(conditions: Conditions) -> Network {
    Network::new(Seed(1), conditions)
}

#[test]
fn a_steady_path_delivers_all_in_order_after_the_delay() {
    let arrived = sends(&mut network(STEADY), 100);
    let expected: Vec<_> = (0..100).map(|n| (n, u128::from(n) + 20)).collect();
    assert_eq!(arrived, expected);
}

#[test]
fn jitter_keeps_the_order() {
    let jitter = Duration::from_millis(30);
    let mut network = network(Conditions { jitter, ..STEADY });
    let arrived = sends(&mut network, 1_000);
    assert!(arrived.is_sorted());
    let late = arrived.iter().filter(|(n, at)| at - u128::from(*n) > 30);
    assert!(late.count() > 100, "some wait for long");
    assert_eq!(network.counts().reordered, 0);
}

#[test]
fn single_losses_and_bursts_are_told_apart() {
    let loss = Chance::per_mille(100);
    let mut single = network(Conditions { loss, ..STEADY });
    sends(&mut single, 5_000);
    assert!((400..600).contains(&single.counts().lost));
    assert_eq!(single.counts().lost_in_bursts, 0);

    let bursts = Some(Bursts {
        begins: Chance::per_mille(10),
        ends: Chance::one_in(20),
    });
    let mut rows = network(Conditions { bursts, ..STEADY });
    let arrived = sends(&mut rows, 5_000);
    let (lost, single) = (rows.counts().lost_in_bursts, rows.counts().lost);
    assert_eq!((lost + arrived.len() as u64, single), (5_000, 0));
    let gaps = arrived.windows(2).filter(|pair| pair[1].0 > pair[0].0 + 1);
    let mean = lost as f64 / gaps.count() as f64;
    assert!((10.0..40.0).contains(&mean), "bursts of {mean} datagrams");
}

#[test]
fn some_are_overtaken_and_some_come_twice() {
    let mut network = network(Conditions {
        reordered: Chance::per_mille(50),
        late: Duration::from_millis(40),
        duplicated: Chance::per_mille(50),
        ..STEADY
    });
    let mut arrived = sends(&mut network, 2_000);
    let counts = network.counts();
    assert!((50..150).contains(&counts.duplicated));
    assert!(counts.reordered >= 50, "{counts:?}");
    assert_eq!(arrived.len() as u64, 2_000 + counts.duplicated);
    arrived.sort_unstable();
    arrived.dedup_by_key(|(number, _)| *number);
    assert_eq!(arrived.len(), 2_000, "none is lost");
}

#[test]
fn a_bottleneck_delays_first_and_drops_then() {
    // 128 bytes with headers, one a millisecond, are 1,024 kbit/s.
    let rate = |bits_per_s| Rate {
        bits_per_s,
        queue_bytes: 12_800,
    };
    let mut wide = network(Conditions {
        rate: Some(rate(2_048_000)),
        ..STEADY
    });
    sends(&mut wide, 1_000);
    assert_eq!(wide.counts().overflowed, 0);

    let mut narrow = network(Conditions {
        rate: Some(rate(512_000)),
        ..STEADY
    });
    let arrived = sends(&mut narrow, 1_000);
    assert!((380..420).contains(&narrow.counts().overflowed));
    let longest = arrived.iter().map(|(n, at)| at - u128::from(*n)).max();
    // The queue holds 200 ms at this rate; then come the datagram itself and the delay.
    assert!((200..=224).contains(&longest.unwrap()), "{longest:?}");
}

#[test]
fn a_cut_has_a_direction_and_an_end() {
    let mut network = network(STEADY);
    let arrives = |network: &mut Network, from, to, ms| {
        network.send(datagram(from, to, b"x"), Time::from_ms(ms));
        network.receive(Time::from_ms(ms + 20)).is_some()
    };
    network.cut(one_way(1, 2));
    assert!(!arrives(&mut network, 1, 2, 0));
    assert!(arrives(&mut network, 2, 1, 100));
    network.heal(one_way(1, 2));
    assert!(arrives(&mut network, 1, 2, 200));
    assert_eq!(network.counts().cut, 1);
}

#[test]
fn a_path_may_have_conditions_of_its_own_and_the_others_keep_their_luck() {
    let loss = Chance::per_mille(300);
    let run = |own: Option<Conditions>| {
        let mut network = network(Conditions { loss, ..STEADY });
        network.set_conditions(one_way(3, 4), own);
        let mut arrived = Vec::new();
        for ms in 0..200 {
            network.send(datagram(1, 2, b"a"), Time::from_ms(ms));
            network.send(datagram(3, 4, b"b"), Time::from_ms(ms));
        }
        while let Some(datagram) = network.receive(Time::from_ms(1_000)) {
            arrived.push(datagram.from.ip());
        }
        let of = |number| arrived.iter().filter(|from| **from == host(number)).count();
        (of(1), of(3))
    };
    let ((usual, _), (same, all)) = (run(None), run(Some(STEADY)));
    assert_eq!(usual, same);
    assert_eq!(all, 200);
}

#[test]
fn one_seed_has_one_result() {
    let run = |seed| {
        let mut network = Network::new(
            Seed(seed),
            Conditions {
                jitter: Duration::from_millis(9),
                loss: Chance::per_mille(20),
                reordered: Chance::per_mille(20),
                late: Duration::from_millis(9),
                duplicated: Chance::per_mille(20),
                ..STEADY
            },
        );
        sends(&mut network, 500)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
