//! One direction of SRTP or SRTCP: cipher, key and salt.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::EncryptingKey;
use aws_lc_rs::hmac;

use super::derive::{SessionKeys, counter_key, counter_mode};
use super::profile::Profile;

/// Encrypts and decrypts packets in place.
pub(super) enum Cipher {
    /// AES-GCM by the library (RFC 7714).
    Aead {
        /// The AES key, expanded once.
        key: LessSafeKey,
        /// Session salt of the nonce (RFC 7714 section 8.1).
        salt: [u8; 12],
    },
    /// AES in counter mode with HMAC-SHA1-80 (RFC 3711).
    CounterHmac(Box<CounterHmac>),
}

/// Keys of counter mode with HMAC; boxed, because they are large and few sessions use them.
pub(super) struct CounterHmac {
    /// The AES key, expanded once.
    key: EncryptingKey,
    /// HMAC key of the authentication tag.
    auth: hmac::Key,
    /// Session salt of the counter (RFC 3711 section 4.1.1).
    salt: [u8; 14],
}

/// The initialisation vector of one packet: 12 bytes for AEAD, 16 for counter mode.
pub(super) type Iv = [u8; 16];

pub(super) const AEAD_TAG_BYTES: usize = 16;
const HMAC_TAG_BYTES: usize = 10;

impl Cipher {
    pub(super) fn new(profile: Profile, keys: &SessionKeys) -> Self {
        let algorithm = match profile {
            Profile::Aes128CmSha1 => {
                return Self::CounterHmac(Box::new(CounterHmac {
                    key: counter_key(&keys.key),
                    auth: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &keys.auth),
                    salt: fixed(&keys.salt),
                }));
            }
            Profile::AeadAes128Gcm => &AES_128_GCM,
            Profile::AeadAes256Gcm => &AES_256_GCM,
        };
        let key = UnboundKey::new(algorithm, &keys.key)
            .expect("the profile fixes the length of its keys");
        Self::Aead {
            key: LessSafeKey::new(key),
            salt: fixed(&keys.salt),
        }
    }

    pub(super) fn is_aead(&self) -> bool {
        matches!(self, Self::Aead { .. })
    }

    pub(super) fn tag_bytes(&self) -> usize {
        match self {
            Self::Aead { .. } => AEAD_TAG_BYTES,
            Self::CounterHmac(_) => HMAC_TAG_BYTES,
        }
    }

    /// IV of the RTP packet with the 48-bit `index` (RFC 7714 section 8.1, RFC 3711 section 4.1.1).
    pub(super) fn rtp_iv(&self, ssrc: u32, index: u64) -> Iv {
        match self {
            // The 48-bit index is the rollover counter followed by the sequence number.
            Self::Aead { salt, .. } => aead_iv(salt, ssrc, index),
            Self::CounterHmac(counter) => counter_iv(&counter.salt, ssrc, index),
        }
    }

    /// IV of the RTCP packet with the 31-bit `index` (RFC 7714 section 9.1).
    pub(super) fn rtcp_iv(&self, ssrc: u32, index: u32) -> Iv {
        match self {
            Self::Aead { salt, .. } => aead_iv(salt, ssrc, u64::from(index)),
            Self::CounterHmac(counter) => counter_iv(&counter.salt, ssrc, u64::from(index)),
        }
    }

    /// Encrypts `packet[clear..]`; the last bytes are space for the tag. Also authenticated: `rollover` behind the
    /// packet (counter mode), `more` behind the clear part (AEAD).
    pub(super) fn seal(
        &self,
        packet: &mut [u8],
        clear: usize,
        iv: &Iv,
        more: &[u8],
        rollover: Option<u32>,
    ) {
        let end = packet.len() - self.tag_bytes();
        let (body, tag_room) = packet.split_at_mut(end);
        match self {
            Self::Aead { key, .. } => {
                let (header, payload) = body.split_at_mut(clear);
                let nonce = Nonce::assume_unique_for_key(fixed(&iv[..12]));
                let tag = match more {
                    [] => key.seal_in_place_separate_tag(nonce, Aad::from(&*header), payload),
                    _ => {
                        let aad = [header, more].concat();
                        key.seal_in_place_separate_tag(nonce, Aad::from(aad), payload)
                    }
                };
                let tag = tag.expect("a datagram is shorter than what AES-GCM can seal");
                tag_room.copy_from_slice(tag.as_ref());
            }
            Self::CounterHmac(counter) => {
                let CounterHmac { key, auth, .. } = &**counter;
                counter_mode(key, *iv, &mut body[clear..]);
                let rollover = rollover.map(u32::to_be_bytes);
                let tag = sign(
                    auth,
                    body,
                    rollover.as_ref().map_or(&[], |bytes| &bytes[..]),
                );
                tag_room.copy_from_slice(&tag.as_ref()[..HMAC_TAG_BYTES]);
            }
        }
    }

    /// Counter mode only: decrypts an RTP packet with this rollover counter. False when it does not authenticate.
    pub(super) fn open_rtp_cm(
        &self,
        packet: &mut [u8],
        clear: usize,
        iv: &Iv,
        rollover: u32,
    ) -> bool {
        let Self::CounterHmac(counter) = self else {
            unreachable!("the caller asked whether this is AEAD");
        };
        if !self.verifies_cm(packet, rollover) {
            return false;
        }
        let end = packet.len() - HMAC_TAG_BYTES;
        counter_mode(&counter.key, *iv, &mut packet[clear..end]);
        true
    }

    /// Counter mode only: encrypts up to `end`; the SRTCP index word is between the ciphertext and the tag.
    pub(super) fn seal_rtcp_cm(&self, packet: &mut [u8], clear: usize, end: usize, iv: &Iv) {
        let Self::CounterHmac(counter) = self else {
            unreachable!("the caller asked whether this is AEAD");
        };
        let CounterHmac { key, auth, .. } = &**counter;
        let (body, tag_room) = packet.split_at_mut(packet.len() - HMAC_TAG_BYTES);
        counter_mode(key, *iv, &mut body[clear..end]);
        tag_room.copy_from_slice(&sign(auth, body, &[]).as_ref()[..HMAC_TAG_BYTES]);
    }

    /// Decrypts a packet that [`seal`](Self::seal) made with the same `more`. False when it does not authenticate.
    pub(super) fn open(&self, packet: &mut [u8], clear: usize, iv: &Iv, more: &[u8]) -> bool {
        let Self::Aead { key, .. } = self else {
            unreachable!("the caller asked whether this is AEAD");
        };
        let (header, payload) = packet.split_at_mut(clear);
        let aad = [header, more].concat();
        let nonce = Nonce::assume_unique_for_key(fixed(&iv[..12]));
        key.open_in_place(nonce, Aad::from(aad), payload).is_ok()
    }

    /// Counter mode only: true when the tag matches `packet` with this rollover counter.
    pub(super) fn verifies_cm(&self, packet: &[u8], rollover: u32) -> bool {
        let Self::CounterHmac(counter) = self else {
            unreachable!("the caller asked whether this is AEAD");
        };
        let (body, tag) = packet.split_at(packet.len() - HMAC_TAG_BYTES);
        let expected = sign(&counter.auth, body, &rollover.to_be_bytes());
        fits(&expected, tag)
    }

    /// Decrypts a packet that [`seal_rtcp_cm`](Self::seal_rtcp_cm) made. False when it does not authenticate.
    pub(super) fn open_rtcp_cm(
        &self,
        packet: &mut [u8],
        clear: usize,
        end: usize,
        iv: &Iv,
    ) -> bool {
        let Self::CounterHmac(counter) = self else {
            unreachable!("the caller asked whether this is AEAD");
        };
        let CounterHmac { key, auth, .. } = &**counter;
        let (body, tag) = packet.split_at_mut(packet.len() - HMAC_TAG_BYTES);
        if !fits(&sign(auth, body, &[]), tag) {
            return false;
        }
        counter_mode(key, *iv, &mut body[clear..end]);
        true
    }
}

fn fits(expected: &hmac::Tag, tag: &[u8]) -> bool {
    let expected = &expected.as_ref()[..HMAC_TAG_BYTES];
    aws_lc_rs::constant_time::verify_slices_are_equal(expected, tag).is_ok()
}

fn sign(auth: &hmac::Key, body: &[u8], more: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(auth);
    context.update(body);
    context.update(more);
    context.sign()
}

/// 00 00 || SSRC || index (48 bits), XOR salt; the last 4 bytes are unused.
pub(super) fn aead_iv(salt: &[u8; 12], ssrc: u32, index: u64) -> Iv {
    let mut iv = [0; 16];
    iv[2..6].copy_from_slice(&ssrc.to_be_bytes());
    iv[6..12].copy_from_slice(&index.to_be_bytes()[2..]);
    for (byte, salt) in iv.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    iv
}

/// (salt << 16) XOR (SSRC << 64) XOR (index << 16).
fn counter_iv(salt: &[u8; 14], ssrc: u32, index: u64) -> Iv {
    let mut iv = [0; 16];
    iv[4..8].copy_from_slice(&ssrc.to_be_bytes());
    iv[8..14].copy_from_slice(&index.to_be_bytes()[2..]);
    for (byte, salt) in iv.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    iv
}

pub(super) fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the profile fixes the lengths")
}
