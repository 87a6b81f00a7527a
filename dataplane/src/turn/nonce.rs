//! Nonces without server state: the time of creation, and an HMAC over the time and the client address.
//!
//! All shards with the same secret accept each other's nonces. A client that repeats a nonce has proven that it
//! receives at its source address.

use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::limits::NONCE_LIFETIME;

/// Start of a nonce (RFC 8489 section 9.2): a cookie, and the security features in base64. The first bit says that
/// PASSWORD-ALGORITHMS was sent, so its removal by a middlebox is detected.
const COOKIE: &[u8; 13] = b"obMatJos2gAAA";
const TIME_BYTES: usize = 4;
const TAG_BYTES: usize = 14;
const TEXT_BYTES: usize = COOKIE.len() + (TIME_BYTES + TAG_BYTES) / 3 * 4;

/// A nonce as it is sent.
pub(super) type Nonce = [u8; TEXT_BYTES];

/// Creates and checks nonces.
pub(super) struct Nonces {
    current: Hmac<Sha256>,
    /// The secret before the last rotation; its nonces are valid until they expire.
    previous: Option<Hmac<Sha256>>,
}

impl Nonces {
    /// `secret` must come from a secure generator.
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        Self {
            current: keyed(secret),
            previous: None,
        }
    }

    pub(super) fn rotate(&mut self, secret: &[u8; 32]) {
        self.previous = Some(std::mem::replace(&mut self.current, keyed(secret)));
    }

    pub(super) fn make(&self, unix_s: u64, client: SocketAddr) -> Nonce {
        let time = (unix_s as u32).to_be_bytes();
        let tag = tag(&self.current, time, client).finalize().into_bytes();
        let mut bytes = [0; TIME_BYTES + TAG_BYTES];
        bytes[..TIME_BYTES].copy_from_slice(&time);
        bytes[TIME_BYTES..].copy_from_slice(&tag[..TAG_BYTES]);
        let mut nonce = [0; TEXT_BYTES];
        nonce[..COOKIE.len()].copy_from_slice(COOKIE);
        STANDARD_NO_PAD
            .encode_slice(bytes, &mut nonce[COOKIE.len()..])
            .expect("18 bytes are 24 characters");
        nonce
    }

    /// True for a nonce that was made for `client` and is not too old.
    pub(super) fn is_good(&self, nonce: &[u8], unix_s: u64, client: SocketAddr) -> bool {
        let Some(text) = nonce.strip_prefix(COOKIE) else {
            return false;
        };
        let mut bytes = [0; TIME_BYTES + TAG_BYTES];
        if text.len() != TEXT_BYTES - COOKIE.len()
            || STANDARD_NO_PAD.decode_slice(text, &mut bytes) != Ok(bytes.len())
        {
            return false;
        }
        let (time, said) = bytes.split_at(TIME_BYTES);
        let time: [u8; TIME_BYTES] = time.try_into().expect("it was split there");
        // Wraps with the time, in 2106. A nonce from the future is not ours, or was made before the clock was set.
        let age_s = (unix_s as u32).wrapping_sub(u32::from_be_bytes(time));
        if u64::from(age_s) >= NONCE_LIFETIME.as_secs() {
            return false;
        }
        std::iter::once(&self.current)
            .chain(&self.previous)
            .any(|key| tag(key, time, client).verify_truncated_left(said).is_ok())
    }
}

fn keyed(secret: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret).expect("an HMAC takes keys of any size")
}

fn tag(key: &Hmac<Sha256>, time: [u8; TIME_BYTES], client: SocketAddr) -> Hmac<Sha256> {
    let ip = match client.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut mac = key.clone();
    mac.update(&time);
    mac.update(&ip.octets());
    mac.update(&client.port().to_be_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_for_its_client_its_time_and_its_secret() {
        let (now, client) = (1_790_000_000, "198.51.100.7:40000".parse().unwrap());
        let mut nonces = Nonces::new(&[1; 32]);
        let nonce = nonces.make(now, client);
        assert!(nonces.is_good(&nonce, now, client));
        assert!(nonces.is_good(&nonce, now + 599, client));
        assert!(!nonces.is_good(&nonce, now + 600, client), "too old");
        assert!(!nonces.is_good(&nonce, now - 1, client), "from the future");
        for other in ["198.51.100.7:40001", "198.51.100.8:40000"] {
            assert!(!nonces.is_good(&nonce, now, other.parse().unwrap()));
        }
        let stranger = Nonces::new(&[2; 32]);
        assert!(!stranger.is_good(&nonce, now, client), "another server");
        assert_ne!(stranger.make(now, client), nonce, "predictable");

        nonces.rotate(&[3; 32]);
        assert!(nonces.is_good(&nonce, now, client), "one rotation ago");
        nonces.rotate(&[4; 32]);
        assert!(!nonces.is_good(&nonce, now, client), "two");
    }

    #[test]
    fn no_nonce_with_a_changed_byte_is_good() {
        let (now, client) = (1_790_000_000, "[2001:db8::7]:40000".parse().unwrap());
        let nonces = Nonces::new(&[1; 32]);
        let nonce = nonces.make(now, client);
        for at in 0..nonce.len() {
            for bit in 0..8 {
                let mut changed = nonce;
                changed[at] ^= 1 << bit;
                assert!(!nonces.is_good(&changed, now, client), "byte {at}");
            }
            assert!(!nonces.is_good(&nonce[..at], now, client));
        }
        assert!(!nonces.is_good(&[&nonce[..], b"A"].concat(), now, client));
    }
}
