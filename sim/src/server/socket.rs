//! One signaling socket of a server.

use spillway_controlplane::hub::{EndingReader, Outbox, OutboxReader};
use spillway_controlplane::ids::RoomName;
use spillway_controlplane::signaling::Session;

use crate::clock::Time;

/// A signaling socket of a client.
pub(super) struct Socket {
    pub(super) session: Session,
    pub(super) room: Option<RoomName>,
    pub(super) outbox: Outbox,
    pub(super) reader: OutboxReader,
    pub(super) endings: EndingReader,
    pub(super) next_ping: Time,
    pub(super) is_closed: bool,
}

/// What a server sends on a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromServer {
    /// Bytes of WebSocket frames.
    Frames(Vec<u8>),
    /// A ping frame, which the client answers.
    Ping,
    /// The socket is closed with this code.
    Closed(u16),
}
