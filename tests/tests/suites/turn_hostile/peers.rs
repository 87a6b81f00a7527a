//! Forbidden peers with `turn-peers public`: other addresses of this host, and addresses that a
//! NAT64 translator maps to them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sched::{CloneFlags, unshare};
use spillway_tests::clock::TimeLimit;
use spillway_tests::turn::udp;
use spillway_wire::stun::{Method, kinds};

use super::target::{CHANNEL, SILENCE, Target};

const LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
/// Public addresses, which no other rule forbids. In a namespace of the test they are on loopback.
const OWN: &str = "8.8.4.4";
const OWN_LATER: &str = "8.8.4.5";
const ELSEWHERE: &str = "8.8.8.8:53";
const NAT64: [(&str, usize); 6] = [
    ("2a00:32::", 32),
    ("2a00:40:4000::", 40),
    ("2a00:48:4848::", 48),
    ("2a00:56:5656:5600::", 56),
    ("2a00:64:6464:6464::", 64),
    ("2a00:96:9696:9696:0:9696::", 96),
];

/// A node with addresses that it does not advertise: some from the start, some added later.
pub(super) fn own_addresses() -> anyhow::Result<()> {
    let in_namespace = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).context("a network namespace needs root")?;
        ip("link set lo up")?;
        ip(&format!("addr add {OWN}/32 dev lo"))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async { reach_own(&Target::start(true, &[]).await?) })
    });
    in_namespace.join().expect("the thread does not panic")
}

fn reach_own(target: &Target) -> anyhow::Result<()> {
    let victim = UdpSocket::bind((OWN, 0))?;
    victim.set_read_timeout(Some(SILENCE))?;
    let port = victim.local_addr()?.port();
    let caller = target.allocated(225)?;
    let peer = SocketAddr::new(OWN.parse()?, port);
    let code = caller.permit(peer)?.code();
    ensure!(code == Some(403), "a permission for {peer}: {code:?}");
    let code = caller.bind(CHANNEL, peer)?.code();
    ensure!(code == Some(403), "a channel to {peer}: {code:?}");
    caller.send(peer, b"x")?;
    ensure!(victim.recv(&mut [0; 9]).is_err(), "data arrived at {peer}");
    let elsewhere = caller.permit(ELSEWHERE.parse()?)?;
    ensure!(elsewhere.is_success(), "the internet is refused too");
    // An address that the host gets later is public before that.
    let peer = SocketAddr::new(OWN_LATER.parse()?, port);
    ensure!(caller.permit(peer)?.is_success(), "{peer} is refused early");
    ip(&format!("addr add {OWN_LATER}/32 dev lo"))?;
    let victim = UdpSocket::bind(peer)?;
    victim.set_read_timeout(Some(SILENCE))?;
    let limit_left = TimeLimit::new(LIMIT);
    while caller.permit(peer)?.code() != Some(403) {
        ensure!(
            !limit_left.is_over(),
            "{peer} can be reached {LIMIT:?} later"
        );
        std::thread::sleep(PAUSE);
    }
    caller.send(peer, b"x")?;
    ensure!(victim.recv(&mut [0; 9]).is_err(), "data arrived at {peer}");
    Ok(())
}

/// IPv4 addresses in NAT64 prefixes of every permitted length.
pub(super) async fn translated() -> anyhow::Result<()> {
    let prefixes = NAT64.map(|(prefix, length)| format!("{prefix}/{length}"));
    let prefixes = prefixes.join(",");
    let flags = [
        "--turn-nat64-prefixes",
        &prefixes,
        "--advertise",
        "127.0.0.1,::1",
    ];
    let target = Target::start(true, &flags).await?;
    let mut caller = target.caller(226)?;
    caller.greet()?;
    let answer = caller.ask(Method::Allocate, |writer| {
        udp(writer);
        writer.attribute(kinds::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    })?;
    ensure!(answer.is_success(), "no allocation: {:?}", answer.code());
    for (prefix, length) in NAT64 {
        for ip in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1"] {
            let peer = behind(prefix.parse()?, length, ip.parse()?);
            let code = caller.permit(peer)?.code();
            ensure!(code == Some(403), "a permission for {peer}: {code:?}");
            let code = caller.bind(CHANNEL, peer)?.code();
            ensure!(code == Some(403), "a channel to {peer}: {code:?}");
        }
        let elsewhere = behind(prefix.parse()?, length, Ipv4Addr::new(8, 8, 8, 8));
        let code = caller.permit(elsewhere)?.code();
        ensure!(code.is_none(), "the internet is refused too: {code:?}");
    }
    Ok(())
}

/// RFC 6052 section 2.2: bits 64 to 71 are skipped.
fn behind(prefix: Ipv6Addr, length: usize, ip: Ipv4Addr) -> SocketAddr {
    let mut octets = prefix.octets();
    let places = (length / 8..octets.len()).filter(|at| *at != 8);
    for (octet, at) in ip.octets().into_iter().zip(places) {
        octets[at] = octet;
    }
    SocketAddr::new(octets.into(), 80)
}

fn ip(arguments: &str) -> anyhow::Result<()> {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    ensure!(status.context("ip (iproute2)")?.success(), "ip {arguments}");
    Ok(())
}
