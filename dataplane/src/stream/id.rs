//! Ids of streams: a serial number that is never reused, and the stream's slot.

use crate::turn::StreamId;

pub(super) const INDEX_BITS: u32 = 24;

/// An id with this serial number and slot index.
pub(super) fn id_of(serial: u64, index: usize) -> StreamId {
    StreamId(serial << INDEX_BITS | index as u64)
}

pub(super) fn index_of(stream: StreamId) -> usize {
    (stream.0 & ((1 << INDEX_BITS) - 1)) as usize
}

const _: () = assert!(crate::limits::MAX_STREAMS < 1 << INDEX_BITS);
