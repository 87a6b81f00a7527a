//! Calls functions that are compiled for processors with wide vectors.

use super::avx512;
use super::key::{Key, Nonce, Tag};

/// [`avx512::expand`]; false if the processor does not support it.
pub(super) fn expand(key: &[u8], expanded: &mut Key) -> bool {
    let is_available = avx512::is_available();
    if is_available {
        // SAFETY: the processor has the instructions that the function was compiled for.
        unsafe { avx512::expand(key, expanded) };
    }
    is_available
}

/// Calls [`avx512::seal`], which the processor supports.
pub(super) fn seal(key: &Key, nonce: &Nonce, clear: &[u8], body: &mut [u8]) -> Tag {
    // SAFETY: a key exists only if `expand` made it, on a processor with the instructions of the function.
    unsafe { avx512::seal(key, nonce, clear, body) }
}
