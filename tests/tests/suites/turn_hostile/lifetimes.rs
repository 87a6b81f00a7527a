//! Allocations beyond their lifetime: with expired credentials, and after the secret was replaced.

use std::time::Duration;

use anyhow::ensure;
use spillway_bench::turn::client::Credentials;
use spillway_tests::clock::TimeLimit;
use spillway_tests::turn::{SECRET, TurnCaller, unix_s};
use spillway_wire::stun::{Method, kinds};

use super::target::Target;

/// The minimum lifetime (RFC 8656).
const LIFETIME_S: u64 = 600;
const TTL_S: u64 = 2;
const LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// An allocation ends at most one lifetime after its credentials.
pub(super) fn expired(target: &Target) -> anyhow::Result<()> {
    let mut caller = target.caller(221)?;
    let expiry_s = unix_s() + TTL_S;
    caller.credentials = Some(Credentials::mint(SECRET.as_bytes(), "test", expiry_s));
    caller.greet()?;
    let answer = caller.ask(Method::Allocate, |writer| {
        spillway_tests::turn::udp(writer);
        writer.number(kinds::LIFETIME, 3_600);
    })?;
    let granted = answer.get(kinds::LIFETIME);
    let granted = granted.and_then(|value| value.try_into().ok());
    let granted = granted.map(|value| u64::from(u32::from_be_bytes(value)));
    ensure!(
        granted.is_some_and(|granted| granted <= TTL_S + LIFETIME_S),
        "an hour is asked for, {granted:?} s are granted"
    );
    let refused = until_refused(&caller)?;
    ensure!(refused == Some(401), "a refresh is answered {refused:?}");
    ensure!(unix_s() >= expiry_s, "it was refused too early");
    let end = caller.ask(Method::Refresh, |writer| {
        writer.number(kinds::LIFETIME, 0);
    })?;
    ensure!(end.is_success(), "it cannot be ended: {:?}", end.code());
    Ok(())
}

/// An allocation made with the previous secret ends with its grace time.
pub(super) async fn rotated() -> anyhow::Result<()> {
    let new = "another secret of tests alone";
    let both = format!("{new},{SECRET}");
    let flags = ["--turn-secret", &both, "--turn-secret-grace-seconds", "3"];
    let target = Target::start(false, &flags).await?;
    let old = target.allocated(222)?;
    let mut renewed = target.caller(223)?;
    let credentials = Credentials::mint(new.as_bytes(), "test", unix_s() + 600);
    renewed.credentials = Some(credentials);
    ensure!(
        renewed.allocate()?.is_success(),
        "the new secret is refused"
    );
    let refused = until_refused(&old)?;
    ensure!(
        matches!(refused, Some(401 | 437)),
        "a refresh is answered {refused:?}"
    );
    let code = target.caller(224)?.allocate()?.code();
    ensure!(code == Some(401), "the old secret is answered {code:?}");
    let refreshed = refresh(&renewed)?;
    ensure!(refreshed.is_none(), "that of the new one: {refreshed:?}");
    Ok(())
}

/// Refreshes until a refresh is refused. Returns the error code; `None` after the time limit.
fn until_refused(caller: &TurnCaller) -> anyhow::Result<Option<u16>> {
    let limit_left = TimeLimit::new(LIMIT);
    loop {
        let code = refresh(caller)?;
        if code.is_some() || limit_left.is_over() {
            return Ok(code);
        }
        std::thread::sleep(PAUSE);
    }
}

/// The error code of a Refresh; `None` if it succeeds.
fn refresh(caller: &TurnCaller) -> anyhow::Result<Option<u16>> {
    let answer = caller.ask(Method::Refresh, |writer| {
        writer.number(kinds::LIFETIME, 600);
    })?;
    Ok(answer.code())
}
