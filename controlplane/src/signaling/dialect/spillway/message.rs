//! Parses a message of a client. The result is a [`ClientMessage`] within all limits, or an error.
//!
//! Whether the message fits the state of the session or the room is checked there.

use serde::Deserialize;
use serde_json::Value;

use super::check;
use super::request::Request;
use super::strict::Tagged;
use crate::json;
use crate::room::{ErrorCode, Refusal};

/// A parsed message within all limits.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientMessage {
    /// Id for the reply; `None`: no reply.
    pub id: Option<u32>,
    /// The request of the client.
    pub request: Request,
}

/// A message that cannot be parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Undecodable {
    /// Id of the message, if it could be read; repeated in the error.
    pub id: Option<u32>,
    /// Error code and message for the client.
    pub refusal: Refusal,
}

/// Stage of a session. It decides which message types are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before `join`: only `join` and `ping` are accepted.
    BeforeJoin,
    /// After `join`: all message types are accepted.
    Joined,
}

/// Message types that are accepted before `join`.
const FIRST: [&str; 2] = ["join", "ping"];
/// Message types that are accepted only after `join`.
const LATER: [&str; 9] = [
    "offer",
    "answer",
    "candidate",
    "subscribe",
    "unsubscribe",
    "mute",
    "message",
    "ice_servers",
    "leave",
];

/// Parses a message of a client that has joined.
pub fn decode(text: &str) -> Result<ClientMessage, Undecodable> {
    decode_at(text, Stage::Joined)
}

/// Parses a message. The work is linear in its size: lists are counted before their items are
/// parsed, and items are not compared with each other.
pub fn decode_at(text: &str, stage: Stage) -> Result<ClientMessage, Undecodable> {
    let refuse = |id, refusal| Undecodable { id, refusal };
    let bad = |id, message: String| refuse(id, Refusal::new(ErrorCode::BadMessage, message));
    let value = json::parse(text).map_err(|error| bad(json::id_of(text), error.to_string()))?;
    let Value::Object(mut fields) = value else {
        return Err(bad(None, "not a JSON object".to_owned()));
    };
    let id = match fields.remove("id") {
        None => None,
        Some(id) => match id
            .as_number()
            .and_then(json::whole)
            .and_then(|id| u32::try_from(id).ok())
        {
            Some(id) => Some(id),
            None => {
                let said = format!("id {id} is outside 0..={}", u32::MAX);
                return Err(bad(None, shortened(said)));
            }
        },
    };
    let name = match fields.remove("type") {
        Some(Value::String(name)) => name,
        Some(_) => return Err(bad(id, "invalid type: `type` is not a string".to_owned())),
        None => return Err(bad(id, "missing field `type`".to_owned())),
    };
    if stage == Stage::BeforeJoin && !FIRST.contains(&&*name) && LATER.contains(&&*name) {
        let said = format!("the first message must be join, not {name}");
        return Err(refuse(id, Refusal::new(ErrorCode::NotJoined, said)));
    }
    check::counts(&name, &fields).map_err(|refusal| refuse(id, refusal))?;
    let request = Request::deserialize(Tagged { name, fields })
        .map_err(|error| bad(id, shortened(error.to_string())))?;
    match check::contents(&request) {
        Ok(()) => Ok(ClientMessage { id, request }),
        Err(refusal) => Err(refuse(id, refusal)),
    }
}

/// Shortens an error. Serde quotes text of the client in errors, which may be long.
fn shortened(message: String) -> String {
    const CHARS: usize = 300;
    match message.char_indices().nth(CHARS) {
        None => message,
        Some((end, _)) => format!("{}…", &message[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> (Option<u32>, ErrorCode, String) {
        let undecodable = decode(text).unwrap_err();
        let Refusal { code, message, .. } = undecodable.refusal;
        (undecodable.id, code, message)
    }

    #[test]
    fn a_message_has_a_type_and_perhaps_an_id() {
        let ping = decode(r#"{"type":"ping","id":7}"#).unwrap();
        assert_eq!((ping.id, ping.request), (Some(7), Request::Ping {}));
        assert_eq!(decode(r#"{"type":"leave"}"#).unwrap().id, None);
        let join = decode(r#"{"type":"join","token":"t"}"#).unwrap();
        let Request::Join(join) = join.request else {
            panic!("not a join: {join:?}")
        };
        assert!(join.auto_subscribe);
        assert!(!format!("{join:?}").contains("\"t\""));
    }

    #[test]
    fn unknown_types_fields_and_shapes_are_named() {
        for (text, said) in [
            ("nonsense", "not JSON"),
            ("[]", "not a JSON object"),
            ("{}", "missing field `type`"),
            (r#"{"type":"dance"}"#, "unknown variant `dance`"),
            (r#"{"type":"ping","extra":1}"#, "unknown field `extra`"),
            (r#"{"type":"leave","extra":1}"#, "unknown field `extra`"),
            (
                r#"{"type":"ice_servers","extra":1}"#,
                "unknown field `extra`",
            ),
            (r#"{"type":"join"}"#, "missing field `token`"),
            (
                r#"{"type":"join","token":"t","extra":1}"#,
                "unknown field `extra`",
            ),
            (
                r#"{"type":"mute","track":"x","muted":true}"#,
                "track 'x' is not TR_",
            ),
            (r#"{"type":"ping","id":-1}"#, "id -1 is outside"),
            (
                r#"{"type":"ping","id":4294967296}"#,
                "id 4294967296 is outside",
            ),
        ] {
            let (_, code, message) = refusal(text);
            assert_eq!(code, ErrorCode::BadMessage, "{text}");
            assert!(message.contains(said), "{text}: {message}");
        }
    }

    #[test]
    fn the_error_carries_the_id_of_the_message() {
        let deep = format!(
            r#"{{"id":9,"type":"message","payload":{}}}"#,
            "[".repeat(500)
        );
        for text in [
            r#"{"type":"dance","id":9}"#,
            r#"{"type":"ping","id":9,}"#,
            r#"{"type":"ping","id":9"x"}"#,
            r#"{"type":"answer","id":9,"revision":1e400}"#,
            &deep,
        ] {
            let (id, code, said) = refusal(text);
            assert_eq!(
                (id, code),
                (Some(9), ErrorCode::BadMessage),
                "{text}: {said}"
            );
        }
        assert!(refusal(&deep).2.contains("nested deeper than 127"));
    }

    #[test]
    fn texts_and_numbers_are_those_of_json() {
        let half =
            decode(r#"{"type":"message","topic":"t","payload":{"text":"hi \ud83d"}}"#).unwrap();
        let Request::Message { payload, .. } = half.request else {
            panic!("not a message");
        };
        assert_eq!(payload, serde_json::json!({"text": "hi \u{fffd}"}));
        let answer = decode(r#"{"type":"answer","id":7.0,"revision":1e1,"sdp":""}"#).unwrap();
        assert_eq!(answer.id, Some(7));
        assert!(matches!(
            answer.request,
            Request::Answer { revision: 10, .. }
        ));
        assert!(decode(r#"{"type":"answer","revision":1.5,"sdp":""}"#).is_err());
        assert!(decode("\u{feff}{\"type\":\"ping\"}").is_ok());
    }

    #[test]
    fn a_thousand_m_lines_are_refused_with_the_limit() {
        let sdp = "m=video 9 UDP/TLS/RTP/SAVPF 96\\r\\n".repeat(1000);
        let (_, code, message) =
            refusal(&format!(r#"{{"type":"offer","sdp":"{sdp}","tracks":[]}}"#));
        assert_eq!(code, ErrorCode::BadSdp);
        assert_eq!(message, "offer has 1000 m-lines, the limit is 64");
    }

    #[test]
    fn payloads_topics_and_errors_are_bounded() {
        let large = format!(
            r#"{{"type":"message","topic":"t","payload":"{}"}}"#,
            "x".repeat(8191)
        );
        assert_eq!(refusal(&large).1, ErrorCode::TooLarge);
        let topic = format!(
            r#"{{"type":"message","topic":"{}","payload":1}}"#,
            "ä".repeat(65)
        );
        assert!(
            refusal(&topic)
                .2
                .contains("topic has 65 characters, the limit is 64")
        );
        let unknown = format!(r#"{{"type":"{}"}}"#, "ü".repeat(10_000));
        assert!(refusal(&unknown).2.len() < 1000);
    }

    fn offer(tracks: &str) -> String {
        format!(r#"{{"type":"offer","sdp":"","tracks":[{tracks}]}}"#)
    }

    #[test]
    fn arrays_are_no_structs_and_objects_no_names_at_any_depth() {
        let good =
            r#"{"mid":"0","kind":"video","source":"camera","layers":[{"rid":"q","height":1}]}"#;
        assert!(decode(&offer(good)).is_ok());
        let participant = "PA_0123456789abcdef";
        let track = "TR_0123456789abcdef";
        for text in [
            offer(r#"["0","video","camera"]"#),
            offer(r#"{"mid":"0","kind":"video","source":"camera","layers":[["q",1]]}"#),
            offer(r#"{"mid":"0","kind":{"video":null},"source":"camera"}"#),
            offer(r#"{"mid":"0","kind":"video","source":{"camera":null}}"#),
            r#"["ping"]"#.to_owned(),
            r#"{"type":{"ping":{}}}"#.to_owned(),
            format!(r#"{{"type":"subscribe","tracks":[["{track}"]]}}"#),
            format!(r#"{{"type":"unsubscribe","tracks":{{"0":"{track}"}}}}"#),
            r#"{"type":"candidate","pc":{"publish":null},"candidate":"candidate:1"}"#.to_owned(),
            format!(r#"{{"type":"join","token":"t","resume":["{participant}","e",1,"k"]}}"#),
            r#"{"type":"message","topic":["t"],"payload":1}"#.to_owned(),
        ] {
            let (_, code, message) = refusal(&text);
            assert_eq!(code, ErrorCode::BadMessage, "{text}: {message}");
        }
    }

    #[test]
    fn lists_are_counted_before_their_items_are_read() {
        // The items are invalid: if they were parsed first, the error would be another one.
        let many = |count: usize| vec!["0"; count].join(",");
        for (text, code, said) in [
            (
                offer(&many(65)),
                ErrorCode::TooManyTracks,
                "offer names 65 tracks, the limit is 64",
            ),
            (
                format!(r#"{{"type":"subscribe","tracks":[{}]}}"#, many(1_001)),
                ErrorCode::TooManyTracks,
                "message names 1001 tracks, the limit is 1000",
            ),
            (
                format!(r#"{{"type":"unsubscribe","tracks":[{}]}}"#, many(1_001)),
                ErrorCode::TooManyTracks,
                "message names 1001 tracks, the limit is 1000",
            ),
            (
                format!(
                    r#"{{"type":"message","topic":"t","payload":1,"to":[{}]}}"#,
                    many(101)
                ),
                ErrorCode::TooLarge,
                "message names 101 recipients, the limit is 100",
            ),
            (
                offer(&format!(r#"{{"mid":0,"layers":[{}]}}"#, many(4))),
                ErrorCode::BadMessage,
                "track has 4 layers, the limit is 3",
            ),
        ] {
            let (_, found, message) = refusal(&text);
            assert_eq!((found, &*message), (code, said), "{text}");
        }
    }

    #[test]
    fn before_join_nothing_else_is_read() {
        let first = |text: &str| decode_at(text, Stage::BeforeJoin);
        assert!(first(r#"{"type":"ping","id":1}"#).is_ok());
        assert!(first(r#"{"type":"join","token":"t"}"#).is_ok());
        // The fields are invalid too, but are not parsed before `join`.
        for name in LATER {
            let refused = first(&format!(r#"{{"type":"{name}","id":3,"tracks":7}}"#)).unwrap_err();
            assert_eq!(
                (refused.id, refused.refusal.code),
                (Some(3), ErrorCode::NotJoined)
            );
            assert!(refused.refusal.message.contains(name));
        }
        let unknown = first(r#"{"type":"dance"}"#).unwrap_err();
        assert_eq!(unknown.refusal.code, ErrorCode::BadMessage);
    }

    #[test]
    fn every_type_is_read_before_or_after_join() {
        let refused = refusal(r#"{"type":"dance"}"#).2;
        let names = refused.split("expected one of ").nth(1).unwrap();
        let known = FIRST.iter().chain(&LATER).map(|name| format!("`{name}`"));
        let mut known: Vec<_> = known.collect();
        let mut names: Vec<_> = names.split(", ").map(str::to_owned).collect();
        known.sort();
        names.sort();
        assert_eq!(names, known);
    }

    #[test]
    fn an_offer_names_each_mid_once() {
        let track = r#"{"mid":"0","kind":"audio","source":"microphone"}"#;
        let twice = format!(r#"{{"type":"offer","sdp":"","tracks":[{track},{track}]}}"#);
        assert!(refusal(&twice).2.contains("mid '0' is named twice"));
    }
}
