//! Properties for generated input. This file has what the properties of all parsers of this crate share.

mod header; // RTP headers, and the protocol of a datagram
mod payload; // redundancy, VP8 descriptors, keyframes

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// Configuration of a property with `cases` generated inputs; `PROPTEST_CASES` replaces the number. A failure prints
/// the shortest input found and writes no file: an input that found a bug becomes a test with a name.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

/// Any bytes; or a `valid` packet of which some bytes are changed, that is cut off, or that has more bytes behind it.
pub(crate) fn damaged(valid: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<Index>(), any::<u8>()), 0..4);
    let cut = prop::option::of(any::<Index>());
    let damaged = (valid, changes, cut, vec(any::<u8>(), 0..9)).prop_map(
        |(mut bytes, changes, cut, tail)| {
            for (at, value) in changes {
                let at = at.index(bytes.len().max(1));
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            bytes.extend(tail);
            bytes
        },
    );
    prop_oneof![1 => vec(any::<u8>(), 0..200), 4 => damaged]
}
