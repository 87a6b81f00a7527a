//! The dialect of docs/protocol.md: JSON in text frames.

mod strict; // strict JSON types
mod request; // message types of clients
mod message; // parses a client's message
mod check; // limits of a message
mod reply; // messages of the server

pub use message::{ClientMessage, Stage, Undecodable, decode, decode_at};
pub use reply::{Joined, ServerMessage};
pub use request::{Join, Offer, OfferedTrack, Request, Resume, TrackSubscription};

use crate::hub::{Dialect, Frame};
use crate::metrics::Label;
use crate::room::{Notice, Refusal};
use crate::signaling::frame;

/// The dialect of docs/protocol.md.
#[derive(Debug, Clone, Copy)]
pub struct Spillway;

impl Dialect for Spillway {
    fn name(&self) -> &'static str {
        "spillway"
    }

    fn encode(&self, notice: &Notice) -> Frame {
        let label = match notice {
            Notice::Refused { refusal, .. } => Label::Error(refusal.code.as_str()),
            Notice::Joined(joined) => Label::Joined(joined.mode.as_str()),
            Notice::Answer { .. }
            | Notice::Offer(_)
            | Notice::Event(_)
            | Notice::Withheld { .. }
            | Notice::Message(_)
            | Notice::Speakers(_)
            | Notice::Layer { .. }
            | Notice::Media { .. }
            | Notice::IceServers { .. }
            | Notice::Ok { .. } => Label::Plain,
        };
        encode(&ServerMessage::of_notice(notice), label)
    }
}

/// Encodes an error as one message.
pub fn refusal(id: Option<u32>, refusal: &Refusal) -> Frame {
    encode(
        &ServerMessage::refusal(id, refusal),
        Label::Error(refusal.code.as_str()),
    )
}

/// Encodes a message that is not a notice of a room.
pub fn plain(message: &ServerMessage<'_>) -> Frame {
    encode(message, Label::Plain)
}

fn encode(message: &ServerMessage<'_>, label: Label) -> Frame {
    let text = serde_json::to_vec(message).expect("our messages have text keys only");
    Frame {
        wire: frame::text(&text),
        label,
    }
}
