//! Keys, MESSAGE-INTEGRITY and FINGERPRINT of messages.
//!
//! Comparisons of HMACs take constant time.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;

use super::attribute::kinds;
use super::message::{Integrity, Message};
use super::{SHA1_BYTES, SHA256_BYTES};

/// A long-term key, by password algorithm (RFC 8489 section 18.5).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Password algorithm 1: MD5, which all clients support.
    Md5([u8; 16]),
    /// Password algorithm 2: SHA-256 (RFC 8489 section 18.5).
    Sha256([u8; 32]),
}

/// Result of the FINGERPRINT check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fingerprint {
    /// The message has no FINGERPRINT.
    Absent,
    /// The FINGERPRINT matches the message.
    Fits,
    /// The FINGERPRINT does not match, or is not the last attribute.
    Wrong,
}

/// Value that the CRC is XORed with, so that it differs from that of an enclosing packet (RFC 8489 section 14.7).
const FINGERPRINT_MASK: u32 = 0x5354_554e;
/// The CRC polynomial of ITU V.42, reflected.
const POLYNOMIAL: u32 = 0xedb8_8320;
const CRC_TABLE: [u32; 256] = crc_table();

impl Key {
    /// MD5(username ":" realm ":" password) (RFC 8489 section 9.2.2).
    pub fn md5(username: &[u8], realm: &[u8], password: &[u8]) -> Self {
        Self::Md5(digest::<Md5>(username, realm, password).into())
    }

    /// SHA-256(username ":" realm ":" password) (RFC 8489 section 18.5.1.2).
    pub fn sha256(username: &[u8], realm: &[u8], password: &[u8]) -> Self {
        Self::Sha256(digest::<Sha256>(username, realm, password).into())
    }

    /// The key for the HMAC.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Md5(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5(_) => "Key::Md5(..)",
            Self::Sha256(_) => "Key::Sha256(..)",
        })
    }
}

impl Integrity<'_, SHA1_BYTES> {
    /// True when the HMAC was made with `key`: the password for short-term credentials, [`Key::bytes`] for long-term
    /// credentials.
    pub fn fits(&self, key: &[u8]) -> bool {
        keyed::<Hmac<Sha1>>(key, &[&self.header, self.attributes])
            .verify_slice(self.mac)
            .is_ok()
    }
}

impl Integrity<'_, SHA256_BYTES> {
    /// True when the HMAC was made with `key`.
    pub fn fits(&self, key: &[u8]) -> bool {
        keyed::<Hmac<Sha256>>(key, &[&self.header, self.attributes])
            .verify_slice(self.mac)
            .is_ok()
    }
}

impl Message<'_> {
    /// Checks FINGERPRINT (RFC 8489 section 14.7).
    pub fn fingerprint(&self) -> Fingerprint {
        let Some(found) = self.find(kinds::FINGERPRINT) else {
            return Fingerprint::Absent;
        };
        let bytes = self.bytes();
        let Ok(said) = found.value.try_into().map(u32::from_be_bytes) else {
            return Fingerprint::Wrong;
        };
        if found.at + 8 == bytes.len() && said == fingerprint(&bytes[..found.at]) {
            Fingerprint::Fits
        } else {
            Fingerprint::Wrong
        }
    }
}

/// FINGERPRINT of a message that starts with `bytes`, whose header already has the final length.
pub fn fingerprint(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(!0, |crc: u32, &byte| {
        CRC_TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8)
    });
    !crc ^ FINGERPRINT_MASK
}

pub(super) fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; SHA1_BYTES] {
    keyed::<Hmac<Sha1>>(key, parts)
        .finalize()
        .into_bytes()
        .into()
}

pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; SHA256_BYTES] {
    keyed::<Hmac<Sha256>>(key, parts)
        .finalize()
        .into_bytes()
        .into()
}

fn keyed<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> M {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("an HMAC takes keys of any size");
    for part in parts {
        mac.update(part);
    }
    mac
}

fn digest<D: Digest>(username: &[u8], realm: &[u8], password: &[u8]) -> md5::digest::Output<D> {
    D::new()
        .chain_update(username)
        .chain_update(b":")
        .chain_update(realm)
        .chain_update(b":")
        .chain_update(password)
        .finalize()
}

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                POLYNOMIAL ^ (crc >> 1)
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}
