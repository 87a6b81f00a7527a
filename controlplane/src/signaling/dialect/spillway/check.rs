//! Limits of a message: first the number of items in lists, then the items.
//!
//! The work is linear in the size of the message.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::request::{Offer, Request};
use crate::limits;
use crate::room::{ErrorCode, Refusal};

/// Checks the number of items in lists, for a message of type `name`. Does not read the items.
pub(super) fn counts(name: &str, fields: &Map<String, Value>) -> Result<(), Refusal> {
    match name {
        "offer" => {
            within(
                (length(fields, "tracks"), limits::OFFER_M_LINES),
                ErrorCode::TooManyTracks,
                "offer names {} tracks",
            )?;
            let tracks = fields.get("tracks").and_then(Value::as_array);
            for track in tracks.into_iter().flatten().filter_map(Value::as_object) {
                within(
                    (length(track, "layers"), limits::TRACK_LAYERS),
                    ErrorCode::BadMessage,
                    "track has {} layers",
                )?;
            }
            Ok(())
        }
        "subscribe" | "unsubscribe" => within(
            (length(fields, "tracks"), limits::SUBSCRIBE_TRACKS),
            ErrorCode::TooManyTracks,
            "message names {} tracks",
        ),
        "message" => within(
            (length(fields, "to"), limits::MESSAGE_RECIPIENTS),
            ErrorCode::TooLarge,
            "message names {} recipients",
        ),
        _ => Ok(()),
    }
}

/// Checks the size of each field.
pub(super) fn contents(request: &Request) -> Result<(), Refusal> {
    match request {
        Request::Offer(offer) => check_offer(offer),
        Request::Answer { sdp, .. } => check_sdp(sdp, "answer", limits::ANSWER_M_LINES),
        Request::Candidate { candidate, .. } => within(
            (candidate.len(), limits::CANDIDATE_BYTES),
            ErrorCode::BadCandidate,
            "candidate has {} bytes",
        ),
        Request::Message { topic, payload, .. } => {
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
            )
        }
        Request::Join(_)
        | Request::Subscribe { .. }
        | Request::Unsubscribe { .. }
        | Request::Mute { .. }
        | Request::IceServers {}
        | Request::Ping {}
        | Request::Leave {} => Ok(()),
    }
}

/// Number of items in a list; 0 for another value, which the parser refuses.
fn length(fields: &Map<String, Value>, name: &str) -> usize {
    let list = fields.get(name).and_then(Value::as_array);
    list.map_or(0, Vec::len)
}

fn check_offer(offer: &Offer) -> Result<(), Refusal> {
    check_sdp(&offer.sdp, "offer", limits::OFFER_M_LINES)?;
    let mut mids = HashSet::with_capacity(offer.tracks.len());
    for track in &offer.tracks {
        check_label("mid", &track.mid, limits::MID_CHARS)?;
        if !mids.insert(&*track.mid) {
            let message = format!("mid '{}' is named twice", track.mid);
            return Err(Refusal::new(ErrorCode::BadMessage, message));
        }
        for layer in &track.layers {
            check_label("rid", &layer.rid, limits::RID_CHARS)?;
            within(
                (layer.height as usize, limits::LAYER_HEIGHT as usize),
                ErrorCode::BadMessage,
                "layer has a height of {}",
            )?;
        }
    }
    Ok(())
}

fn check_label(what: &str, text: &str, limit: usize) -> Result<(), Refusal> {
    let length = text.len();
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    if printable && (1..=limit).contains(&length) {
        return Ok(());
    }
    let message = format!("{what} of {length} bytes is not 1..={limit} printable ASCII characters");
    Err(Refusal::new(ErrorCode::BadMessage, message))
}

fn check_sdp(sdp: &str, what: &str, limit: usize) -> Result<(), Refusal> {
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
