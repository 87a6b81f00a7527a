//! AES-GCM (NIST SP 800-38D), sealing only, for the packets that go to subscribers.
//!
//! A library seals messages of any size. Here a message is always a packet, in a batch of packets under the same key,
//! with one of thousands of keys, none of which is in the cache. So the begin and end of a library call cost as much
//! as the cipher. Here a key is eight cache lines in one place, which can be prefetched, and a packet is one pass. The
//! library does everything else (opening, RTCP, processors without these instructions); see docs/decisions/0018.

#[cfg(target_arch = "x86_64")]
mod avx512; // AES-GCM on sixteen blocks at a time
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // into code for processors with these instructions, and nothing else
mod entry;
mod key; // memory layout of an expanded key
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // between memory and vector registers, and nothing else
mod lanes;

#[cfg(target_arch = "x86_64")]
use key::{BLOCK_BYTES, MAX_ROUND_KEYS, POWERS};
pub(super) use key::{Key, Nonce, Tag};

/// Whether the processor has all instructions for it.
#[cfg(target_arch = "x86_64")]
pub(super) fn is_available() -> bool {
    avx512::is_available()
}

/// No processor of this architecture has the instructions.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn is_available() -> bool {
    false
}

impl Key {
    /// Expands `key` of 16 or 32 bytes; `None` where that [cannot be used](is_available).
    #[cfg(target_arch = "x86_64")]
    pub(super) fn new(key: &[u8]) -> Option<Box<Self>> {
        assert!(
            matches!(key.len(), 16 | 32),
            "the profile fixes the length of its keys"
        );
        // Filled in its place: a copy would be left behind.
        let mut expanded = Box::new(Self {
            powers: [[0; BLOCK_BYTES]; POWERS],
            round_keys: [[0; BLOCK_BYTES]; MAX_ROUND_KEYS],
            is_long: key.len() == 32,
        });
        entry::expand(key, &mut expanded).then_some(expanded)
    }

    /// Always `None`: other architectures have no implementation.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn new(_key: &[u8]) -> Option<Box<Self>> {
        None
    }

    /// Encrypts `body` in place; the tag that authenticates it and `clear`. A nonce must not be used twice.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn seal(&self, nonce: &Nonce, clear: &[u8], body: &mut [u8]) -> Tag {
        entry::seal(self, nonce, clear, body)
    }

    /// Is never called, because there is no key.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn seal(&self, _nonce: &Nonce, _clear: &[u8], _body: &mut [u8]) -> Tag {
        unreachable!("there is no key on this architecture")
    }
}

#[cfg(test)]
mod tests;
