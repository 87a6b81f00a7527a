//! Packets from the peer: SRTCP is decrypted, SRTP is verified before the session layer sees it.
//!
//! The session layer decrypts media. But it maps the SSRC of a packet to an m-line before it has authenticated the
//! packet, so [`Verifier`] authenticates packets with a new SSRC first.

use super::cipher::Cipher;
use super::derive;
use super::master_key::MasterKey;
use super::replay::Seen;
use super::srtcp::{ENCRYPTED, INDEX_BYTES, RTCP_CLEAR_BYTES};
use crate::limits::MAX_DATAGRAM_BYTES;

/// Reason why a packet was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The packet is too short for header, index and tag.
    #[error("srtcp packet of {0} bytes is too short")]
    TooShort(usize),
    /// The index was used before, or is too old to be known.
    #[error("srtcp index {0} was used before")]
    Replayed(u32),
    /// The session has the maximum number of RTCP senders.
    #[error("srtcp is from more senders than {0}")]
    TooManySenders(usize),
    /// The packet does not authenticate, or was not encrypted.
    #[error("srtcp packet is not from the peer")]
    Forged,
}

/// Authenticates and decrypts SRTCP of the peer; accepts each packet once.
pub struct RtcpOpener {
    cipher: Cipher,
    seen: Seen,
}

/// Distinguishes SRTP of the peer from forged packets.
pub struct Verifier {
    cipher: Cipher,
}

impl RtcpOpener {
    pub(super) fn new(theirs: &MasterKey) -> Self {
        Self {
            cipher: theirs.cipher(derive::Use::Rtcp),
            seen: Seen::default(),
        }
    }

    /// Decrypts an SRTCP packet in place, and returns the compound packet. At most `max_senders` SSRCs may send.
    pub fn open<'p>(
        &mut self,
        packet: &'p mut [u8],
        max_senders: usize,
    ) -> Result<&'p [u8], OpenError> {
        let tag = self.cipher.tag_bytes();
        let total = packet.len();
        let payload_end = total
            .checked_sub(tag + INDEX_BYTES)
            .filter(|end| *end >= RTCP_CLEAR_BYTES)
            .ok_or(OpenError::TooShort(total))?;
        let word_at = if self.cipher.is_aead() {
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
        if self.seen.contains(ssrc, index) {
            return Err(OpenError::Replayed(index));
        }
        let iv = self.cipher.rtcp_iv(ssrc, index);
        let opened = if self.cipher.is_aead() {
            self.cipher
                .open(&mut packet[..word_at], RTCP_CLEAR_BYTES, &iv, &word)
        } else {
            self.cipher
                .open_rtcp_cm(packet, RTCP_CLEAR_BYTES, payload_end, &iv)
        };
        if !opened {
            return Err(OpenError::Forged);
        }
        if !self.seen.insert(ssrc, index, max_senders) {
            return Err(OpenError::TooManySenders(max_senders));
        }
        Ok(&packet[..payload_end])
    }
}

impl Verifier {
    pub(super) fn new(theirs: &MasterKey) -> Self {
        Self {
            cipher: theirs.cipher(derive::Use::Rtp),
        }
    }

    /// True when the peer made `packet`, which is `header` bytes of RTP header, payload and tag. `index` is the 48-bit
    /// packet index of its `ssrc`.
    pub fn verifies(&self, packet: &[u8], header: usize, ssrc: u32, index: u64) -> bool {
        let mut room = [0; MAX_DATAGRAM_BYTES];
        let Some(room) = room.get_mut(..packet.len()) else {
            return false;
        };
        if packet.len() < header + self.cipher.tag_bytes() {
            return false;
        }
        if !self.cipher.is_aead() {
            return self.cipher.verifies_cm(packet, (index >> 16) as u32);
        }
        room.copy_from_slice(packet);
        let iv = self.cipher.rtp_iv(ssrc, index);
        self.cipher.open(room, header, &iv, &[])
    }
}

/// Decrypts SRTP of the peer, for a receiver without a session layer.
pub struct RtpOpener {
    cipher: Cipher,
}

impl RtpOpener {
    /// An opener of packets that were sealed with `theirs`.
    pub fn new(theirs: &MasterKey) -> Self {
        Self {
            cipher: theirs.cipher(derive::Use::Rtp),
        }
    }

    /// Decrypts `packet` in place: `header` bytes of RTP header, payload and tag. `index` is the 48-bit packet index of its
    /// `ssrc`. Returns the payload; `None` when the packet is not from the peer. Replays are not detected.
    pub fn open<'p>(
        &self,
        packet: &'p mut [u8],
        header: usize,
        ssrc: u32,
        index: u64,
    ) -> Option<&'p [u8]> {
        let end = packet.len().checked_sub(self.cipher.tag_bytes())?;
        if end < header {
            return None;
        }
        let iv = self.cipher.rtp_iv(ssrc, index);
        let opened = match self.cipher.is_aead() {
            true => self.cipher.open(packet, header, &iv, &[]),
            false => {
                let rollover = (index >> 16) as u32;
                self.cipher.open_rtp_cm(packet, header, &iv, rollover)
            }
        };
        match opened {
            true => Some(&packet[header..end]),
            false => None,
        }
    }
}

/// The 48-bit index of the packet with sequence number `seq`. `highest` is the highest index received from its SSRC:
/// the nearest rollover counter is used (RFC 3711 section 3.3.1). A new SSRC starts with rollover counter 0.
pub fn packet_index(highest: Option<u64>, seq: u16) -> u64 {
    let Some(highest) = highest else {
        return u64::from(seq);
    };
    let rollover = highest >> 16;
    let ahead = seq.wrapping_sub(highest as u16);
    let rollover = if ahead <= u16::MAX / 2 {
        rollover + u64::from(seq < highest as u16)
    } else {
        rollover.saturating_sub(u64::from(seq > highest as u16))
    };
    rollover << 16 | u64::from(seq)
}

#[cfg(test)]
mod tests {
    use super::super::{AeadChoice, Profile, Sealer};
    use super::*;

    #[test]
    fn the_rollover_counter_is_the_closest() {
        for (highest, seq, index) in [
            (None, 65_535, 65_535),
            (Some(5), 6, 6),
            (Some(5), 4, 4),
            (Some(65_535), 0, 65_536),
            (Some(65_536), 65_535, 65_535),
            (Some(3), 65_530, 65_530), // rollover counters are not negative
            (Some(0x5_0000 + 40_000), 100, 0x6_0000 + 100),
            (Some(0x5_0000 + 100), 40_000, 0x4_0000 + 40_000),
        ] {
            assert_eq!(packet_index(highest, seq), index, "{highest:?} {seq}");
        }
    }

    #[test]
    fn only_what_the_peer_sealed_is_verified() {
        const HEADER: [u8; 12] = [0x80, 96, 0, 7, 0, 0, 0, 1, 0, 0, 0, 9];
        for profile in [
            Profile::Aes128CmSha1,
            Profile::AeadAes128Gcm,
            Profile::AeadAes256Gcm,
        ] {
            let (key, salt) = profile.lengths();
            let material: Vec<u8> = (0..2 * (key + salt)).map(|byte| byte as u8).collect();
            let (client, server) = MasterKey::split(profile, &material).unwrap();
            let sealer = Sealer::new(&client, AeadChoice::Library);
            let verifier = Verifier::new(&client);
            let index = 0x1_0007;
            let mut packet = [&HEADER[..], &[5; 100]].concat();
            packet.resize(packet.len() + sealer.rtp_overhead(), 0);
            sealer.seal_rtp(&mut packet, 12, 9, index);
            let opener = RtpOpener::new(&client);
            let mut sealed = packet.clone();
            assert_eq!(opener.open(&mut sealed, 12, 9, index + 0x1_0000), None);
            let mut sealed = packet.clone();
            let opened = opener.open(&mut sealed, 12, 9, index);
            assert_eq!(opened, Some(&[5; 100][..]));
            assert_eq!(opener.open(&mut packet[..12].to_vec(), 12, 9, index), None);
            assert!(verifier.verifies(&packet, 12, 9, index), "{profile:?}");
            assert!(!verifier.verifies(&packet, 12, 9, index + 0x1_0000));
            assert!(!Verifier::new(&server).verifies(&packet, 12, 9, index));
            for byte in [1, 20, packet.len() - 1] {
                let mut forged = packet.clone();
                forged[byte] ^= 1;
                assert!(!verifier.verifies(&forged, 12, 9, index), "byte {byte}");
            }
            for end in 0..packet.len() {
                assert!(!verifier.verifies(&packet[..end], 12.min(end), 9, index));
            }
        }
    }
}
