//! What a client may say: text in, a checked [`ClientMessage`] or a named error out.
//!
//! Nothing here knows whether the message makes sense now; that is the session's and the room's part.

use serde::Deserialize;
use serde_json::Value;

use super::reply::{ErrorCode, Refusal};
use crate::ids::{Epoch, Half, Identity, ParticipantId, TrackId};
use crate::limits;
use crate::room::{Kind, Layer, Source};

/// A message and the number its reply must carry.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientMessage {
    /// Echoed in the reply.
    pub id: Option<u32>,
    /// What is asked.
    pub request: Request,
}

/// What a client asks; the fields are described in docs/protocol.md.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs)] // docs/protocol.md is their documentation
pub enum Request {
    Join(Join),
    Offer(Offer),
    Answer {
        revision: u64,
        sdp: String,
    },
    Candidate {
        pc: Half,
        candidate: String,
    },
    Subscribe {
        tracks: Vec<Wish>,
    },
    Unsubscribe {
        tracks: Vec<TrackId>,
    },
    Mute {
        track: TrackId,
        muted: bool,
    },
    Message {
        topic: String,
        payload: Value,
        #[serde(default)]
        to: Option<Vec<Identity>>,
    },
    IceServers {},
    Ping {},
    Leave {},
}

/// The first message of every socket.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // docs/protocol.md is their documentation
pub struct Join {
    pub token: String,
    #[serde(default = "yes")]
    pub auto_subscribe: bool,
    #[serde(default)]
    pub resume: Option<Resume>,
}

/// Where a returning client was.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // docs/protocol.md is their documentation
pub struct Resume {
    pub participant: ParticipantId,
    pub epoch: Epoch,
    pub offset: u64,
    pub key: String,
}

/// All the participant publishes from now on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // docs/protocol.md is their documentation
pub struct Offer {
    pub sdp: String,
    pub tracks: Vec<OfferedTrack>,
}

/// One m-line of an offer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // docs/protocol.md is their documentation
pub struct OfferedTrack {
    pub mid: String,
    pub kind: Kind,
    pub source: Source,
    #[serde(default)]
    pub track: Option<TrackId>,
    #[serde(default)]
    pub muted: bool,
    #[serde(default)]
    pub layers: Vec<Layer>,
}

/// How a track is wanted.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // docs/protocol.md is their documentation
pub struct Wish {
    pub track: TrackId,
    #[serde(default)]
    pub paused: bool,
    #[serde(default)]
    pub max_height: u32,
    #[serde(default)]
    pub priority: u8,
}

impl Request {
    /// The message's `type`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Join(_) => "join",
            Self::Offer(_) => "offer",
            Self::Answer { .. } => "answer",
            Self::Candidate { .. } => "candidate",
            Self::Subscribe { .. } => "subscribe",
            Self::Unsubscribe { .. } => "unsubscribe",
            Self::Mute { .. } => "mute",
            Self::Message { .. } => "message",
            Self::IceServers {} => "ice_servers",
            Self::Ping {} => "ping",
            Self::Leave {} => "leave",
        }
    }

    /// The most that one message counts as.
    pub const MOST: u32 = 5;

    /// How many messages of the client's rate it counts as: what makes work for the data plane or for
    /// the whole room counts more than what is for one.
    pub fn cost(&self) -> u32 {
        match self {
            Self::Offer(_) => Self::MOST,
            Self::Answer { .. } | Self::Subscribe { .. } | Self::Unsubscribe { .. } => 2,
            Self::Join(_)
            | Self::Candidate { .. }
            | Self::Mute { .. }
            | Self::Message { .. }
            | Self::IceServers {}
            | Self::Ping {}
            | Self::Leave {} => 1,
        }
    }
}

/// Tokens and keys stay out of logs.
impl std::fmt::Debug for Join {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let resume = self.resume.as_ref().map(|resume| &resume.participant);
        write!(
            f,
            "Join {{ auto_subscribe: {}, resume: {resume:?} }}",
            self.auto_subscribe
        )
    }
}

/// A refusal, with the `id` of the message if that much could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Undecodable {
    /// Echoed in the error.
    pub id: Option<u32>,
    /// What is wrong.
    pub refusal: Refusal,
}

/// Reads one text frame.
pub fn decode(text: &str) -> Result<ClientMessage, Undecodable> {
    let refuse = |id, code, message: String| Undecodable {
        id,
        refusal: Refusal::new(code, message),
    };
    let bad = |id, message: String| refuse(id, ErrorCode::BadMessage, message);
    let value: Value =
        serde_json::from_str(text).map_err(|error| bad(None, format!("not JSON: {error}")))?;
    let Value::Object(mut fields) = value else {
        return Err(bad(None, "not a JSON object".to_owned()));
    };
    let id = match fields.remove("id") {
        None => None,
        Some(id) => match id.as_u64().and_then(|id| u32::try_from(id).ok()) {
            Some(id) => Some(id),
            None => return Err(bad(None, format!("id {id} is outside 0..={}", u32::MAX))),
        },
    };
    let request = Request::deserialize(Value::Object(fields))
        .map_err(|error| bad(id, shortened(error.to_string())))?;
    match check(&request) {
        Ok(()) => Ok(ClientMessage { id, request }),
        Err(refusal) => Err(Undecodable { id, refusal }),
    }
}

fn check(request: &Request) -> Result<(), Refusal> {
    match request {
        Request::Offer(offer) => check_offer(offer),
        Request::Answer { sdp, .. } => check_m_lines(sdp, "answer", limits::ANSWER_M_LINES),
        Request::Candidate { candidate, .. } => within(
            (candidate.len(), limits::CANDIDATE_BYTES),
            ErrorCode::BadCandidate,
            "candidate has {} bytes",
        ),
        Request::Subscribe { tracks } => check_count(tracks.len()),
        Request::Unsubscribe { tracks } => check_count(tracks.len()),
        Request::Message { topic, payload, to } => {
            let topic_chars = topic.chars().count();
            within(
                (topic_chars, limits::TOPIC_CHARS),
                ErrorCode::TooLarge,
                "topic has {} characters",
            )?;
            within(
                (payload.to_string().len(), limits::PAYLOAD_BYTES),
                ErrorCode::TooLarge,
                "payload has {} bytes",
            )?;
            within(
                (to.as_ref().map_or(0, Vec::len), limits::MESSAGE_RECIPIENTS),
                ErrorCode::TooLarge,
                "message names {} recipients",
            )
        }
        Request::Join(_)
        | Request::Mute { .. }
        | Request::IceServers {}
        | Request::Ping {}
        | Request::Leave {} => Ok(()),
    }
}

fn check_count(tracks: usize) -> Result<(), Refusal> {
    within(
        (tracks, limits::SUBSCRIBE_TRACKS),
        ErrorCode::TooManyTracks,
        "message names {} tracks",
    )
}

fn check_offer(offer: &Offer) -> Result<(), Refusal> {
    check_m_lines(&offer.sdp, "offer", limits::OFFER_M_LINES)?;
    for (index, track) in offer.tracks.iter().enumerate() {
        check_label("mid", &track.mid)?;
        if offer.tracks[..index].iter().any(|t| t.mid == track.mid) {
            let message = format!("mid '{}' is named twice", track.mid);
            return Err(Refusal::new(ErrorCode::BadMessage, message));
        }
        within(
            (track.layers.len(), limits::TRACK_LAYERS),
            ErrorCode::BadMessage,
            "track has {} layers",
        )?;
        for layer in &track.layers {
            check_label("rid", &layer.rid)?;
            within(
                (layer.height as usize, limits::LAYER_HEIGHT as usize),
                ErrorCode::BadMessage,
                "layer has a height of {}",
            )?;
        }
    }
    Ok(())
}

fn check_label(what: &str, text: &str) -> Result<(), Refusal> {
    let length = text.len();
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    if printable && (1..=limits::MID_CHARS).contains(&length) {
        return Ok(());
    }
    let limit = limits::MID_CHARS;
    let message = format!("{what} of {length} bytes is not 1..={limit} printable ASCII characters");
    Err(Refusal::new(ErrorCode::BadMessage, message))
}

fn check_m_lines(sdp: &str, what: &str, limit: usize) -> Result<(), Refusal> {
    let m_lines = sdp.lines().filter(|line| line.starts_with("m=")).count();
    if m_lines <= limit {
        return Ok(());
    }
    let message = format!("{what} has {m_lines} m-lines, the limit is {limit}");
    Err(Refusal::new(ErrorCode::BadSdp, message))
}

fn within((value, limit): (usize, usize), code: ErrorCode, template: &str) -> Result<(), Refusal> {
    if value <= limit {
        return Ok(());
    }
    let said = template.replace("{}", &value.to_string());
    Err(Refusal::new(code, format!("{said}, the limit is {limit}")))
}

/// Serde quotes the client's text; an error must not be as long as what caused it.
fn shortened(message: String) -> String {
    const CHARS: usize = 300;
    match message.char_indices().nth(CHARS) {
        None => message,
        Some((end, _)) => format!("{}…", &message[..end]),
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> (Option<u32>, ErrorCode, String) {
        let undecodable = decode(text).unwrap_err();
        let Refusal { code, message } = undecodable.refusal;
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
        assert_eq!(refusal(r#"{"type":"dance","id":9}"#).0, Some(9));
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

    #[test]
    fn an_offer_names_each_mid_once() {
        let track = r#"{"mid":"0","kind":"audio","source":"microphone"}"#;
        let twice = format!(r#"{{"type":"offer","sdp":"","tracks":[{track},{track}]}}"#);
        assert!(refusal(&twice).2.contains("mid '0' is named twice"));
    }
}
