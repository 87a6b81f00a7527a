//! Encrypts outgoing RTP: with our own AES-GCM if the processor supports it, otherwise with the library.

use std::str::FromStr;

use super::cipher::{AEAD_TAG_BYTES, Cipher, aead_iv, fixed};
use super::derive::SessionKeys;
use super::gcm;
use super::profile::Profile;
use crate::io::sys::prefetch;

/// Implementation of AES-GCM for media packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AeadChoice {
    /// Our own code on processors with the needed instructions, otherwise the library.
    Auto,
    /// The library, which does all other cryptography.
    Library,
}

/// Key for the RTP that a session sends.
pub(super) enum Outgoing {
    /// AES-GCM (RFC 7714), by our own code.
    Ours {
        /// The AES key, expanded once.
        key: Box<gcm::Key>,
        /// Session salt of the nonce (RFC 7714 section 8.1).
        salt: [u8; 12],
    },
    /// Encryption by the library, for all profiles.
    Library(Cipher),
}

/// Number of cache lines of an expanded key; a video packet needs all of them.
const KEY_LINES: usize = size_of::<gcm::Key>() / 64;

impl Outgoing {
    pub(super) fn new(profile: Profile, keys: &SessionKeys, choice: AeadChoice) -> Self {
        let is_gcm = match profile {
            Profile::Aes128CmSha1 => false,
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => true,
        };
        let ours = is_gcm && choice == AeadChoice::Auto;
        let key = ours.then(|| gcm::Key::new(&keys.key)).flatten();
        match key {
            Some(key) => Self::Ours {
                key,
                salt: fixed(&keys.salt),
            },
            None => Self::Library(Cipher::new(profile, keys)),
        }
    }

    /// Prefetches the key, if it is our own format.
    pub(super) fn prefetch(&self) {
        if let Self::Ours { key, .. } = self {
            prefetch(&**key, KEY_LINES);
        }
    }

    pub(super) fn tag_bytes(&self) -> usize {
        match self {
            Self::Ours { .. } => AEAD_TAG_BYTES,
            Self::Library(cipher) => cipher.tag_bytes(),
        }
    }

    /// Encrypts `packet` behind its first `clear` bytes; the last bytes are space for the tag. `index` is the 48-bit
    /// packet index.
    pub(super) fn seal(&self, packet: &mut [u8], clear: usize, ssrc: u32, index: u64) {
        match self {
            Self::Ours { key, salt } => {
                // The 48-bit index is the rollover counter followed by the sequence number (RFC 7714 section 8.1).
                let [nonce @ .., _, _, _, _] = aead_iv(salt, ssrc, index);
                let (body, tag) = packet.split_at_mut(packet.len() - AEAD_TAG_BYTES);
                let (header, payload) = body.split_at_mut(clear);
                tag.copy_from_slice(&key.seal(&nonce, header, payload));
            }
            Self::Library(cipher) => {
                let iv = cipher.rtp_iv(ssrc, index);
                cipher.seal(packet, clear, &iv, &[], Some((index >> 16) as u32));
            }
        }
    }
}

impl AeadChoice {
    /// Name of the implementation on this processor.
    pub fn sealer(self) -> &'static str {
        match self {
            Self::Auto if gcm::is_available() => "ours",
            Self::Auto | Self::Library => "library",
        }
    }
}

impl FromStr for AeadChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "library" => Ok(Self::Library),
            _ => Err("is neither auto nor library".into()),
        }
    }
}
