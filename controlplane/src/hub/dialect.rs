//! Message formats of sockets: the clients of one room may use several dialects.

use bytes::Bytes;

use crate::metrics::Label;
use crate::room::Notice;

/// Encodes what a room tells.
pub trait Dialect: std::fmt::Debug + Send + Sync + 'static {
    /// Name of the dialect, unique among dialects.
    fn name(&self) -> &'static str;

    /// A notice in its words.
    fn encode(&self, notice: &Notice) -> Frame;
}

/// An encoded message; cloning it copies no bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// The frame on the wire.
    pub wire: Bytes,
    /// Type of the message, for the metrics.
    pub label: Label,
}
