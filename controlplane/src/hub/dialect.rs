//! Message formats (dialects). Sockets of one room may use different ones.

use bytes::Bytes;

use crate::metrics::Label;
use crate::room::Notice;

/// A message format: encodes the notices of a room.
pub trait Dialect: std::fmt::Debug + Send + Sync + 'static {
    /// Name of the dialect, unique among dialects.
    fn name(&self) -> &'static str;

    /// Encodes a notice as one message.
    fn encode(&self, notice: &Notice) -> Frame;
}

/// An encoded message. A clone shares the bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// The frame on the wire.
    pub wire: Bytes,
    /// Type of the message, for metrics.
    pub label: Label,
}
