//! Loads and stores of vector registers.

use std::arch::x86_64::{
    __m128i, __m512i, __mmask64, _mm_loadu_si128, _mm_storeu_si128, _mm512_loadu_si512,
    _mm512_mask_storeu_epi8, _mm512_maskz_loadu_epi8, _mm512_storeu_si512,
};

use super::key::BLOCK_BYTES;

/// Bytes of a vector: four blocks.
pub(super) const VECTOR_BYTES: usize = 64;

#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn load_block(bytes: &[u8; BLOCK_BYTES]) -> __m128i {
    // SAFETY: the array has the 16 bytes that are read; they may lie anywhere.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn store_block(block: __m128i) -> [u8; BLOCK_BYTES] {
    let mut bytes = [0; BLOCK_BYTES];
    // SAFETY: the array has the 16 bytes that are written; they may lie anywhere.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), block) };
    bytes
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load(bytes: &[u8; VECTOR_BYTES]) -> __m512i {
    // SAFETY: the array has the 64 bytes that are read; they may lie anywhere.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store(bytes: &mut [u8; VECTOR_BYTES], vector: __m512i) {
    // SAFETY: the array has the 64 bytes that are written; they may lie anywhere.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), vector) }
}

/// Loads the first 64 of `bytes`; if there are fewer, the rest is zero.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn load_some(bytes: &[u8]) -> __m512i {
    // SAFETY: only bytes selected by the mask are read, and the mask selects no byte outside of the slice.
    unsafe { _mm512_maskz_loadu_epi8(mask_of(bytes.len()), bytes.as_ptr().cast()) }
}

/// Stores as many bytes of `vector` as `bytes` has space for.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn store_some(bytes: &mut [u8], vector: __m512i) {
    // SAFETY: only bytes selected by the mask are written, and the mask selects no byte outside of the slice.
    unsafe {
        _mm512_mask_storeu_epi8(bytes.as_mut_ptr().cast(), mask_of(bytes.len()), vector);
    }
}

/// A mask of the first `bytes` bytes of a vector.
#[inline]
pub(super) fn mask_of(bytes: usize) -> __mmask64 {
    if bytes < VECTOR_BYTES {
        (1 << bytes) - 1
    } else {
        __mmask64::MAX
    }
}
