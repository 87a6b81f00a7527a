//! Memory layout of an expanded key.

use zeroize::Zeroize;

/// Bytes of an AES block and of a tag.
pub(super) const BLOCK_BYTES: usize = 16;
/// Number of round keys of AES-256; AES-128 has four fewer.
pub(super) const MAX_ROUND_KEYS: usize = 15;
/// Number of powers of the hash key: one for each block of a group.
pub(super) const POWERS: usize = 16;

/// An expanded key. Exists only if the processor can use it.
#[repr(C, align(64))]
pub(in crate::srtp) struct Key {
    /// Powers of the hash key, the highest first, as `avx512` uses them.
    pub(super) powers: [[u8; BLOCK_BYTES]; POWERS],
    /// Round keys (FIPS 197 section 5.2); their number depends on the key length.
    pub(super) round_keys: [[u8; BLOCK_BYTES]; MAX_ROUND_KEYS],
    /// True for a key of 32 bytes, false for 16.
    pub(super) is_long: bool,
}

const _: () = assert!(size_of::<Key>() == 512, "a key is eight cache lines");

/// The nonce of one packet; must be unique per key.
pub(in crate::srtp) type Nonce = [u8; 12];

/// The authentication tag of a packet.
pub(in crate::srtp) type Tag = [u8; BLOCK_BYTES];

impl Drop for Key {
    fn drop(&mut self) {
        self.round_keys.zeroize();
        self.powers.zeroize();
    }
}
