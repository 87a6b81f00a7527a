//! AES-GCM (NIST SP 800-38D), encryption only, for packets to subscribers.
//!
//! A library encrypts messages of any size. Here a message is a packet in a batch with one of thousands of keys, none
//! of which is in the cache. For a library, starting and finishing a message cost as much as the cipher. Here a key is
//! eight adjacent cache lines, which can be prefetched, and a packet is one pass. The library does everything else
//! (decryption, RTCP, processors without these instructions); see docs/decisions/0018.

#[cfg(target_arch = "x86_64")]
mod avx512; // AES-GCM on sixteen blocks at a time
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // calls into code for processors with these instructions, nothing else
mod entry;
mod key; // memory layout of an expanded key
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // copies between memory and vector registers, nothing else
mod lanes;

#[cfg(target_arch = "x86_64")]
use key::{BLOCK_BYTES, MAX_ROUND_KEYS, POWERS};
pub(super) use key::{Key, Nonce, Tag};

/// True when the processor has all needed instructions.
#[cfg(target_arch = "x86_64")]
pub(super) fn is_available() -> bool {
    avx512::is_available()
}

/// False: no processor of this architecture has the instructions.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn is_available() -> bool {
    false
}

impl Key {
    /// Expands `key` of 16 or 32 bytes; `None` if it [cannot be used](is_available).
    #[cfg(target_arch = "x86_64")]
    pub(super) fn new(key: &[u8]) -> Option<Box<Self>> {
        assert!(
            matches!(key.len(), 16 | 32),
            "the profile fixes the length of its keys"
        );
        // Filled in place, because a copy of the key would remain in memory.
        let mut expanded = Box::new(Self {
            powers: [[0; BLOCK_BYTES]; POWERS],
            round_keys: [[0; BLOCK_BYTES]; MAX_ROUND_KEYS],
            is_long: key.len() == 32,
        });
        entry::expand(key, &mut expanded).then_some(expanded)
    }

    /// `None`: there is no implementation for this architecture.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn new(_key: &[u8]) -> Option<Box<Self>> {
        None
    }

    /// Encrypts `body` in place. Returns the tag that authenticates `body` and `clear`. A nonce must not be used twice.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn seal(&self, nonce: &Nonce, clear: &[u8], body: &mut [u8]) -> Tag {
        entry::seal(self, nonce, clear, body)
    }

    /// Never called, because there is no key on this architecture.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn seal(&self, _nonce: &Nonce, _clear: &[u8], _body: &mut [u8]) -> Tag {
        unreachable!("there is no key on this architecture")
    }
}

#[cfg(test)]
mod tests;
