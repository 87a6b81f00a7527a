//! Permissions and channels: lifetimes and errors.

use spillway_wire::stun::{Class, Method, kinds};

use super::rig::*;
use crate::limits::{MAX_CHANNELS, MAX_PERMISSIONS};
use crate::turn::{DenyReason, Peers};

const CLIENT: &str = "192.0.2.7:40000";
const DATA: &[u8] = &[0x40, 0, 0, 2, b'h', b'i'];

/// A server that relays to many nodes.
fn crowded() -> Rig {
    let mut config = config();
    config.peers = Peers::Cluster((0..600).map(|number| addr(&node(number))).collect());
    Rig::with(config)
}

fn node(number: usize) -> String {
    format!("198.51.{}.{}:5000", 101 + number / 200, number % 200)
}

#[test]
fn a_permission_lasts_five_minutes() {
    let mut rig = Rig::new();
    let (mut client, relayed) = rig.allocated(CLIENT);
    assert_eq!(rig.send(&mut client, NODE), Err(DenyReason::NoPermission));
    rig.permit(&mut client, NODE).expect(Class::Success);
    rig.wait(299);
    assert!(rig.send(&mut client, NODE).is_ok());
    let now = rig.now.instant;
    assert!(
        rig.server
            .handle_peer(now, relayed, addr(NODE), b"x")
            .is_ok()
    );
    rig.wait(1);
    assert_eq!(rig.send(&mut client, NODE), Err(DenyReason::NoPermission));
    let now = rig.now.instant;
    let from = rig.server.handle_peer(now, relayed, addr(NODE), b"x");
    assert_eq!(from.unwrap_err(), DenyReason::NoPermission);
    rig.permit(&mut client, NODE).expect(Class::Success);
    assert!(rig.send(&mut client, NODE).is_ok());
}

#[test]
fn a_channel_lasts_ten_minutes_and_its_permission_five() {
    let mut rig = Rig::new();
    let (mut client, _) = rig.allocated(CLIENT);
    rig.refresh(&mut client, 3_600).expect(Class::Success);
    rig.bind(&mut client, 0x4000, NODE).expect(Class::Success);
    assert!(rig.relay(&client.client, DATA).is_ok());
    rig.wait(300);
    let without = rig.relay(&client.client, DATA);
    assert_eq!(without, Err(DenyReason::NoPermission));
    rig.wait(299);
    rig.permit(&mut client, NODE).expect(Class::Success);
    assert!(rig.relay(&client.client, DATA).is_ok(), "at 9:59");
    rig.wait(1);
    let over = rig.relay(&client.client, DATA);
    assert_eq!(over, Err(DenyReason::NoChannel));
}

#[test]
fn a_number_and_a_peer_belong_to_each_other() {
    let mut rig = Rig::new();
    let (mut client, _) = rig.allocated(CLIENT);
    rig.bind(&mut client, 0x4000, NODE).expect(Class::Success);
    rig.bind(&mut client, 0x4000, NODE).expect(Class::Success);
    assert_eq!(rig.bind(&mut client, 0x4000, MEDIA).code(), Some(400));
    assert_eq!(rig.bind(&mut client, 0x4001, NODE).code(), Some(400));
    rig.refresh(&mut client, 3_600).expect(Class::Success);
    rig.wait(599);
    rig.bind(&mut client, 0x4001, MEDIA).expect(Class::Success);
    rig.wait(1);
    rig.greet(&mut client);
    rig.bind(&mut client, 0x4000, NODE).expect(Class::Success);
    assert_eq!(rig.bind(&mut client, 0x4002, MEDIA).code(), Some(400));
}

#[test]
fn numbers_outside_their_range_are_refused() {
    let mut rig = Rig::new();
    let (mut client, _) = rig.allocated(CLIENT);
    for number in [0, 0x3fff, 0x8000, 0xffff] {
        assert_eq!(rig.bind(&mut client, number, NODE).code(), Some(400));
    }
    let none = rig.ask(&mut client, Method::ChannelBind, |writer| {
        writer.number(kinds::CHANNEL_NUMBER, 0x4000 << 16);
    });
    assert_eq!(none.code(), Some(400));
    let none = rig.ask(&mut client, Method::CreatePermission, |_| {});
    assert_eq!(none.code(), Some(400));
}

#[test]
fn a_peer_of_the_other_family_is_a_mismatch() {
    let mut rig = Rig::new();
    let (mut client, _) = rig.allocated(CLIENT);
    assert_eq!(rig.permit(&mut client, NODE_V6).code(), Some(443));
    assert_eq!(rig.bind(&mut client, 0x4000, NODE_V6).code(), Some(443));
    assert!(rig.send(&mut client, NODE_V6).is_err());
}

#[test]
fn all_permissions_of_a_request_are_given_or_none() {
    let mut rig = Rig::new();
    let (mut client, _) = rig.allocated(CLIENT);
    let answer = rig.ask(&mut client, Method::CreatePermission, |writer| {
        writer
            .xor_address(kinds::XOR_PEER_ADDRESS, addr(NODE))
            .xor_address(kinds::XOR_PEER_ADDRESS, addr("127.0.0.1:1"));
    });
    assert_eq!(answer.code(), Some(403));
    assert_eq!(rig.send(&mut client, NODE), Err(DenyReason::NoPermission));
    let both = rig.ask(&mut client, Method::CreatePermission, |writer| {
        writer
            .xor_address(kinds::XOR_PEER_ADDRESS, addr(NODE))
            .xor_address(kinds::XOR_PEER_ADDRESS, addr(MEDIA));
    });
    both.expect(Class::Success);
    assert!(rig.send(&mut client, NODE).is_ok());
    assert!(rig.send(&mut client, MEDIA).is_ok());
}

#[test]
fn permissions_and_channels_have_a_maximum() {
    let mut rig = crowded();
    let (mut client, _) = rig.allocated(CLIENT);
    for number in 0..MAX_PERMISSIONS {
        rig.permit(&mut client, &node(number))
            .expect(Class::Success);
    }
    assert_eq!(rig.permit(&mut client, &node(500)).code(), Some(508));
    let full = rig.bind(&mut client, 0x4fff, &node(500));
    assert_eq!(full.code(), Some(508), "a channel needs a permission");
    rig.permit(&mut client, &node(3)).expect(Class::Success);
    for number in 0..MAX_CHANNELS.min(MAX_PERMISSIONS) {
        let channel = 0x4000 + u16::try_from(number).unwrap();
        rig.bind(&mut client, channel, &node(number))
            .expect(Class::Success);
    }
    rig.refresh(&mut client, 3_600).expect(Class::Success);
    rig.wait(300);
    // The permissions have expired, the channels have not.
    let full = rig.bind(&mut client, 0x4fff, &node(500));
    assert_eq!(full.code(), Some(508));
    rig.permit(&mut client, &node(500)).expect(Class::Success);
}
