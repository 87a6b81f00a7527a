//! AES-GCM on vectors of four blocks, four vectors at a time: counter mode, and GHASH with one reduction for up to
//! sixteen blocks. The time depends on the length of the data only, not on the key or the content.
//!
//! GHASH and the processor's multiplication have opposite bit orders. With the bytes of blocks reversed, and the hash
//! key multiplied by x once, both give the same result (Gueron and Kounavis, "Intel Carry-Less Multiplication
//! Instruction and its Usage for Computing the GCM Mode").

use std::arch::x86_64::*;

use super::key::{BLOCK_BYTES, Key, MAX_ROUND_KEYS, Nonce, POWERS, Tag};
use super::lanes::{
    VECTOR_BYTES, load, load_block, load_some, mask_of, store, store_block, store_some,
};

/// The polynomial of GHASH with its bits reversed: x^128 + x^127 + x^126 + x^121 + 1, without the first term.
const POLYNOMIAL: u128 = (0xc2 << 120) | 1;
/// Vectors that are encrypted together.
const GROUP_VECTORS: usize = 4;
const GROUP_BYTES: usize = GROUP_VECTORS * VECTOR_BYTES;
const VECTOR_BLOCKS: usize = VECTOR_BYTES / BLOCK_BYTES;

/// True when the processor has all instructions used in this file.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("vpclmulqdq")
        && is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq")
}

/// Defines functions that are compiled for these processors only.
macro_rules! wide {
    ($($(#[$doc:meta])* $visible:vis fn $name:ident $(<$(const $n:ident: usize),+>)? ($($arguments:tt)*) $(-> $result:ty)? $body:block)*) => {
        $(
            $(#[$doc])*
            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,aes,pclmulqdq")]
            $visible fn $name $(<$(const $n: usize),+>)? ($($arguments)*) $(-> $result)? $body
        )*
    };
}

/// Key stream of a packet: round keys, repeated four times, and the next four counters with reversed bytes.
struct Stream {
    keys: [__m512i; MAX_ROUND_KEYS],
    counters: __m512i,
}

/// Products that are not reduced yet, by their halves.
struct Products {
    low: __m512i,
    middle: __m512i,
    high: __m512i,
}

wide! {
    /// Expands `key` of 16 or 32 bytes: the round keys, and the powers of the hash key.
    pub(super) fn expand(key: &[u8], expanded: &mut Key) {
        schedule(key, &mut expanded.round_keys);
        let zeros = _mm_setzero_si128();
        let hash = if expanded.is_long { block::<14>(expanded, zeros) } else { block::<10>(expanded, zeros) };
        let hash = u128::from_be_bytes(store_block(hash));
        let hash = (hash << 1) ^ (POLYNOMIAL & 0u128.wrapping_sub(hash >> 127));
        let hash = load_block(&hash.to_le_bytes());
        let mut power = hash;
        for place in expanded.powers.iter_mut().rev() {
            *place = store_block(power);
            let products = multiply(_mm512_zextsi128_si512(power), _mm512_zextsi128_si512(hash));
            power = reduce(products);
        }
    }

    /// Encrypts `body` in place. Returns the tag that authenticates `body` and `clear`.
    pub(super) fn seal(key: &Key, nonce: &Nonce, clear: &[u8], body: &mut [u8]) -> Tag {
        if key.is_long {
            seal_rounds::<14>(key, nonce, clear, body)
        } else {
            seal_rounds::<10>(key, nonce, clear, body)
        }
    }

    fn seal_rounds<const ROUNDS: usize>(key: &Key, nonce: &Nonce, clear: &[u8], body: &mut [u8]) -> Tag {
        let bits = |bytes: usize| 8 * bytes as i64;
        let lengths = _mm_set_epi64x(bits(clear.len()), bits(body.len()));
        let mut counter = [0; BLOCK_BYTES];
        counter[..nonce.len()].copy_from_slice(nonce);
        counter[BLOCK_BYTES - 1] = 1;
        let counter = load_block(&counter);
        let mut stream = start::<ROUNDS>(key, counter);
        let tag_stream = block::<ROUNDS>(key, counter);
        let mut hash = authenticate(key, clear);
        let mut groups = body.chunks_exact_mut(GROUP_BYTES);
        for group in &mut groups {
            hash = whole::<ROUNDS>(key, &mut stream, hash, group);
        }
        let rest = groups.into_remainder();
        let hash = last::<ROUNDS>(key, &mut stream, (hash, lengths), rest);
        store_block(_mm_xor_si128(_mm_shuffle_epi8(hash, _mm512_castsi512_si128(reverse())), tag_stream))
    }

    /// Hashes the bytes that are authenticated but not encrypted.
    fn authenticate(key: &Key, clear: &[u8]) -> __m128i {
        let mut hash = _mm_setzero_si128();
        for chunk in clear.chunks(VECTOR_BYTES) {
            let blocks = reversed(load_some(chunk));
            let blocks = _mm512_xor_si512(blocks, _mm512_zextsi128_si512(hash));
            hash = reduce(multiply(blocks, power(key, chunk.len().div_ceil(BLOCK_BYTES))));
        }
        hash
    }

    /// Encrypts and hashes sixteen blocks.
    fn whole<const ROUNDS: usize>(key: &Key, stream: &mut Stream, hash: __m128i, group: &mut [u8]) -> __m128i {
        let mut blocks = next::<ROUNDS, GROUP_VECTORS>(stream);
        let (vectors, _) = group.as_chunks_mut::<VECTOR_BYTES>();
        for (vector, block) in vectors.iter_mut().zip(&mut blocks) {
            *block = _mm512_xor_si512(*block, load(vector));
            store(vector, *block);
            *block = reversed(*block);
        }
        blocks[0] = _mm512_xor_si512(blocks[0], _mm512_zextsi128_si512(hash));
        let mut products = multiply(blocks[0], power(key, GROUP_VECTORS * VECTOR_BLOCKS));
        for (place, block) in blocks.iter().enumerate().skip(1) {
            let more = multiply(*block, power(key, (GROUP_VECTORS - place) * VECTOR_BLOCKS));
            products = add(products, more);
        }
        reduce(products)
    }

    /// Encrypts and hashes the rest, at most sixteen blocks of which the last may be partial, and hashes the lengths.
    fn last<const ROUNDS: usize>(key: &Key, stream: &mut Stream, (hash, lengths): (__m128i, __m128i), rest: &mut [u8]) -> __m128i {
        let lengths = _mm512_zextsi128_si512(lengths);
        let hash = _mm512_zextsi128_si512(hash);
        let blocks = rest.len().div_ceil(BLOCK_BYTES);
        if (1..POWERS).contains(&blocks) {
            // The lengths are one more block.
            let products = multiply(lengths, power(key, 1));
            return reduce(add(products, few::<ROUNDS>(key, stream, (hash, blocks + 1), rest)));
        }
        let hash = if blocks == 0 {
            hash
        } else {
            _mm512_zextsi128_si512(reduce(few::<ROUNDS>(key, stream, (hash, blocks), rest)))
        };
        reduce(multiply(_mm512_xor_si512(lengths, hash), power(key, 1)))
    }

    /// Encrypts the rest. Returns its products; the first block is multiplied by power `height` of the hash key.
    fn few<const ROUNDS: usize>(key: &Key, stream: &mut Stream, (hash, height): (__m512i, usize), rest: &mut [u8]) -> Products {
        if rest.len() <= 2 * VECTOR_BYTES {
            few_with(key, &next::<ROUNDS, 2>(stream), (hash, height), rest)
        } else {
            few_with(key, &next::<ROUNDS, GROUP_VECTORS>(stream), (hash, height), rest)
        }
    }

    fn few_with(key: &Key, stream: &[__m512i], (mut hash, mut height): (__m512i, usize), rest: &mut [u8]) -> Products {
        let zeros = _mm512_setzero_si512();
        let mut products = Products { low: zeros, middle: zeros, high: zeros };
        for (chunk, block) in rest.chunks_mut(VECTOR_BYTES).zip(stream) {
            let sealed = _mm512_xor_si512(*block, load_some(chunk));
            store_some(chunk, sealed);
            let sealed = _mm512_maskz_mov_epi8(mask_of(chunk.len()), sealed);
            products = add(products, multiply(_mm512_xor_si512(reversed(sealed), hash), power(key, height)));
            hash = zeros;
            height = height.saturating_sub(VECTOR_BLOCKS);
        }
        products
    }

    /// Starts the key stream of a packet behind `counter`, the packet's first counter, which encrypts the tag.
    fn start<const ROUNDS: usize>(key: &Key, counter: __m128i) -> Stream {
        let mut keys = [_mm512_setzero_si512(); MAX_ROUND_KEYS];
        for (key, round) in keys.iter_mut().zip(&key.round_keys[..=ROUNDS]) {
            *key = _mm512_broadcast_i32x4(load_block(round));
        }
        let lanes = _mm512_set_epi32(0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1);
        let counter = reversed(_mm512_broadcast_i32x4(counter));
        Stream {
            keys,
            counters: _mm512_add_epi32(counter, lanes),
        }
    }

    /// The next vectors of the key stream.
    fn next<const ROUNDS: usize, const VECTORS: usize>(stream: &mut Stream) -> [__m512i; VECTORS] {
        let step = _mm512_set_epi32(0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4);
        let mut blocks = [_mm512_setzero_si512(); VECTORS];
        for block in &mut blocks {
            *block = _mm512_xor_si512(reversed(stream.counters), stream.keys[0]);
            stream.counters = _mm512_add_epi32(stream.counters, step);
        }
        for key in &stream.keys[1..ROUNDS] {
            for block in &mut blocks {
                *block = _mm512_aesenc_epi128(*block, *key);
            }
        }
        for block in &mut blocks {
            *block = _mm512_aesenclast_epi128(*block, stream.keys[ROUNDS]);
        }
        blocks
    }

    /// Encrypts one AES block.
    fn block<const ROUNDS: usize>(key: &Key, block: __m128i) -> __m128i {
        let mut block = _mm_xor_si128(block, load_block(&key.round_keys[0]));
        for round in &key.round_keys[1..ROUNDS] {
            block = _mm_aesenc_si128(block, load_block(round));
        }
        _mm_aesenclast_si128(block, load_block(&key.round_keys[ROUNDS]))
    }

    /// Four consecutive powers of the hash key, the highest is `height`; zero below the first power.
    fn power(key: &Key, height: usize) -> __m512i {
        load_some(&key.powers.as_flattened()[(POWERS - height) * BLOCK_BYTES..])
    }

    /// Four products of two blocks each.
    fn multiply(a: __m512i, b: __m512i) -> Products {
        Products {
            low: _mm512_clmulepi64_epi128::<0x00>(a, b),
            middle: _mm512_xor_si512(
                _mm512_clmulepi64_epi128::<0x01>(a, b),
                _mm512_clmulepi64_epi128::<0x10>(a, b),
            ),
            high: _mm512_clmulepi64_epi128::<0x11>(a, b),
        }
    }

    fn add(a: Products, b: Products) -> Products {
        Products {
            low: _mm512_xor_si512(a.low, b.low),
            middle: _mm512_xor_si512(a.middle, b.middle),
            high: _mm512_xor_si512(a.high, b.high),
        }
    }

    /// The sum of the four products, modulo the polynomial: the lower half is folded twice, 64 bits at a time.
    fn reduce(products: Products) -> __m128i {
        let polynomial = load_block(&POLYNOMIAL.to_le_bytes());
        let (low, middle, high) = (sum(products.low), sum(products.middle), sum(products.high));
        let fold = |from: __m128i, into: __m128i| {
            let carried = _mm_clmulepi64_si128::<0x01>(polynomial, from);
            _mm_xor_si128(_mm_xor_si128(into, carried), _mm_shuffle_epi32::<0x4e>(from))
        };
        fold(fold(low, middle), high)
    }

    fn sum(vector: __m512i) -> __m128i {
        let half = _mm256_xor_si256(_mm512_castsi512_si256(vector), _mm512_extracti64x4_epi64::<1>(vector));
        _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
    }

    /// Each block with its bytes reversed.
    fn reversed(blocks: __m512i) -> __m512i {
        _mm512_shuffle_epi8(blocks, reverse())
    }

    fn reverse() -> __m512i {
        _mm512_broadcast_i32x4(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
    }

    /// The key schedule (FIPS 197 section 5.2), in words of four bytes.
    fn schedule(key: &[u8], round_keys: &mut [[u8; BLOCK_BYTES]; MAX_ROUND_KEYS]) {
        let words = key.len() / 4;
        let all = round_keys.as_flattened_mut();
        all[..key.len()].copy_from_slice(key);
        let mut constant = 1u8;
        for at in words..4 * (words + 7) {
            let mut word = [0; 4];
            word.copy_from_slice(&all[4 * (at - 1)..4 * at]);
            if at % words == 0 {
                word = substitute(word);
                word.rotate_left(1);
                word[0] ^= constant;
                constant = (constant << 1) ^ (0x1b & 0u8.wrapping_sub(constant >> 7));
            } else if words == 8 && at % words == 4 {
                word = substitute(word);
            }
            for byte in 0..4 {
                all[4 * at + byte] = all[4 * (at - words) + byte] ^ word[byte];
            }
        }
    }

    /// Passes each byte through the S-box with an AES instruction, because a table would leak through the cache.
    fn substitute(word: [u8; 4]) -> [u8; 4] {
        let words = _mm_set1_epi32(i32::from_le_bytes(word));
        _mm_cvtsi128_si32(_mm_aeskeygenassist_si128::<0>(words)).to_le_bytes()
    }
}
