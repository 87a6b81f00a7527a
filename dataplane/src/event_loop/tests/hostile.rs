//! Attacks with forged source addresses, and by clients with their own session: other participants are not affected.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use spillway_wire::stun::kinds;

use super::rig::{Client, Rig};
use crate::drop_reason::DropReason;
use crate::ice::credentials::Credentials;
use crate::ice::credentials::tests::check_from;
use crate::key::SessionIndex;
use crate::limits::AMPLIFICATION_LIMIT;

const PACKETS: usize = 5;

/// Our credentials for the session of `client`, as the client knows them, and the client's ufrag.
fn credentials(rig: &Rig, client: SessionIndex) -> (Credentials, String) {
    let peer = rig.shard.peers.get(client).unwrap();
    let ufrag = peer.ufrags().last().unwrap().0.to_string();
    let pass = rig.shard.ice.key.password(&ufrag);
    let remote = peer.remote_ufrag().unwrap().to_owned();
    (Credentials { ufrag, pass }, remote)
}

/// A nominating check with the password of `client`'s session.
fn nomination(rig: &Rig, client: SessionIndex) -> Vec<u8> {
    let (credentials, remote) = credentials(rig, client);
    let attributes: [(u16, &[u8]); 3] = [
        (kinds::PRIORITY, &[0, 0, 0, 1]),
        (kinds::ICE_CONTROLLING, &[0; 8]),
        (kinds::USE_CANDIDATE, &[]),
    ];
    check_from(&remote, &credentials, &attributes)
}

/// Sends frames to all subscribers until all have arrived.
fn frames(rig: &mut Rig, count: usize) {
    for _ in 0..count {
        rig.send(PACKETS, false, 1_000);
        rig.run_for(Duration::from_millis(5));
    }
    rig.run_for(Duration::from_millis(50));
}

fn received_bytes(socket: &UdpSocket) -> usize {
    let mut buffer = [0; 2_048];
    let mut bytes = 0;
    while let Ok(length) = socket.recv(&mut buffer) {
        bytes += length;
    }
    bytes
}

fn listening(addr: &str) -> UdpSocket {
    let socket = UdpSocket::bind(addr).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn drops(rig: &Rig, reason: DropReason) -> u64 {
    rig.shard.report.drops.of(reason)
}

#[test]
fn a_forged_nomination_draws_no_media_to_an_address_that_does_not_answer() {
    let mut rig = Rig::start(2);
    // The forged datagrams come from the address of the victim, which does not answer.
    let victim = listening("127.0.0.2:0");
    let check = nomination(&rig, rig.subscribers[0].index);
    let mut sent = 0;
    for _ in 0..8 {
        sent += victim.send_to(&check, rig.media()).unwrap();
        rig.run_for(Duration::from_millis(20));
    }
    frames(&mut rig, 40);
    let received = received_bytes(&victim);
    assert!(received > 0, "the checks were answered");
    assert!(
        received <= AMPLIFICATION_LIMIT * sent,
        "{received} bytes for {sent}"
    );
    for client in &rig.subscribers {
        assert_eq!(
            client.received.len(),
            40 * PACKETS,
            "media stays where it was"
        );
    }
}

#[test]
fn a_client_that_moves_proves_its_new_address_and_gets_its_media_there() {
    let mut rig = Rig::start(1);
    let before = rig.subscribers[0].addr();
    rig.subscribers[0].move_to("127.0.0.3:0");
    let check = nomination(&rig, rig.subscribers[0].index);
    rig.subscribers[0]
        .socket
        .send_to(&check, rig.media())
        .unwrap();
    let moved = rig.subscribers[0].addr();
    assert_ne!(before, moved);
    rig.until("media to follow", |rig| {
        let peer = rig.shard.peers.get(rig.subscribers[0].index).unwrap();
        peer.paths.media().is_some_and(|path| path.remote == moved)
    });
    rig.subscribers[0].received.clear();
    frames(&mut rig, 5);
    assert_eq!(rig.subscribers[0].received.len(), 5 * PACKETS);
}

#[test]
fn a_check_for_another_session_takes_no_address_that_is_in_use() {
    let mut rig = Rig::start(2);
    let check = nomination(&rig, rig.subscribers[1].index);
    let media = rig.media();
    for _ in 0..40 {
        // From the addresses of the publisher and of the other subscriber.
        rig.publisher.socket.send_to(&check, media).unwrap();
        rig.subscribers[0].socket.send_to(&check, media).unwrap();
        rig.send(PACKETS, false, 1_000);
        rig.run_for(Duration::from_millis(25));
    }
    rig.run_for(Duration::from_millis(50));
    assert!(drops(&rig, DropReason::AddressInUse) >= 80);
    for client in &rig.subscribers {
        assert_eq!(client.received.len(), 40 * PACKETS);
    }
}

#[test]
fn many_addresses_of_one_session_remove_none_of_another() {
    let mut rig = Rig::start(2);
    let check = nomination(&rig, rig.subscribers[1].index);
    for host in 10..100 {
        let stranger = listening(&format!("127.0.0.{host}:0"));
        stranger.send_to(&check, rig.media()).unwrap();
        rig.turn();
    }
    frames(&mut rig, 10);
    for client in &rig.subscribers {
        assert_eq!(client.received.len(), 10 * PACKETS);
    }
}

/// RTP as the publisher sends it, but with an unused SSRC and an unknown key: once for each extension identifier that
/// could name the m-line.
fn forged_rtp(client: &mut Client, ssrc: u32) -> Vec<Vec<u8>> {
    let (mid, payload_type) = client.sends_on_pt();
    let forged = |id: u8| {
        let mut packet = vec![0x90, payload_type, 0, 1, 0, 0, 0, 1];
        packet.extend(ssrc.to_be_bytes());
        packet.extend([0xbe, 0xde, 0, 2]);
        let mut extension = vec![id << 4 | (mid.len() - 1) as u8];
        extension.extend(mid.as_bytes());
        extension.resize(8, 0);
        packet.extend(extension);
        packet.extend([0x5a; 200]);
        packet
    };
    (1..=14).map(forged).collect()
}

#[test]
fn a_forged_packet_with_a_new_ssrc_silences_no_track() {
    let mut rig = Rig::start(1);
    let media = rig.media();
    for round in 0..10 {
        for forged in forged_rtp(&mut rig.publisher, 0x1234_0000 + round) {
            rig.publisher.socket.send_to(&forged, media).unwrap();
        }
        rig.turn();
        rig.send(PACKETS, false, 1_000);
        rig.run_for(Duration::from_millis(5));
    }
    rig.run_for(Duration::from_millis(50));
    assert_eq!(drops(&rig, DropReason::BadSrtp), 140);
    assert_eq!(rig.subscribers[0].received.len(), 10 * PACKETS);
}

#[test]
fn a_forged_response_proves_nothing() {
    let mut rig = Rig::start(1);
    let victim = listening("127.0.0.4:0");
    let check = nomination(&rig, rig.subscribers[0].index);
    victim.send_to(&check, rig.media()).unwrap();
    rig.turn();
    for guess in 0..=255_u8 {
        let mut response = vec![1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        response.extend([guess; 12]);
        victim.send_to(&response, rig.media()).unwrap();
    }
    rig.turn();
    let peer = rig.shard.peers.get(rig.subscribers[0].index).unwrap();
    let victim: SocketAddr = victim.local_addr().unwrap();
    assert_eq!(peer.paths.nominated(), Some(victim));
    assert_ne!(peer.paths.media().unwrap().remote, victim);
}

#[test]
fn a_session_that_nothing_can_be_sent_to_leaves_its_shard_idle() {
    let mut rig = Rig::start(1);
    let (index, addr) = (rig.subscribers[0].index, rig.subscribers[0].addr());
    let peer = rig.shard.peers.get_mut(index).unwrap();
    peer.paths.remove(addr);
    // Its sender report becomes due meanwhile, and media continues.
    for _ in 0..30 {
        rig.send(PACKETS, false, 1_000);
        std::thread::sleep(Duration::from_millis(50));
        let is_idle = (0..1_000).any(|_| !rig.pass());
        assert!(is_idle, "the shard always finds something to do");
    }
    assert!(drops(&rig, DropReason::NotConnected) > 0);
}
