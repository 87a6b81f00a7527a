//! SRTP and SRTCP of what we send to subscribers (RFC 3711, RFC 7714), sealed in place.
//!
//! The session layer does the DTLS handshake; its keying material passes [`tap`]. From then on one
//! [`Sealer`] owns all numbers under the session's write key: with AES-GCM a packet index used twice
//! would give the key away, so nobody else may send with it.

mod cipher; // one direction of one kind of packet
mod derive; // session keys from master keys
mod gcm; // AES-GCM of what is sent, where the processor has wide vectors
mod outgoing; // RTP that is sent, sealed by whoever can
mod replay; // which packets were seen
pub mod tap; // where the keying material comes from

use cipher::Cipher;
use outgoing::Outgoing;
use replay::Seen;

use zeroize::Zeroize;

use crate::limits::MAX_RTCP_SENDERS;
pub use outgoing::AeadChoice;

/// The protection profiles of DTLS-SRTP that are negotiated (RFC 5764, RFC 7714).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// SRTP_AES128_CM_HMAC_SHA1_80.
    Aes128CmSha1,
    /// SRTP_AEAD_AES_128_GCM.
    AeadAes128Gcm,
    /// SRTP_AEAD_AES_256_GCM.
    AeadAes256Gcm,
}

/// Keys of one direction as DTLS exported them.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    profile: Profile,
    key: Vec<u8>,
    salt: Vec<u8>,
}

/// Why a packet could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Too short for what surrounds its payload.
    #[error("srtcp packet of {0} bytes is too short")]
    TooShort(usize),
    /// The index was seen, or is too old to know.
    #[error("srtcp index {0} was used before")]
    Replayed(u32),
    /// It is from one more sender than a session may have.
    #[error("srtcp is from more senders than {MAX_RTCP_SENDERS}")]
    TooManySenders,
    /// It does not authenticate, or was not encrypted.
    #[error("srtcp packet is not from the peer")]
    Forged,
}

/// Seals what a session sends and opens the RTCP it receives.
pub struct Sealer {
    rtp: Outgoing,
    rtcp: Cipher,
    rtcp_index: u32,
    peer_rtcp: Cipher,
    peer_rtcp_seen: Seen,
}

/// Bytes of an RTCP packet that stay readable: the first header.
const RTCP_CLEAR_BYTES: usize = 8;
/// E flag and SRTCP index (RFC 3711 section 3.4).
const INDEX_BYTES: usize = 4;
const ENCRYPTED: u32 = 1 << 31;

impl Sealer {
    /// Seals with `ours`, opens with `theirs`.
    pub fn new(ours: &MasterKey, theirs: &MasterKey, choice: AeadChoice) -> Self {
        let rtp = ours.derive(derive::Use::Rtp);
        Self {
            rtp: Outgoing::new(ours.profile, &rtp, choice),
            rtcp: ours.cipher(derive::Use::Rtcp),
            rtcp_index: 0,
            peer_rtcp: theirs.cipher(derive::Use::Rtcp),
            peer_rtcp_seen: Seen::default(),
        }
    }

    /// Asks for the memory that sealing RTP begins with.
    pub fn prefetch(&self) {
        self.rtp.prefetch();
    }

    /// Bytes that sealing adds to an RTP packet.
    pub fn rtp_overhead(&self) -> usize {
        self.rtp.tag_bytes()
    }

    /// Seals an RTP packet in place. `packet` is header, payload, and [`rtp_overhead`](Self::rtp_overhead)
    /// bytes of room; `index` is the 48-bit packet index, rollover counter and sequence number, and has
    /// to be new for `ssrc`.
    pub fn seal_rtp(&self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) {
        self.rtp.seal(packet, header, ssrc, index);
    }

    /// Seals the compound RTCP packet of `length` bytes at the start of `buffer`; the length it has then.
    pub fn seal_rtcp(&mut self, buffer: &mut [u8], length: usize) -> usize {
        self.rtcp_index = (self.rtcp_index + 1) & !ENCRYPTED;
        let ssrc = u32::from_be_bytes([buffer[4], buffer[5], buffer[6], buffer[7]]);
        let word = (self.rtcp_index | ENCRYPTED).to_be_bytes();
        let iv = self.rtcp.rtcp_iv(ssrc, self.rtcp_index);
        let tag = self.rtcp.tag_bytes();
        if self.rtcp.is_aead() {
            // RFC 7714 section 9.2: the tag belongs to the ciphertext, the index word comes last.
            self.rtcp.seal(
                &mut buffer[..length + tag],
                RTCP_CLEAR_BYTES,
                &iv,
                &word,
                None,
            );
            buffer[length + tag..length + tag + INDEX_BYTES].copy_from_slice(&word);
        } else {
            buffer[length..length + INDEX_BYTES].copy_from_slice(&word);
            let end = length + INDEX_BYTES + tag;
            self.rtcp
                .seal_rtcp_cm(&mut buffer[..end], RTCP_CLEAR_BYTES, length, &iv);
        }
        length + tag + INDEX_BYTES
    }

    /// Opens an SRTCP packet in place; the compound packet inside.
    pub fn open_rtcp<'p>(&mut self, packet: &'p mut [u8]) -> Result<&'p [u8], OpenError> {
        let tag = self.peer_rtcp.tag_bytes();
        let total = packet.len();
        let payload_end = total
            .checked_sub(tag + INDEX_BYTES)
            .filter(|end| *end >= RTCP_CLEAR_BYTES)
            .ok_or(OpenError::TooShort(total))?;
        let word_at = if self.peer_rtcp.is_aead() {
            total - INDEX_BYTES
        } else {
            payload_end
        };
        let word: [u8; INDEX_BYTES] = packet[word_at..word_at + INDEX_BYTES]
            .try_into()
            .expect("the slice has that length");
        let index = u32::from_be_bytes(word);
        if index & ENCRYPTED == 0 {
            return Err(OpenError::Forged);
        }
        let index = index & !ENCRYPTED;
        let ssrc = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        if self.peer_rtcp_seen.contains(ssrc, index) {
            return Err(OpenError::Replayed(index));
        }
        let iv = self.peer_rtcp.rtcp_iv(ssrc, index);
        let opened = if self.peer_rtcp.is_aead() {
            self.peer_rtcp
                .open(&mut packet[..word_at], RTCP_CLEAR_BYTES, &iv, &word)
        } else {
            self.peer_rtcp
                .open_rtcp_cm(packet, RTCP_CLEAR_BYTES, payload_end, &iv)
        };
        if !opened {
            return Err(OpenError::Forged);
        }
        if !self.peer_rtcp_seen.insert(ssrc, index) {
            return Err(OpenError::TooManySenders);
        }
        Ok(&packet[..payload_end])
    }
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl MasterKey {
    /// Splits the exported material (RFC 5764 section 4.2): client key, server key, client salt, server
    /// salt. Returns the client's and the server's; `None` when the length is not that of the profile.
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

    fn cipher(&self, purpose: derive::Use) -> Cipher {
        Cipher::new(self.profile, &self.derive(purpose))
    }

    fn derive(&self, purpose: derive::Use) -> derive::SessionKeys {
        derive::session_keys(&self.key, &self.salt, purpose)
    }
}

impl Profile {
    /// Bytes of a master key and of a master salt.
    fn lengths(self) -> (usize, usize) {
        match self {
            Profile::Aes128CmSha1 => (16, 14),
            Profile::AeadAes128Gcm => (16, 12),
            Profile::AeadAes256Gcm => (32, 12),
        }
    }
}

#[cfg(test)]
mod tests;
