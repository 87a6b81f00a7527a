//! Identifiers of streams: never reused, and they contain the stream's slot.

use crate::turn::StreamId;

pub(super) const INDEX_BITS: u32 = 24;

/// A name that is never used again, and says where to look.
pub(super) fn id_of(serial: u64, index: usize) -> StreamId {
    StreamId(serial << INDEX_BITS | index as u64)
}

pub(super) fn index_of(stream: StreamId) -> usize {
    (stream.0 & ((1 << INDEX_BITS) - 1)) as usize
}

const _: () = assert!(crate::limits::MAX_STREAMS < 1 << INDEX_BITS);
