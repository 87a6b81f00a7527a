//! Known attacks on TURN servers against a real data plane, each by name, with its result in one
//! JSON line at the end. SPILLWAY_TEST_FLOOD is the number of forged requests (default 10,000,000).

mod target; // the TURN server under attack
mod streams; // attacks over TCP and TLS
mod lifetimes; // allocations beyond their lifetime
mod peers; // forbidden peers: other addresses of this host

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Instant;

use anyhow::{Context, ensure};
use spillway_bench::net::socket::{FarmSocket, Traffic};
use spillway_bench::turn::client::Credentials;
use spillway_tests::turn::{SECRET, udp, unix_s};
use spillway_wire::dataplane as proto;
use spillway_wire::stun::{Class, Method, TransactionId, Writer, kinds};
use spillway_wire::turn::{ChannelData, ChannelNumber};

use target::{CHANNEL, SILENCE, Target};

/// Permitted growth of resident memory during a flood: less than half a byte per request.
const MAX_GROWTH_BYTES: u64 = 4 << 20;
const USUAL_FLOOD: usize = 10_000_000;
/// Number of requests that fill the caches first.
const WARM_UP: usize = 500_000;
/// Permitted excess of answers over requests, per network (docs/decisions/0013).
const BUDGET_BYTES: usize = 32 << 10;
const BUDGET_BYTES_PER_SECOND: f64 = 4096.0;

#[tokio::test]
async fn every_known_way_to_misuse_a_relay_fails() -> anyhow::Result<()> {
    let mut outcomes = BTreeMap::new();
    let mut note = |name: &'static str, outcome: anyhow::Result<()>| {
        let outcome = outcome.map_or_else(|error| format!("{error:#}"), |()| "ok".into());
        println!("{name}: {outcome}");
        outcomes.insert(name, outcome);
    };
    let public = Target::start(true, &[]).await?;
    note("loopback_and_mapped_public", loopback(&public));
    note("private_ranges", private_ranges(&public));
    drop(public);
    note("own_unadvertised_addresses", peers::own_addresses());
    note("network_specific_nat64", peers::translated().await);
    note("replaced_secret", lifetimes::rotated().await);
    let mut cluster = Target::start(false, &[]).await?;
    note("loopback_and_mapped_cluster", loopback(&cluster));
    note("predictable_nonce", nonces(&cluster));
    note("reflection", reflection(&cluster));
    note("oversized_attributes", oversized(&cluster));
    note("channel_data_lying_lengths", lying_lengths(&cluster));
    note("format_characters", format_characters(&mut cluster).await);
    note("expired_credentials", expired(&cluster));
    note("refreshed_after_expiry", lifetimes::expired(&cluster));
    note("replayed_requests", replayed(&cluster));
    note("streams_that_drip", streams::drip(&cluster).await);
    note("streams_of_garbage", streams::garbage(&cluster).await);
    note(
        "streams_lying_lengths",
        streams::lying_lengths(&cluster).await,
    );
    note("spoofed_flood", flood(&cluster));
    let mut failed = outcomes.clone();
    failed.retain(|_, outcome| outcome != "ok");
    let line =
        serde_json::json!({"suite": "turn-hostile", "failed": failed.len(), "outcomes": outcomes});
    println!("{line}");
    ensure!(failed.is_empty(), "these did not hold: {failed:#?}");
    Ok(())
}

/// On this host, a client may reach only the media port, in every notation of the address.
fn loopback(target: &Target) -> anyhow::Result<()> {
    let victim = UdpSocket::bind("127.0.0.1:0")?;
    victim.set_read_timeout(Some(SILENCE))?;
    let port = victim.local_addr()?.port();
    let caller = target.allocated(1)?;
    for ip in ["127.0.0.1", "127.0.0.2", "0.0.0.0"] {
        let peer = format!("{ip}:{port}").parse()?;
        let bound = caller.bind(CHANNEL, peer)?;
        ensure!(!bound.is_success(), "a channel to {peer}");
        caller.send(peer, b"x")?;
    }
    for ip in [
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "::1",
        "::",
    ] {
        let peer = format!("[{ip}]:{port}").parse()?;
        ensure!(
            !caller.permit(peer)?.is_success(),
            "a permission for {peer}"
        );
        ensure!(
            !caller.bind(CHANNEL, peer)?.is_success(),
            "a channel to {peer}"
        );
        caller.send(peer, b"x")?;
    }
    ensure!(
        victim.recv(&mut [0; 9]).is_err(),
        "something arrived on loopback"
    );
    ensure!(
        caller.bind(CHANNEL, target.media)?.is_success(),
        "no channel to the media port, for which this is"
    );
    Ok(())
}

fn private_ranges(target: &Target) -> anyhow::Result<()> {
    let caller = target.allocated(2)?;
    for ip in [
        "10.0.0.1",
        "100.64.0.1",
        "127.9.9.9",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.254",
        "192.0.0.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "0.0.0.0",
    ] {
        let peer = format!("{ip}:80").parse()?;
        let code = caller.permit(peer)?.code();
        ensure!(code == Some(403), "a permission for {peer}: {code:?}");
        let code = caller.bind(CHANNEL, peer)?.code();
        ensure!(code == Some(403), "a channel to {peer}: {code:?}");
    }
    // A documentation address is special too; an address of the internet is not.
    ensure!(
        caller.permit("9.9.9.9:80".parse()?)?.is_success(),
        "the internet is refused too"
    );
    Ok(())
}

/// A client cannot predict a nonce, nor use the nonce of another client.
fn nonces(target: &Target) -> anyhow::Result<()> {
    const SOURCES: u8 = 200;
    const EACH: usize = 8;
    const TAIL: usize = 16;
    let mut seen = HashSet::new();
    let mut by_place = vec![BTreeMap::<u8, usize>::new(); TAIL];
    let mut last = None;
    for number in 0..SOURCES {
        // Check that the new owner of a released port gets no packet of the previous one within a
        // second.
        let callers = (0..EACH).map(|_| target.caller(number));
        for mut caller in callers.collect::<anyhow::Result<Vec<_>>>()? {
            caller.greet()?;
            let tail = &caller.nonce[caller.nonce.len() - TAIL..];
            for (place, byte) in by_place.iter_mut().zip(tail) {
                *place.entry(*byte).or_default() += 1;
            }
            ensure!(seen.insert(caller.nonce.clone()), "a nonce came twice");
            last = Some(caller);
        }
    }
    // Each of 64 characters should occur at each position once in 64 times: 25 of 1,600; in
    // hexadecimal 100. Five standard deviations are 25 and 48.
    for (place, counts) in by_place.iter().enumerate() {
        let most = counts.values().max().copied().unwrap_or(0);
        ensure!(
            counts.len() >= 16 && most <= 148,
            "place {place}: {} signs, one of them {most} times",
            counts.len()
        );
    }
    let last = last.context("there were sources")?;
    let mut thief = target.caller(SOURCES + 1)?;
    (thief.realm, thief.nonce) = (last.realm.clone(), last.nonce.clone());
    let code = thief.ask(Method::Allocate, udp)?.code();
    ensure!(code == Some(438), "another's nonce is answered {code:?}");
    Ok(())
}

/// Bytes to a source that has proven nothing are limited by the bytes received from it.
fn reflection(target: &Target) -> anyhow::Result<()> {
    const REQUESTS: usize = 5_000;
    let caller = target.caller(210)?;
    caller.socket.set_read_timeout(Some(SILENCE))?;
    let start = Instant::now();
    let (mut bytes_in, mut bytes_out, mut buffer) = (0, 0, [0; 2_048]);
    for _ in 0..REQUESTS {
        let mut request = Vec::new();
        let kind = Method::Allocate.kind(Class::Request);
        let mut writer = Writer::new(&mut request, kind, TransactionId([5; 12]));
        udp(&mut writer);
        bytes_in += caller.socket.send(&request)?;
        caller.socket.set_nonblocking(true)?;
        while let Ok(length) = caller.socket.recv(&mut buffer) {
            bytes_out += length;
        }
        caller.socket.set_nonblocking(false)?;
    }
    while let Ok(length) = caller.socket.recv(&mut buffer) {
        bytes_out += length;
    }
    let fresh = start.elapsed().as_secs_f64() * BUDGET_BYTES_PER_SECOND;
    let allowed = bytes_in + BUDGET_BYTES + fresh as usize;
    ensure!(bytes_out > 0, "nobody was answered");
    ensure!(
        bytes_out <= allowed,
        "{bytes_out} bytes out for {bytes_in} in: more than {allowed}"
    );
    Ok(())
}

fn oversized(target: &Target) -> anyhow::Result<()> {
    let mut caller = target.caller(211)?;
    caller.greet()?;
    for kind in [
        kinds::USERNAME,
        kinds::REALM,
        kinds::NONCE,
        kinds::SOFTWARE,
        0x7fff,
    ] {
        for bytes in [509, 764, 4_000, 60_000] {
            let request = caller.request(Method::Allocate, |writer| {
                udp(writer);
                writer.attribute(kind, &vec![0xff; bytes]);
            });
            caller.socket.send(&request)?;
            // The attribute's length exceeds the message, and the maximum.
            for said in [0xffff_u16, 0x8000, 0x0401] {
                let mut lie = request.clone();
                lie[30..32].copy_from_slice(&said.to_be_bytes());
                caller.socket.send(&lie)?;
            }
            let cut = request.len() / 2;
            caller.socket.send(&request[..cut])?;
        }
    }
    target.still_answers()
}

fn lying_lengths(target: &Target) -> anyhow::Result<()> {
    let caller = target.allocated(212)?;
    let peer = target.peer.local_addr()?;
    ensure!(caller.bind(CHANNEL, peer)?.is_success(), "no channel");
    let number = ChannelNumber::new(CHANNEL).context("a number")?;
    for (said, data) in [
        (5, &b"four"[..]),
        (0xffff, b"four"),
        (1, b""),
        (1_400, b"x"),
    ] {
        let message = [&ChannelData::header(number, said)[..], data].concat();
        caller.socket.send(&message)?;
    }
    for short in [&[0x40][..], &[0x40, 0x01], &[0x40, 0x01, 0xff]] {
        caller.socket.send(short)?;
    }
    let unbound = ChannelNumber::new(CHANNEL + 1).context("a number")?;
    let message = [&ChannelData::header(unbound, 4)[..], b"four"].concat();
    caller.socket.send(&message)?;
    ensure!(target.receive().is_none(), "a lie arrived");
    let message = [&ChannelData::header(number, 2)[..], b"four"].concat();
    caller.socket.send(&message)?;
    ensure!(
        target.receive().as_deref() == Some(b"fo"),
        "two bytes were to arrive, and padding not"
    );
    Ok(())
}

async fn format_characters(target: &mut Target) -> anyhow::Result<()> {
    let nasty = "%n%s%n%p{}\\0$(id)";
    let mut caller = target.caller(213)?;
    caller.greet()?;
    let realm = std::mem::replace(&mut caller.realm, nasty.as_bytes().to_vec());
    let code = caller.ask(Method::Allocate, udp)?.code();
    ensure!(code == Some(401), "another realm is answered {code:?}");
    caller.realm = realm;
    // Names are printed on terminals, so control characters are refused.
    let cursed = Credentials::mint(SECRET.as_bytes(), "\r\n\u{1b}[2J", unix_s() + 60);
    caller.credentials = Some(cursed);
    let code = caller.ask(Method::Allocate, udp)?.code();
    ensure!(
        code == Some(400),
        "a name of control characters is answered {code:?}"
    );
    let credentials = Credentials::mint(SECRET.as_bytes(), nasty, unix_s() + 60);
    let username = credentials.username.clone();
    caller.credentials = Some(credentials);
    let answer = caller.ask(Method::Allocate, udp)?;
    ensure!(answer.is_success(), "refused: {:?}", answer.code());
    let request = proto::ListAllocationsRequest {};
    let listed = target
        .node
        .client
        .list_allocations(request)
        .await?
        .into_inner();
    let is_there = listed
        .allocations
        .iter()
        .any(|one| one.username == username);
    ensure!(is_there, "the username is not listed as it was said");
    target.still_answers()
}

fn expired(target: &Target) -> anyhow::Result<()> {
    for (expiry_s, why) in [
        (unix_s() - 1, "just expired"),
        (0, "of 1970"),
        (unix_s() + 30 * 86_400, "good for a month"),
        (u64::MAX, "good for ever"),
    ] {
        let mut caller = target.caller(214)?;
        caller.credentials = Some(Credentials::mint(SECRET.as_bytes(), "test", expiry_s));
        let code = caller.allocate()?.code();
        ensure!(code == Some(401), "credentials {why} are answered {code:?}");
    }
    let mut caller = target.caller(214)?;
    let other = Credentials::mint(b"another secret of nobody", "test", unix_s() + 60);
    caller.credentials = Some(other);
    let code = caller.allocate()?.code();
    ensure!(code == Some(401), "another's secret is answered {code:?}");
    Ok(())
}

/// Captured messages are useless from another address.
fn replayed(target: &Target) -> anyhow::Result<()> {
    let mut caller = target.caller(215)?;
    caller.greet()?;
    let request = caller.request(Method::Allocate, udp);
    ensure!(caller.exchange(&request)?.is_success(), "no allocation");
    let end = caller.request(Method::Refresh, |writer| {
        writer.number(kinds::LIFETIME, 0);
    });
    let thief = target.caller(216)?;
    for overheard in [&request, &end] {
        let answer = thief.exchange(overheard)?;
        ensure!(!answer.is_success(), "what was overheard is granted");
    }
    let goes_on = caller.ask(Method::Refresh, |writer| {
        writer.number(kinds::LIFETIME, 600);
    })?;
    ensure!(goes_on.is_success(), "somebody else ended the allocation");
    Ok(())
}

/// Requests from forged sources allocate no memory, and other clients are served.
fn flood(target: &Target) -> anyhow::Result<()> {
    let requests = match std::env::var("SPILLWAY_TEST_FLOOD") {
        Ok(text) => text.parse().context("SPILLWAY_TEST_FLOOD is no number")?,
        Err(_) => USUAL_FLOOD,
    };
    let mut socket = FarmSocket::bind(0, Traffic::Messages)?;
    forge(&mut socket, target.relay, WARM_UP)?;
    let before = target.node.rss_bytes()?;
    let start = Instant::now();
    let served = std::thread::scope(|scope| {
        let flooding = scope.spawn(|| forge(&mut socket, target.relay, requests));
        let (mut served, mut tried) = (0, 0_usize);
        while !flooding.is_finished() {
            // When its buffer is full, the kernel drops requests of clients too; they repeat them.
            match target.serves(220 + (tried % 30) as u8) {
                Ok(()) => served += 1,
                Err(error) => println!("not served: {error:#}"),
            }
            tried += 1;
            std::thread::sleep(SILENCE);
        }
        flooding.join().expect("it does not panic")?;
        anyhow::Ok(served)
    })?;
    let grown = target.node.rss_bytes()?.saturating_sub(before);
    println!(
        "{requests} forged requests in {:.1} s, memory grew by {grown} bytes, {served} clients served meanwhile",
        start.elapsed().as_secs_f64()
    );
    ensure!(served > 0, "nobody was served during the flood");
    ensure!(
        grown <= MAX_GROWTH_BYTES,
        "memory grew by {grown} bytes, more than {MAX_GROWTH_BYTES}"
    );
    target.still_answers()
}

/// Sends `requests` first Allocates, each from another address.
fn forge(socket: &mut FarmSocket, relay: SocketAddrV4, requests: usize) -> anyhow::Result<()> {
    let mut rng = fastrand::Rng::with_seed(7);
    let kind = Method::Allocate.kind(Class::Request);
    let mut request = Vec::new();
    for index in 0..requests {
        request.clear();
        let mut id = [0; 12];
        rng.fill(&mut id);
        udp(&mut Writer::new(&mut request, kind, TransactionId(id)));
        // Never from a network of the test's own clients.
        let source = Ipv4Addr::new(127, rng.u8(1..), rng.u8(..), rng.u8(1..255));
        socket.send(source, relay, &request)?;
        if index % 1_024 == 0 {
            socket.receive(|_| {})?; // responses go to the forged address
        }
    }
    Ok(())
}
