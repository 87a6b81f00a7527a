//! Memory layout of an expanded key.

use zeroize::Zeroize;

/// Blocks of AES, and tags.
pub(super) const BLOCK_BYTES: usize = 16;
/// Of AES-256; AES-128 has four fewer.
pub(super) const MAX_ROUND_KEYS: usize = 15;
/// Powers of the hash key: one for each block of a group.
pub(super) const POWERS: usize = 16;

/// A key, expanded once. There is one only where the processor can use it.
#[repr(C, align(64))]
pub(in crate::srtp) struct Key {
    /// The highest first, as `avx512` multiplies with them.
    pub(super) powers: [[u8; BLOCK_BYTES]; POWERS],
    /// Of the key schedule (FIPS 197 section 5.2), as many as the length of the key asks for.
    pub(super) round_keys: [[u8; BLOCK_BYTES]; MAX_ROUND_KEYS],
    /// The key has 32 bytes, not 16.
    pub(super) is_long: bool,
}

const _: () = assert!(size_of::<Key>() == 512, "a key is eight cache lines");

/// What a packet is sealed with besides its key.
pub(in crate::srtp) type Nonce = [u8; 12];

/// Authenticates a sealed packet.
pub(in crate::srtp) type Tag = [u8; BLOCK_BYTES];

impl Drop for Key {
    fn drop(&mut self) {
        self.round_keys.zeroize();
        self.powers.zeroize();
    }
}
