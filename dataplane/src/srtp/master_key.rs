//! Master keys of one direction, and the session keys derived from them.

use zeroize::Zeroize;

use super::cipher::Cipher;
use super::derive;
use super::profile::Profile;

/// Master key and salt of one direction, as exported from DTLS.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    pub(super) profile: Profile,
    pub(super) key: Vec<u8>,
    pub(super) salt: Vec<u8>,
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl MasterKey {
    /// Splits the exported material (RFC 5764 section 4.2): client key, server key, client salt, server salt. Returns
    /// the client's and the server's keys; `None` when the length does not match the profile.
    pub fn split(profile: Profile, material: &[u8]) -> Option<(Self, Self)> {
        let (key_bytes, salt_bytes) = profile.lengths();
        if material.len() != 2 * (key_bytes + salt_bytes) {
            return None;
        }
        let (keys, salts) = material.split_at(2 * key_bytes);
        let half = |which: usize| Self {
            profile,
            key: keys[which * key_bytes..][..key_bytes].to_vec(),
            salt: salts[which * salt_bytes..][..salt_bytes].to_vec(),
        };
        Some((half(0), half(1)))
    }

    pub(super) fn cipher(&self, purpose: derive::Use) -> Cipher {
        Cipher::new(self.profile, &self.derive(purpose))
    }

    pub(super) fn derive(&self, purpose: derive::Use) -> derive::SessionKeys {
        derive::session_keys(&self.key, &self.salt, purpose)
    }
}
