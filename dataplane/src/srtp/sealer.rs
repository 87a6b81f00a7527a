//! Encrypts all packets that one session sends: the only owner of packet indices under the session's write key.

use spillway_mutants::{Mutant, is_planted};

use super::cipher::Cipher;
use super::derive;
use super::incoming::{RtcpOpener, Verifier};
use super::master_key::MasterKey;
use super::outgoing::{AeadChoice, Outgoing};
use super::srtcp::{ENCRYPTED, INDEX_BYTES, RTCP_CLEAR_BYTES};

/// Keys of a session in both directions.
pub struct Keys {
    /// Encrypts packets to the peer.
    pub sealer: Sealer,
    /// Decrypts RTCP of the peer.
    pub rtcp_opener: RtcpOpener,
    /// Verifies RTP of the peer.
    pub verifier: Verifier,
}

/// Encrypts the packets of one session.
pub struct Sealer {
    rtp: Outgoing,
    rtcp: Cipher,
    rtcp_index: u32,
}

impl Keys {
    /// Encrypts with `ours`; decrypts and verifies with `theirs`.
    pub fn new(ours: &MasterKey, theirs: &MasterKey, choice: AeadChoice) -> Self {
        Self {
            sealer: Sealer::new(ours, choice),
            rtcp_opener: RtcpOpener::new(theirs),
            verifier: Verifier::new(theirs),
        }
    }
}

impl Sealer {
    /// A sealer with our write key `ours`.
    pub fn new(ours: &MasterKey, choice: AeadChoice) -> Self {
        let rtp = ours.derive(derive::Use::Rtp);
        Self {
            rtp: Outgoing::new(ours.profile, &rtp, choice),
            rtcp: ours.cipher(derive::Use::Rtcp),
            rtcp_index: 0,
        }
    }

    /// Prefetches the memory that encryption of RTP needs first.
    pub fn prefetch(&self) {
        self.rtp.prefetch();
    }

    /// Bytes that encryption adds to an RTP packet.
    pub fn rtp_overhead(&self) -> usize {
        self.rtp.tag_bytes()
    }

    /// Encrypts an RTP packet in place. `packet` is header, payload, and [`rtp_overhead`](Self::rtp_overhead) bytes of
    /// space. `index` is the 48-bit packet index (rollover counter and sequence number), and must be new for `ssrc`.
    pub fn seal_rtp(&self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) {
        self.rtp.seal(packet, header, ssrc, index);
    }

    /// Encrypts the compound RTCP packet of `length` bytes at the start of `buffer`. Returns its new length.
    pub fn seal_rtcp(&mut self, buffer: &mut [u8], length: usize) -> usize {
        self.rtcp_index = (self.rtcp_index + 1) & !ENCRYPTED;
        if is_planted(Mutant::RtcpIndexRepeats) {
            self.rtcp_index &= !0x20;
        }
        let ssrc = u32::from_be_bytes([buffer[4], buffer[5], buffer[6], buffer[7]]);
        let word = (self.rtcp_index | ENCRYPTED).to_be_bytes();
        let iv = self.rtcp.rtcp_iv(ssrc, self.rtcp_index);
        let tag = self.rtcp.tag_bytes();
        if self.rtcp.is_aead() {
            // RFC 7714 section 9.2: the tag follows the ciphertext, the index word is last.
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
