//! TURN usernames, as backends for coturn create them.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use spillway_bench::turn::client::Credentials;
use spillway_tests::turn::{TurnCaller, unix_s};

use super::fixtures::{Rows, TURN_SECRET, TestServers};

pub(super) async fn rows(servers: &mut TestServers, rows: &mut Rows) -> anyhow::Result<()> {
    let urls = servers.media.node().await?.turn_urls;
    let url = urls
        .iter()
        .find(|url| url.ends_with("udp"))
        .context("no TURN over UDP")?;
    let relay = url
        .trim_start_matches("turn:")
        .split('?')
        .next()
        .unwrap_or_default();
    let relay: SocketAddr = relay.parse()?;
    let end = unix_s() + 300;
    for (kind, username, secret, code) in [
        (
            "an expiry and a user",
            format!("{end}:ann"),
            TURN_SECRET,
            None,
        ),
        (
            "an expiry and a user",
            format!("{end}:a:b"),
            TURN_SECRET,
            None,
        ),
        ("an expiry and a user", format!("{end}:"), TURN_SECRET, None),
        ("an expiry alone", end.to_string(), TURN_SECRET, None),
        ("an expiry alone", format!("0{end}"), TURN_SECRET, None),
        (
            "an expiry alone",
            (end - 600).to_string(),
            TURN_SECRET,
            Some(401),
        ),
        (
            "an expiry alone",
            end.to_string(),
            "another-secret-of-some",
            Some(401),
        ),
        (
            "an expiry alone",
            (end + 90_000).to_string(),
            TURN_SECRET,
            Some(401),
        ),
        ("no expiry", format!("{end}x"), TURN_SECRET, Some(401)),
        ("no expiry", "ann".to_owned(), TURN_SECRET, Some(401)),
    ] {
        let row = username.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let mut caller = TurnCaller::new(relay, Ipv4Addr::LOCALHOST)?;
            caller.credentials = Some(Credentials::of(secret.as_bytes(), username));
            caller.allocate()
        });
        rows.same(kind, &row, (answer.await??.code(), code));
    }
    Ok(())
}
