//! Permitted and forbidden peers, in each notation of an address.

use std::net::SocketAddr;

use spillway_wire::stun::{Class, Method, kinds};

use super::rig::*;
use crate::turn::{DenyReason, Event, HostAddresses, Peers};

const CLIENT: &str = "192.0.2.7:40000";
const SOMEBODY: &str = "8.8.8.8:53";
const SOMEBODY_V6: &str = "[2a00:1450::1]:53";

fn public() -> Rig {
    let mut config = config();
    config.peers = Peers::Public;
    config.denied = vec!["9.9.9.0/24".parse().unwrap()];
    Rig::with(config)
}

/// A client with an IPv4 and an IPv6 relayed address.
fn dual(rig: &mut Rig) -> TestClient {
    let mut client = TestClient::new(CLIENT);
    rig.greet(&mut client);
    let answer = rig.ask(&mut client, Method::Allocate, |writer| {
        udp(writer);
        writer.attribute(kinds::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    });
    answer.expect(Class::Success);
    client
}

/// Tries permission, channel and Send to `peer`: all must fail, and leave no state.
fn assert_unreachable(rig: &mut Rig, client: &mut TestClient, peer: &str) {
    let code = rig.permit(client, peer).code();
    assert_eq!(code, Some(403), "permission for {peer}");
    let code = rig.bind(client, 0x4000, peer).code();
    assert_eq!(code, Some(403), "channel to {peer}");
    assert!(rig.send(client, peer).is_err(), "data to {peer}");
    let from = rig.server.handle_peer(
        rig.now.instant,
        addr("198.51.100.1:50000"),
        addr(peer),
        b"x",
    );
    assert!(from.is_err(), "data from {peer}");
}

#[test]
fn nothing_special_can_be_reached_however_it_is_written() {
    let mut rig = public();
    let mut client = dual(&mut rig);
    let v4 = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.1",
        "224.0.0.1",
        "239.1.2.3",
        "240.0.0.1",
        "255.255.255.255",
    ];
    for ip in v4 {
        assert_unreachable(&mut rig, &mut client, &format!("{ip}:80"));
        let [a, b, c, d] = ip.parse::<std::net::Ipv4Addr>().unwrap().octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        for disguised in [
            format!("::ffff:{ip}"),
            format!("::{ip}"),
            format!("2002:{high:x}:{low:x}::1"),
            format!("64:ff9b::{ip}"),
            format!("64:ff9b:1::{ip}"),
            format!("2001:0:{high:x}:{low:x}::f7f7:f7f7"),
            format!("2001:0:808:808::{:x}:{:x}", !high, !low),
            format!("2a00::5efe:{ip}"),
            format!("2a00::200:5efe:{ip}"),
            format!("::ffff:0:{ip}"),
            format!("2002:808:808::5efe:{ip}"),
            format!("2002:808:808::200:5efe:{ip}"),
        ] {
            assert_unreachable(&mut rig, &mut client, &format!("[{disguised}]:80"));
        }
    }
}

#[test]
fn no_special_ipv6_can_be_reached() {
    let mut rig = public();
    let mut client = dual(&mut rig);
    for ip in [
        "::",
        "::1",
        "100::1",
        "100:0:0:1::1",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:30::1",
        "2001:db8::7",
        "2620:4f:8000::1",
        "3fff::1",
        "3ffe::1",
        "4000::1",
        "5f00::1",
        "64:ff9b:1::808:808",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "ffff::1",
        "::ffff:8.8.8.8",
        "::8.8.8.8",
    ] {
        assert_unreachable(&mut rig, &mut client, &format!("[{ip}]:80"));
    }
}

/// `ip` with a NAT64 prefix of `length` bits, which starts with `prefix` (RFC 6052 section 2.2).
fn translated(prefix: &str, length: usize, ip: &str) -> String {
    let mut octets = prefix.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let positions = (length / 8..16).filter(|at| *at != 8);
    for (octet, at) in ip
        .parse::<std::net::Ipv4Addr>()
        .unwrap()
        .octets()
        .iter()
        .zip(positions)
    {
        octets[at] = *octet;
    }
    std::net::Ipv6Addr::from(octets).to_string()
}

#[test]
fn translators_of_the_network_are_no_way_around() {
    let prefixes = [
        ("2a00:32::", 32),
        ("2a00:40:4000::", 40),
        ("2a00:48:4848::", 48),
        ("2a00:56:5656:5600::", 56),
        ("2a00:64:6464:6464::", 64),
        ("2a00:96:9696:9696:0:9696::", 96),
    ];
    let mut config = config();
    config.peers = Peers::Public;
    config.denied = vec!["9.9.9.0/24".parse().unwrap()];
    let text = prefixes.map(|(prefix, length)| format!("{prefix}/{length}"));
    config.nat64 = text.map(|text| text.parse().unwrap()).to_vec();
    config.relay.v4 = Some("8.8.4.4".parse().unwrap());
    config.ourselves.inside = vec![addr("8.8.4.4:5000")];
    let mut rig = Rig::with(config);
    rig.server
        .set_host(HostAddresses::new([("8.8.4.5".parse().unwrap(), 32)]));
    let mut client = dual(&mut rig);
    for (prefix, length) in prefixes {
        for ip in [
            "127.0.0.1",
            "10.0.0.1",
            "169.254.169.254",
            "9.9.9.9",
            "8.8.4.4",
            "8.8.4.5",
        ] {
            let peer = format!("[{}]:5000", translated(prefix, length, ip));
            assert_unreachable(&mut rig, &mut client, &peer);
        }
        let peer = format!("[{}]:53", translated(prefix, length, "8.8.8.8"));
        rig.bind(&mut client, 0x4000 + u16::try_from(length).unwrap(), &peer)
            .expect(Class::Success);
    }
}

#[test]
fn addresses_of_the_host_that_are_not_advertised_are_denied_whenever_they_appear() {
    let mut rig = public();
    let mut client = dual(&mut rig);
    let (late, late_v6) = ("8.8.4.4:5000", "[2a00:1450::4]:5000");
    rig.bind(&mut client, 0x4000, late).expect(Class::Success);
    rig.bind(&mut client, 0x4001, late_v6)
        .expect(Class::Success);
    rig.permit(&mut client, SOMEBODY).expect(Class::Success);
    let channel = |number: u8| [&[0x40, number, 0, 2][..], b"hi"].concat();
    assert!(rig.relay(&client.client, &channel(0)).is_ok());
    rig.server.set_host(HostAddresses::new([
        ("8.8.4.4".parse().unwrap(), 32),
        ("2a00:1450::4".parse().unwrap(), 128),
        ("1.2.3.0".parse().unwrap(), 24),
    ]));
    for number in [0, 1] {
        let sent = rig.relay(&client.client, &channel(number));
        assert_eq!(sent, Err(DenyReason::PeerOurselves), "channel {number}");
    }
    for peer in [
        late,
        late_v6,
        "8.8.4.4:22",
        "1.2.3.77:80",
        "[::ffff:8.8.4.4]:80",
        "[64:ff9b::8.8.4.4]:80",
        "[2002:808:404::1]:80",
        "[2001:0:808:404::f7f7:f7f7]:80",
        "[2a00::5efe:8.8.4.4]:80",
        "[64:ff9b::1.2.3.4]:80",
    ] {
        assert_unreachable(&mut rig, &mut client, peer);
    }
    assert!(
        rig.send(&mut client, SOMEBODY).is_ok(),
        "others are reached"
    );
    rig.server.set_host(HostAddresses::default());
    assert!(
        rig.relay(&client.client, &channel(0)).is_ok(),
        "no longer ours"
    );
}

#[test]
fn a_cluster_reaches_an_address_of_the_host_that_is_named_and_no_other() {
    let mut rig = Rig::new();
    let mut client = dual(&mut rig);
    rig.server.set_host(HostAddresses::new([
        (addr(NODE).ip(), 32),
        ("198.51.100.9".parse().unwrap(), 32),
    ]));
    rig.permit(&mut client, NODE).expect(Class::Success);
    assert!(rig.send(&mut client, NODE).is_ok(), "it is in turn-peers");
    for peer in ["198.51.100.9:5000", "[::ffff:198.51.100.9]:5000"] {
        assert_unreachable(&mut rig, &mut client, peer);
    }
}

#[test]
fn the_open_internet_can_be_reached_when_it_is_allowed() {
    let mut rig = public();
    let mut client = dual(&mut rig);
    for peer in [
        SOMEBODY,
        SOMEBODY_V6,
        "[64:ff9b::8.8.8.8]:53",
        "[2002:808:808::1]:53",
        "[2001:0:808:808::f7f7:f7f7]:53",
    ] {
        rig.permit(&mut client, peer).expect(Class::Success);
        assert_eq!(rig.send(&mut client, peer).unwrap().peer, addr(peer));
    }
    let relayed: Vec<_> = rig.events();
    let reached = |event: &&Event| matches!(event, Event::SocketWanted { .. });
    assert_eq!(relayed.iter().filter(reached).count(), 2, "once per family");
}

#[test]
fn what_the_operator_forbids_is_forbidden_in_every_disguise() {
    let mut rig = public();
    let mut client = dual(&mut rig);
    for peer in [
        "9.9.9.9:53",
        "[64:ff9b::9.9.9.9]:53",
        "[2002:909:909::1]:53",
    ] {
        assert_unreachable(&mut rig, &mut client, peer);
    }
    assert_eq!(
        rig.send(&mut client, "9.9.9.9:53"),
        Err(DenyReason::PeerDenied)
    );
}

#[test]
fn the_relay_does_not_relay_to_itself() {
    let mut public_config = config();
    public_config.peers = Peers::Public;
    // An address on the public internet, so that no other rule forbids it.
    public_config.relay.v4 = Some("8.8.4.4".parse().unwrap());
    public_config.ourselves.listening = vec![addr("8.8.4.4:3478")];
    public_config.ourselves.inside = vec![addr("8.8.4.4:5000")];
    let mut rig = Rig::with(public_config);
    let (mut client, relayed) = rig.allocated(CLIENT);
    let (_, other) = rig.allocated("192.0.2.8:1");
    for own in [
        relayed,
        other,
        addr("8.8.4.4:3478"),
        addr("8.8.4.4:22"),
        addr("8.8.4.4:60000"),
    ] {
        // A permission for the address is allowed, because our media port has it.
        rig.permit(&mut client, &own.to_string())
            .expect(Class::Success);
        assert_eq!(
            rig.bind(&mut client, 0x4001, &own.to_string()).code(),
            Some(403)
        );
        let sent = rig.send(&mut client, &own.to_string());
        assert_eq!(sent, Err(DenyReason::PeerOurselves), "{own}");
    }
    assert!(rig.send(&mut client, "8.8.4.4:5000").is_ok());
    assert_eq!(rig.events().len(), 2, "no socket was asked for");
}

#[test]
fn a_cluster_relay_reaches_only_its_nodes() {
    let mut rig = Rig::new();
    let mut client = dual(&mut rig);
    for peer in [
        SOMEBODY,
        SOMEBODY_V6,
        "127.0.0.1:5000",
        "[::ffff:198.51.100.2]:5000",
    ] {
        assert_unreachable(&mut rig, &mut client, peer);
    }
    for (peer, wrong_port) in [
        (NODE, "198.51.100.2:5001"),
        (MEDIA, "198.51.100.1:5001"),
        (NODE_V6, "[2001:db8::2]:0"),
    ] {
        rig.permit(&mut client, peer).expect(Class::Success);
        assert!(rig.send(&mut client, peer).is_ok(), "{peer}");
        assert!(rig.send(&mut client, wrong_port).is_err(), "{wrong_port}");
        let bound = rig.bind(&mut client, 0x4000, wrong_port);
        assert_eq!(bound.code(), Some(403), "{wrong_port}");
    }
}

#[test]
fn a_node_listed_among_our_relay_ports_is_still_a_loop() {
    let mut config = config();
    config.peers = Peers::Cluster(vec![addr("198.51.100.1:50000"), addr(LISTENING)]);
    let mut rig = Rig::with(config);
    let (mut client, _) = rig.allocated(CLIENT);
    for own in ["198.51.100.1:50000", LISTENING] {
        rig.permit(&mut client, own).expect(Class::Success);
        let sent = rig.send(&mut client, own);
        assert_eq!(sent, Err(DenyReason::PeerOurselves));
    }
}

#[test]
fn a_changed_cluster_counts_at_once_for_channels_too() {
    let mut rig = Rig::new();
    let (mut client, relayed) = rig.allocated(CLIENT);
    rig.bind(&mut client, 0x4000, NODE).expect(Class::Success);
    let data = [&[0x40, 0, 0, 2][..], b"hi"].concat();
    assert!(rig.relay(&client.client, &data).is_ok());
    let now = rig.now.instant;
    assert!(
        rig.server
            .handle_peer(now, relayed, addr(NODE), b"x")
            .is_ok()
    );
    rig.server.set_peers(Peers::Cluster(vec![addr(MEDIA)]));
    let outside = Err(DenyReason::PeerOutsideCluster);
    assert_eq!(rig.relay(&client.client, &data), outside);
    let from = rig.server.handle_peer(now, relayed, addr(NODE), b"x");
    assert_eq!(from.unwrap_err(), DenyReason::PeerOutsideCluster);
    let nodes: Vec<SocketAddr> = vec![addr(NODE)];
    rig.server.set_peers(Peers::Cluster(nodes));
    assert!(rig.relay(&client.client, &data).is_ok());
}

#[test]
fn sockets_are_asked_for_once_and_only_for_peers_outside() {
    let mut rig = Rig::new();
    let (mut client, relayed) = rig.allocated(CLIENT);
    rig.events();
    rig.permit(&mut client, MEDIA).expect(Class::Success);
    assert_eq!(rig.events(), []);
    rig.permit(&mut client, NODE).expect(Class::Success);
    let peer = addr(NODE).ip();
    assert_eq!(rig.events(), [Event::SocketWanted { relayed, peer }]);
    rig.bind(&mut client, 0x4000, NODE).expect(Class::Success);
    assert_eq!(rig.events(), []);
}
