//! Names of rooms and identities: a name is never changed into another one.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fixtures::{ADMIN_TOKEN, Rows, TestServers};
use super::signaling_client::{SignalingSocket, claims, encoded, get, sign};

/// Room names as a user types them.
const ROOMS: [&str; 16] = [
    "Συμβούλιο",
    "Совет директоров",
    "会議室",
    "اجتماع",
    "ישיבה",
    "परिषद",
    "ประชุม",
    "회의실",
    "lobby",
    "Zoë",
    "a/b",
    "a%2Fb",
    "{tag}x",
    "..",
    "?room=x#y",
    "🎉",
];

const IDENTITIES: [&str; 7] = [
    "a+b@example.com",
    "auth0|5f7c8ec7c33c6c004bbafe82",
    "google-oauth2|103547991597142817347",
    "https://issuer.example/users/7?tenant=1",
    "uid=ann,ou=people,dc=example",
    "DOMAIN\\ann smith",
    "Ζωή",
];

/// Invalid names, and parts of the errors.
const REFUSED: [(&str, &str); 11] = [
    ("", "is empty"),
    ("a\u{0}", "U+0000"),
    ("a\nb", "U+000A"),
    ("a\u{200b}b", "U+200B"),
    ("\u{202e}evil", "U+202E"),
    ("a\u{2028}b", "U+2028"),
    ("a\u{e000}", "U+E000"),
    ("a\u{fffd}", "U+FFFD"),
    (" a", "white space"),
    ("a\u{a0}", "white space"),
    ("a\u{378}", "U+0378"),
];

pub(super) async fn rows(servers: &TestServers, rows: &mut Rows) -> anyhow::Result<()> {
    let url = &servers.server.url;
    let mut kept = Vec::new();
    let mut histories = BTreeSet::new();
    for room in ROOMS {
        let (talk, joined) = SignalingSocket::join(url, &sign(&claims(room, "ann"))?).await?;
        rows.same(
            "room of any script",
            room,
            (joined["room"].as_str(), Some(room)),
        );
        histories.insert(joined["epoch"].to_string());
        kept.push(talk);
    }
    rows.same(
        "rooms stay apart",
        "all of them",
        (histories.len(), ROOMS.len()),
    );
    for room in ROOMS {
        let path = format!("{url}/v1/admin/rooms/{}", encoded(room.as_bytes()));
        let bearer = format!("Bearer {ADMIN_TOKEN}");
        let (status, _, text) = get(&path, &[("authorization", &bearer)])?;
        let shown: Value = serde_json::from_str(&text).unwrap_or_default();
        let found = (status, shown["room"].as_str());
        rows.same("room in a path", room, (found, (200, Some(room))));
        let output = super::cli::ask(url, &["room", "show", "--json", "--", room])?;
        let shown: Value = serde_json::from_str(&output.out).unwrap_or_default();
        rows.same(
            "room at the command line",
            room,
            (shown["room"].as_str(), Some(room)),
        );
    }
    for (typed, room) in [("Zoe\u{308}", "Zoë"), ("\u{1112}\u{116c}", "회")] {
        let (_talk, joined) = SignalingSocket::join(url, &sign(&claims(typed, "bob"))?).await?;
        rows.same(
            "equivalent spellings are one",
            room,
            (joined["room"].as_str(), Some(room)),
        );
    }
    for identity in IDENTITIES {
        let (_talk, joined) = SignalingSocket::join(url, &sign(&claims("r", identity))?).await?;
        let found = joined["identity"].as_str();
        rows.same("identity of a provider", identity, (found, Some(identity)));
    }
    refusals(url, rows).await
}

async fn refusals(url: &str, rows: &mut Rows) -> anyhow::Result<()> {
    let long = "界".repeat(171);
    let long = [(&*long, "513 bytes in UTF-8, the limit is 512")];
    for (name, said) in REFUSED.into_iter().chain(long) {
        let shown = name.escape_unicode().to_string();
        for (what, claims) in [
            ("room", claims(name, "ann")),
            ("identity", claims("r", name)),
        ] {
            let (_talk, refused) = SignalingSocket::join(url, &sign(&claims)?).await?;
            let kind = "refused name in a token";
            let text = refused["message"].as_str().unwrap_or_default();
            rows.says(kind, &shown, (text, said));
            rows.says(kind, &shown, (text, what));
            rows.same(
                kind,
                &shown,
                (refused["code"].as_str(), Some("token_invalid")),
            );
        }
        let query = format!("room={}&identity=ann", encoded(name.as_bytes()));
        let (status, _, text) = get(&format!("{url}/v1/demo/token?{query}"), &[])?;
        rows.same("refused name at the page's door", &shown, (status, 400));
        rows.says("refused name at the page's door", &shown, (&text, said));
    }
    for bytes in [&b"\xff"[..], b"\xed\xa0\xbd", b"a\xc3"] {
        let query = format!("room={}&identity=ann", encoded(bytes));
        let (_, _, text) = get(&format!("{url}/v1/demo/token?{query}"), &[])?;
        rows.says("bytes that are no text", &query, (&text, "is not UTF-8"));
    }
    Ok(())
}
