//! Untrusted datagrams to the media port during a call that must not be affected.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use spillway_tests::call::{Publisher, Subscriber, connect, run};
use spillway_tests::node::{Node, unknown_socket};
use spillway_wire::dataplane as proto;

const SECOND: Duration = Duration::from_secs(1);
const DATAGRAMS: usize = 1_000_000;
/// Permitted growth of resident memory during a flood: caches fill once, and no state is kept per
/// sender.
const MAX_GROWTH_BYTES: u64 = 32 << 20;

#[tokio::test]
async fn a_million_hostile_datagrams_cost_the_call_nothing() -> anyhow::Result<()> {
    let mut node = Node::start(2, &[]).await?;
    let mut publishers = [Publisher::start(&mut node, "p", false).await?];
    let mut subscribers =
        [Subscriber::start(&mut node, "s", &[("p-audio", proto::Kind::Audio)]).await?];
    connect(&mut node, &mut publishers, &mut subscribers, 1).await?;
    let target = node.media_addr().await?;
    flood(&unknown_sockets(4)?, target, DATAGRAMS / 100); // fill the caches first
    run(&mut node, &mut publishers, &mut subscribers, SECOND).await?;
    let rss_before = node.rss_bytes()?;

    let senders = unknown_sockets(32)?;
    let flooding = tokio::task::spawn_blocking(move || flood(&senders, target, DATAGRAMS));
    while !flooding.is_finished() {
        run(&mut node, &mut publishers, &mut subscribers, SECOND / 10).await?;
    }
    flooding.await?;
    run(&mut node, &mut publishers, &mut subscribers, SECOND).await?;

    let arrivals = subscribers[0].arrivals("p-audio");
    let expected = (arrivals[arrivals.len() - 1].counter - arrivals[0].counter + 1) as usize;
    // The flood shares the socket's receive buffer with the call. The call may lose the packets
    // that the kernel counts as dropped there, but no others.
    let kernel = node.counter("kernel_drops_total", "")? as usize;
    let lost = expected - arrivals.len();
    assert!(
        lost <= kernel && lost * 50 <= expected,
        "lost {lost} of {expected}, kernel {kernel}"
    );
    let growth = node.rss_bytes()?.saturating_sub(rss_before);
    assert!(growth < MAX_GROWTH_BYTES, "memory grew by {growth} bytes");
    let dropped = node.counter("drops_total", "")?;
    let accounted = dropped + kernel as f64;
    assert!(
        accounted >= DATAGRAMS as f64 * 0.99,
        "{accounted} of {DATAGRAMS} are accounted for"
    );
    Ok(())
}

#[tokio::test]
async fn every_kind_of_rubbish_is_counted_under_its_name() -> anyhow::Result<()> {
    let mut node = Node::start(1, &[]).await?;
    let target = node.media_addr().await?;
    let socket = unknown_socket()?;
    let ufrag = "0123456789abcdef0123";
    for (reason, datagram) in [
        ("unclassified", vec![0xff; 40]),
        ("unclassified", vec![]),
        ("truncated", vec![0x80; 3_000]),
        ("malformed_stun", [vec![0, 1, 0, 99], vec![0; 16]].concat()),
        ("unknown_ufrag", stun_check(None)),
        ("bad_integrity", stun_check(Some(&format!("{ufrag}:x")))),
        ("unknown_source", [vec![0x80, 96], vec![7; 60]].concat()),
        ("unknown_source", [vec![0x81, 200], vec![7; 60]].concat()),
        ("unknown_source", [vec![22, 254, 253], vec![7; 60]].concat()),
    ] {
        let label = format!("reason=\"{reason}\"");
        tokio::time::sleep(SECOND / 2).await;
        let before = node.counter("drops_total", &label)?;
        socket.send_to(&datagram, target)?;
        tokio::time::sleep(SECOND / 2).await;
        assert_eq!(
            node.counter("drops_total", &label)?,
            before + 1.0,
            "{reason}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn rubbish_from_the_address_of_a_session_ends_nothing() -> anyhow::Result<()> {
    let mut node = Node::start(1, &[]).await?;
    let mut publishers = [Publisher::start(&mut node, "p", false).await?];
    let mut subscribers =
        [Subscriber::start(&mut node, "s", &[("p-audio", proto::Kind::Audio)]).await?];
    connect(&mut node, &mut publishers, &mut subscribers, 1).await?;
    for round in 0..2_000 {
        let mut datagram = rubbish(round);
        if datagram.first().is_some_and(|first| *first < 4) {
            datagram[0] = 0x80; // a STUN message would reach the session's integrity check
        }
        publishers[0].link.inject(&datagram).await?;
    }
    let before = subscribers[0].arrivals("p-audio").len();
    run(&mut node, &mut publishers, &mut subscribers, SECOND * 2).await?;
    assert!(
        subscribers[0].arrivals("p-audio").len() > before + 80,
        "the session died of it"
    );
    assert_eq!(
        node.counter("drops_total", "reason=\"session_panicked\"")?,
        0.0
    );
    Ok(())
}

fn unknown_sockets(count: usize) -> anyhow::Result<Vec<UdpSocket>> {
    (0..count).map(|_| unknown_socket()).collect()
}

fn flood(senders: &[UdpSocket], target: SocketAddr, datagrams: usize) {
    for index in 0..datagrams {
        let sender = &senders[index % senders.len()];
        // A full socket slows the flood down; ICMP errors are ignored.
        let _ = sender.send_to(&rubbish(index), target);
    }
}

/// Random bytes, and truncated messages of every protocol on the port.
fn rubbish(index: usize) -> Vec<u8> {
    let mut datagram: Vec<u8> = (0..fastrand::usize(1..200))
        .map(|_| fastrand::u8(..))
        .collect();
    match index % 6 {
        0 => {}
        1 => datagram[0] = fastrand::u8(0..4),
        2 => datagram[0] = fastrand::u8(20..64),
        3 => datagram[0] = fastrand::u8(128..192),
        4 => {
            datagram = stun_check(Some("deadbeefdeadbeefdead:x"));
            datagram.truncate(fastrand::usize(1..=datagram.len()));
        }
        _ => datagram = stun_check(Some(&format!("{:020x}:x", fastrand::u64(..)))),
    }
    datagram
}

/// A well-formed connectivity check with a random MESSAGE-INTEGRITY.
fn stun_check(username: Option<&str>) -> Vec<u8> {
    let mut attributes = Vec::new();
    let mut put = |kind: u16, value: &[u8]| {
        attributes.extend(kind.to_be_bytes());
        attributes.extend(
            u16::try_from(value.len())
                .expect("short values")
                .to_be_bytes(),
        );
        attributes.extend(value);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
    };
    if let Some(username) = username {
        put(0x0006, username.as_bytes());
    }
    put(0x0008, &[9; 20]);
    let length = u16::try_from(attributes.len()).expect("a short message");
    let mut message = [[0, 1], length.to_be_bytes()].concat();
    message.extend([0x21, 0x12, 0xa4, 0x42]);
    message.extend([7; 12]);
    message.extend(attributes);
    message
}
