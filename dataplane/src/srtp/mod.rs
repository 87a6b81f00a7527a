//! SRTP and SRTCP (RFC 3711, RFC 7714): what we send to subscribers is sealed in place, what peers send is verified.
//!
//! The session layer does the DTLS handshake; its keying material passes [`crate::dtls::provider`]. From then on one
//! [`Sealer`] owns all numbers under the session's write key: with AES-GCM a packet index used twice
//! would give the key away, so nobody else may send with it.

mod cipher; // one direction of one kind of packet
mod derive; // session keys from master keys
mod gcm; // AES-GCM of what is sent, where the processor has wide vectors
mod incoming; // what the peer sends: SRTCP opened, SRTP verified
mod outgoing; // RTP that is sent, sealed by whoever can
mod replay; // which packets were seen

use cipher::Cipher;
use outgoing::Outgoing;

use zeroize::Zeroize;

pub use incoming::{RtcpOpener, Verifier, packet_index};
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
    #[error("srtcp is from more senders than {0}")]
    TooManySenders(usize),
    /// It does not authenticate, or was not encrypted.
    #[error("srtcp packet is not from the peer")]
    Forged,
}

/// The keys of a session, both directions.
pub struct Keys {
    /// Seals what we send.
    pub sealer: Sealer,
    /// Opens the RTCP of the peer.
    pub rtcp_opener: RtcpOpener,
    /// Verifies the RTP of the peer.
    pub verifier: Verifier,
}

/// Seals what a session sends.
pub struct Sealer {
    rtp: Outgoing,
    rtcp: Cipher,
    rtcp_index: u32,
}

/// Bytes of an RTCP packet that stay readable: the first header.
const RTCP_CLEAR_BYTES: usize = 8;
/// E flag and SRTCP index (RFC 3711 section 3.4).
const INDEX_BYTES: usize = 4;
const ENCRYPTED: u32 = 1 << 31;

impl Keys {
    /// Seals with `ours`, opens and verifies with `theirs`.
    pub fn new(ours: &MasterKey, theirs: &MasterKey, choice: AeadChoice) -> Self {
        Self {
            sealer: Sealer::new(ours, choice),
            rtcp_opener: RtcpOpener::new(theirs),
            verifier: Verifier::new(theirs),
        }
    }
}

impl Sealer {
    /// Seals with `ours`.
    pub fn new(ours: &MasterKey, choice: AeadChoice) -> Self {
        let rtp = ours.derive(derive::Use::Rtp);
        Self {
            rtp: Outgoing::new(ours.profile, &rtp, choice),
            rtcp: ours.cipher(derive::Use::Rtcp),
            rtcp_index: 0,
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
