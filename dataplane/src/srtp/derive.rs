//! Derives session keys from master keys (RFC 3711 section 4.3; RFC 7714 section 11 for AEAD).

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use zeroize::Zeroize;

/// Use of the keys, which selects the labels of their derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// For SRTP: labels 0, 1, 2.
    Rtp,
    /// For SRTCP: labels 3, 4, 5.
    Rtcp,
}

/// Keys of one direction, for SRTP or SRTCP.
pub(super) struct SessionKeys {
    /// Cipher key; as long as the master key.
    pub(super) key: Vec<u8>,
    /// HMAC-SHA1 key; not used by AEAD.
    pub(super) auth: [u8; 20],
    /// Salt; as long as the master salt.
    pub(super) salt: Vec<u8>,
}

impl Drop for SessionKeys {
    fn drop(&mut self) {
        self.key.zeroize();
        self.auth.zeroize();
    }
}

/// Derives the session keys once, with a key derivation rate of 0.
pub(super) fn session_keys(master: &[u8], salt: &[u8], purpose: Use) -> SessionKeys {
    let first = match purpose {
        Use::Rtp => 0,
        Use::Rtcp => 3,
    };
    let mut keys = SessionKeys {
        key: vec![0; master.len()],
        auth: [0; 20],
        salt: vec![0; salt.len()],
    };
    pseudo_random(master, salt, first, &mut keys.key);
    pseudo_random(master, salt, first + 1, &mut keys.auth);
    pseudo_random(master, salt, first + 2, &mut keys.salt);
    keys
}

/// AES in counter mode over zeros, starting at salt XOR label (RFC 3711 section 4.3.3).
fn pseudo_random(master: &[u8], salt: &[u8], label: u8, out: &mut [u8]) {
    let mut iv = [0; 16];
    iv[..salt.len()].copy_from_slice(salt);
    iv[7] ^= label;
    counter_mode(&counter_key(master), iv, out);
}

/// A counter mode key of 16 or 32 bytes.
pub(super) fn counter_key(key: &[u8]) -> EncryptingKey {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    UnboundCipherKey::new(algorithm, key)
        .and_then(EncryptingKey::ctr)
        .expect("the profile fixes the length of its keys")
}

/// Encrypts or decrypts in place: XOR with the key stream that starts at `iv`.
pub(super) fn counter_mode(key: &EncryptingKey, iv: [u8; 16], in_out: &mut [u8]) {
    key.less_safe_encrypt(in_out, EncryptionContext::Iv128(FixedLength::from(iv)))
        .expect("counter mode takes any length");
}
