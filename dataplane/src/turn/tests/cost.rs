//! Memory and time of an allocation. Bytes are asserted; times are only printed, because they depend on the host.

use std::time::Instant;

use spillway_wire::stun::{Class, Method, kinds};

use super::rig::*;

const ALLOCATIONS: usize = 10_000;
/// Maximum bytes of an allocation with one permission and one channel. Tables that grow by doubling may be half empty.
const MAX_BYTES: i64 = 1_280;

#[test]
fn an_allocation_is_small() {
    let mut rig = Rig::new();
    let mut clients: Vec<TestClient> = (0..ALLOCATIONS)
        .map(|number| {
            let user = format!("user-{number:026}");
            let remote = format!("192.0.{}.{}:40000", number / 250, number % 250);
            TestClient::user(&remote, &user)
        })
        .collect();
    let before = rig.server.allocations();
    let mut kept = 0;
    let start = Instant::now();
    let mut requests: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for client in &mut clients {
        rig.greet(client);
        let allocate = client.request(Method::Allocate, udp);
        let bind = client.request(Method::ChannelBind, |writer| {
            writer
                .number(kinds::CHANNEL_NUMBER, 0x4000 << 16)
                .xor_address(kinds::XOR_PEER_ADDRESS, addr(NODE));
        });
        requests.push((allocate, bind));
    }
    let prepared = start.elapsed();
    let start = Instant::now();
    for (client, (allocate, bind)) in clients.iter().zip(&requests) {
        let memory = allocation_counter::measure(|| {
            for request in [allocate, bind] {
                let _ = rig.server.handle_client(rig.now, &client.client, request);
            }
            while rig.server.poll_event().is_some() {}
        });
        kept += memory.bytes_current;
    }
    let elapsed = start.elapsed();
    assert_eq!(rig.server.allocations() - before, ALLOCATIONS);
    let bytes = kept / ALLOCATIONS as i64;
    println!(
        "{bytes} bytes; {:?} an Allocate and a ChannelBind",
        elapsed / ALLOCATIONS as u32
    );
    println!(
        "{:?} a challenge and both sides' signatures",
        prepared / ALLOCATIONS as u32
    );
    assert!(bytes <= MAX_BYTES, "{bytes} bytes");
    let last = clients.last_mut().unwrap();
    rig.refresh(last, 600).expect(Class::Success);
}
