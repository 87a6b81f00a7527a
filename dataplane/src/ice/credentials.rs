//! ICE credentials that every shard can verify on its own.
//!
//! The password of a session is derived from its ufrag with a key of this process, so every shard can verify the first
//! connectivity check without another thread. A flood of forged checks costs one HMAC per check.

use std::sync::Arc;

use aws_lc_rs::hmac;
use spillway_wire::stun::{self, Message};

use crate::io::entropy::Entropy;

/// Creates and verifies ICE credentials; one key per node, shared by all sessions.
#[derive(Clone)]
pub struct IceKey(Arc<hmac::Key>);

/// Our ufrag: the part of an ICE username before the colon.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ufrag(pub Box<str>);

/// ICE credentials of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// ICE username fragment of the session.
    pub ufrag: String,
    /// ICE password of the session.
    pub pass: String,
}

/// Characters of a ufrag: 80 random bits. RFC 8839 section 5.4 requires at least 4 characters, with 24 bits.
const UFRAG_DIGITS: usize = 20;

impl IceKey {
    /// A random key for this process.
    pub fn generate(entropy: &mut Entropy) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &entropy.bytes::<32>());
        Self(Arc::new(key))
    }

    /// New credentials for a session.
    pub fn credentials(&self, entropy: &mut Entropy) -> Credentials {
        let ufrag = entropy.name::<{ UFRAG_DIGITS / 2 }>();
        let pass = self.password(&ufrag);
        Credentials { ufrag, pass }
    }

    /// True when `message`, sent to the session with `ufrag`, is protected with the session's password.
    pub fn verifies(&self, ufrag: &str, message: &Message<'_>) -> bool {
        if ufrag.len() != UFRAG_DIGITS {
            return false;
        }
        let Some(integrity) = message.integrity() else {
            return false;
        };
        // USERNAME must be protected by MESSAGE-INTEGRITY.
        if message.find_protected(stun::kinds::USERNAME).is_none() {
            return false;
        }
        // RFC 8489 section 9.1: short-term credentials use the password itself as the key.
        let password = self.password(ufrag);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
        let mut context = hmac::Context::with_key(&key);
        context.update(&integrity.header);
        context.update(integrity.attributes);
        constant_time_eq(context.sign().as_ref(), integrity.mac)
    }

    /// The password of `ufrag`: 128 bits in 32 ice-char characters (RFC 8839 section 5.4 requires at least 22).
    pub(crate) fn password(&self, ufrag: &str) -> String {
        const DIGITS: [char; 16] = [
            '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
        ];
        let tag = hmac::sign(&self.0, ufrag.as_bytes());
        let mut password = String::with_capacity(32);
        for byte in &tag.as_ref()[..16] {
            password.push(DIGITS[usize::from(byte >> 4)]);
            password.push(DIGITS[usize::from(byte & 15)]);
        }
        password
    }
}

fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (x, y)| all | (x ^ y)) == 0
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A connectivity check of a client that has `credentials`.
    pub(crate) fn check(credentials: &Credentials, use_candidate: bool) -> Vec<u8> {
        let controlling = (0x802a, &7_u64.to_be_bytes()[..]);
        let priority = (0x0024, &1_u32.to_be_bytes()[..]);
        let all = [controlling, priority, (0x0025, &[])];
        check_with(credentials, &all[..2 + usize::from(use_candidate)])
    }

    /// A check with these attributes after USERNAME.
    pub(crate) fn check_with(credentials: &Credentials, more: &[(u16, &[u8])]) -> Vec<u8> {
        check_from("peer", credentials, more)
    }

    /// A check of the agent `remote`.
    pub(crate) fn check_from(
        remote: &str,
        credentials: &Credentials,
        more: &[(u16, &[u8])],
    ) -> Vec<u8> {
        let username = format!("{}:{remote}", credentials.ufrag);
        let mut attributes = Vec::new();
        let mut put = |kind: u16, value: &[u8]| {
            attributes.extend(kind.to_be_bytes());
            attributes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            attributes.extend(value);
            attributes.resize(attributes.len().next_multiple_of(4), 0);
        };
        put(0x0006, username.as_bytes());
        more.iter().for_each(|(kind, value)| put(*kind, value));
        let length = u16::try_from(attributes.len() + 24).unwrap();
        let mut message = [0x0001_u16.to_be_bytes(), length.to_be_bytes()].concat();
        message.extend(0x2112_a442_u32.to_be_bytes());
        message.extend([7; 12]);
        message.extend(attributes);
        let key = hmac::Key::new(
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            credentials.pass.as_bytes(),
        );
        let mac = hmac::sign(&key, &message);
        message.extend([0, 8, 0, 20]);
        message.extend(mac.as_ref());
        message
    }

    #[test]
    fn only_checks_with_the_password_pass() {
        let key = IceKey::generate(&mut Entropy::System);
        let credentials = key.credentials(&mut Entropy::System);
        let good = check(&credentials, false);
        let good = Message::parse(&good).unwrap();
        assert!(key.verifies(good.receiver_ufrag().unwrap(), &good));
        assert!(
            !IceKey::generate(&mut Entropy::System).verifies(good.receiver_ufrag().unwrap(), &good)
        );

        let guessed = Credentials {
            pass: "guess".into(),
            ..credentials.clone()
        };
        let bad = check(&guessed, false);
        let bad = Message::parse(&bad).unwrap();
        assert!(!key.verifies(bad.receiver_ufrag().unwrap(), &bad));

        let short = Credentials {
            ufrag: "abcd".into(),
            ..credentials
        };
        let bad = check(&short, false);
        let bad = Message::parse(&bad).unwrap();
        assert!(!key.verifies(bad.receiver_ufrag().unwrap(), &bad));
    }
}
