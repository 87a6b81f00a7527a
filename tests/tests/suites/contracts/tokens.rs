//! Tokens of RFC 7519; an error names the claim.

use serde_json::{Value, json};
use spillway_tests::turn::unix_s;

use super::fixtures::{Rows, TestServers};
use super::signaling_client::{SignalingSocket, claims, sign, sign_text};

pub(super) async fn rows(servers: &TestServers, rows: &mut Rows) -> anyhow::Result<()> {
    let url = &servers.server.url;
    let now = unix_s() as f64;
    for (kind, claim, value) in good(now) {
        // Each row has its own room, because joins of an identity in a room have a budget.
        let mut claims = claims(&format!("tokens {claim} {value}"), "ann");
        claims[claim] = value.clone();
        let (_talk, joined) = SignalingSocket::join(url, &sign(&claims)?).await?;
        let row = format!("{claim} {value}: {joined}");
        rows.same(kind, &row, (joined["type"].as_str(), Some("joined")));
    }
    for (claim, value) in [
        ("canPublish", Value::Null),
        ("canPublishSources", Value::Null),
        ("hidden", Value::Null),
    ] {
        let mut claims = claims(&format!("tokens {claim}"), "ann");
        claims["video"][claim] = value;
        let (_talk, joined) = SignalingSocket::join(url, &sign(&claims)?).await?;
        rows.same(
            "null is absence",
            claim,
            (joined["type"].as_str(), Some("joined")),
        );
    }
    let whole = claims("tokens", "ann").to_string();
    for (kind, from, to) in [
        ("half an emoji in a claim", "{", r#"{"name":"A\ud83d","#),
        ("claims that come twice", "{", r#"{"exp":1,"iss":"other","#),
        (
            "names of claims that are escaped",
            r#""sub""#,
            r#""\u0073ub""#,
        ),
    ] {
        let token = sign_text(whole.replacen(from, to, 1))?;
        let (_talk, joined) = SignalingSocket::join(url, &token).await?;
        rows.same(kind, to, (joined["type"].as_str(), Some("joined")));
    }
    for (pointer, value, code, said) in bad(now) {
        let mut claims = claims("tokens", "ann");
        *claims.pointer_mut(pointer).expect("it is a claim") = value;
        refused(url, rows, (&claims, code, said)).await?;
    }
    for (claim, value, said) in [
        ("nbf", json!(now + 90.0), "it is not valid yet"),
        ("nbf", json!("x"), "nbf is a string"),
        ("iat", json!({}), "iat is an object"),
        ("aud", json!(7), "aud is a number"),
    ] {
        let mut claims = claims("tokens", "ann");
        claims[claim] = value;
        refused(url, rows, (&claims, "token_invalid", said)).await?;
    }
    Ok(())
}

async fn refused(
    url: &str,
    rows: &mut Rows,
    (claims, code, said): (&Value, &str, &str),
) -> anyhow::Result<()> {
    let (_talk, refused) = SignalingSocket::join(url, &sign(claims)?).await?;
    let kind = "the claim that is wrong is named";
    rows.same(kind, said, (refused["code"].as_str(), Some(code)));
    rows.says(
        kind,
        said,
        (refused["message"].as_str().unwrap_or_default(), said),
    );
    Ok(())
}

/// Kind, claim and value.
fn good(now: f64) -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("date with a fraction", "exp", json!(now + 650.25)),
        ("date with a fraction", "nbf", json!(now - 0.5)),
        ("date with a fraction", "iat", json!(now - 0.25)),
        ("date with an exponent", "exp", json!(4.1e9)),
        ("null is absence", "nbf", Value::Null),
        ("null is absence", "iat", Value::Null),
        ("null is absence", "aud", Value::Null),
        ("null is absence", "name", Value::Null),
        ("clocks may differ", "exp", json!(now - 50.0)),
        ("clocks may differ", "nbf", json!(now + 50.0)),
        ("clocks may differ", "iat", json!(now + 50.0)),
        ("audience of any form", "aud", json!("x")),
        ("audience of any form", "aud", json!(["x", "y"])),
        ("unknown claims", "jti", json!(7)),
        ("unknown claims", "metadata", json!({"exp": "x"})),
    ]
}

/// Claim, value, error code, and a part of the error.
fn bad(now: f64) -> Vec<(&'static str, Value, &'static str, &'static str)> {
    vec![
        (
            "/exp",
            json!("soon"),
            "token_invalid",
            "exp is a string, a number of seconds",
        ),
        ("/exp", Value::Null, "token_invalid", "exp is missing"),
        ("/exp", json!(now - 70.0), "token_expired", "expired 7"),
        ("/exp", json!(now - 70.5), "token_expired", "expired 7"),
        ("/sub", Value::Null, "token_invalid", "sub is missing"),
        ("/sub", json!(7), "token_invalid", "sub is a number"),
        ("/video", Value::Null, "token_invalid", "video is missing"),
        (
            "/video/room",
            json!("a\u{7}"),
            "token_invalid",
            "video.room: room has U+0007",
        ),
        (
            "/video/room",
            Value::Null,
            "token_invalid",
            "video.room: room is empty",
        ),
        (
            "/video/roomJoin",
            json!("yes"),
            "token_invalid",
            "video.roomJoin is a string",
        ),
        ("/video/roomJoin", Value::Null, "not_permitted", "roomJoin"),
        (
            "/iss",
            json!("other"),
            "token_invalid",
            "iss is not one of our",
        ),
    ]
}
