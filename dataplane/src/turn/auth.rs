//! Authentication of requests by long-term credentials (RFC 8489 section 9.2).
//!
//! A username is `expiry:user`, or only an expiry. The password is base64(HMAC-SHA1(secret, username)). Every service
//! that has the secret can create credentials, and no lookup is needed. This module keeps no state of clients; the
//! caller passes in the credentials of a live allocation.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use spillway_wire::stun::{Key, Message};
use spillway_wire::turn::{Fields, Username};

use super::deny::DenyReason;
use super::now::Now;
use crate::limits::{MAX_CREDENTIAL_LIFETIME, MAX_REALM_BYTES, MAX_USERNAME_BYTES};

/// Length of a password: base64 of an HMAC-SHA1.
const PASSWORD_BYTES: usize = 28;
/// PASSWORD-ALGORITHM numbers (RFC 8489 section 18.5).
const MD5: u16 = 0x0001;
const SHA256: u16 = 0x0002;
/// The value of PASSWORD-ALGORITHMS that we offer: SHA-256, then MD5, both without parameters.
pub(super) const PASSWORD_ALGORITHMS: [u8; 8] = [0, SHA256 as u8, 0, 0, 0, MD5 as u8, 0, 0];

/// The secrets that verify passwords.
pub(super) struct Authority {
    realm: Box<[u8]>,
    /// Valid secrets: two while one replaces the other.
    secrets: Vec<Secret>,
    /// Time for which a second secret, and allocations made with a removed secret, remain valid.
    grace: Duration,
    next_id: u32,
}

/// Id of the secret that verified a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SecretId(u32);

/// Key and username of a live allocation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) username: &'a [u8],
    pub(super) key: Key,
    pub(super) secret: SecretId,
}

/// Key for the MESSAGE-INTEGRITY of the response, and the secret behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seal {
    pub(super) key: Key,
    pub(super) secret: SecretId,
    pub(super) integrity: IntegrityKind,
}

struct Secret {
    id: SecretId,
    bytes: Box<[u8]>,
    keyed: Hmac<Sha1>,
    /// Time until which the secret is valid, because another one replaced it; `None` for the first secret.
    ends: Option<Instant>,
}

/// The integrity attribute of a request; its response has the same (RFC 8489 section 9.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IntegrityKind {
    Sha1,
    Sha256,
}

/// Authentication attributes of a request, all of which are present.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) username: &'a [u8],
    pub(super) nonce: &'a [u8],
    realm: &'a [u8],
    algorithm: Algorithm,
    integrity: IntegrityKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Md5,
    Sha256,
}

impl Authority {
    /// `secrets` has one or two secrets. The first is current, the second is valid for `grace` from `now` on.
    pub(super) fn new(realm: &str, secrets: &[Box<[u8]>], grace: Duration, now: Instant) -> Self {
        let mut authority = Self {
            realm: realm.as_bytes().into(),
            secrets: Vec::new(),
            grace,
            next_id: 0,
        };
        authority.set_secrets(secrets, now);
        authority
    }

    /// Sets the secrets. Credentials made with other secrets are refused from now on. Credentials made with the second
    /// secret are refused after the grace time.
    pub(super) fn set_secrets(&mut self, secrets: &[Box<[u8]>], now: Instant) {
        let mut before = std::mem::take(&mut self.secrets);
        for (place, bytes) in secrets.iter().enumerate() {
            let known = before.iter().position(|secret| secret.bytes == *bytes);
            let mut secret = match known {
                Some(known) => before.swap_remove(known),
                None => self.secret(bytes),
            };
            secret.ends = match place {
                0 => None,
                _ => Some(secret.ends.unwrap_or(now + self.grace)),
            };
            self.secrets.push(secret);
        }
    }

    /// Latest end of allocations made with `secret`; `None` if it is the current one.
    pub(super) fn end_of(&self, secret: SecretId, now: Instant) -> Option<Instant> {
        match self.secrets.iter().find(|known| known.id == secret) {
            Some(known) => known.ends,
            None => Some(now + self.grace),
        }
    }

    fn secret(&mut self, bytes: &[u8]) -> Secret {
        let id = SecretId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        Secret {
            id,
            bytes: bytes.into(),
            keyed: Hmac::new_from_slice(bytes).expect("an HMAC takes keys of any size"),
            ends: None,
        }
    }

    pub(super) fn realm(&self) -> &[u8] {
        &self.realm
    }

    /// Verifies the password of `message`. For a live allocation, `known` has its key; then secrets and expiry are not
    /// checked here, because they limit the lifetime of the allocation.
    pub(super) fn verify(
        &self,
        claim: &Claim<'_>,
        message: &Message<'_>,
        known: Option<Known<'_>>,
        now: Now,
    ) -> Result<Seal, DenyReason> {
        if claim.realm != &*self.realm {
            return Err(DenyReason::Unauthorized);
        }
        if let Some(known) = known
            && known.username == claim.username
            && claim.algorithm == Algorithm::of(&known.key)
        {
            return claim
                .fits(message, known.key, known.secret)
                .ok_or(DenyReason::Unauthorized);
        }
        if !is_current(claim.username, now.unix_s) {
            return Err(DenyReason::Expired);
        }
        let is_good = |secret: &&Secret| secret.ends.is_none_or(|ends| ends > now.instant);
        let seal = self
            .secrets
            .iter()
            .filter(is_good)
            .find_map(|secret| claim.fits(message, self.key(&secret.keyed, claim), secret.id))
            .ok_or(DenyReason::Unauthorized)?;
        match known {
            // RFC 8656 section 5: an allocation keeps the credentials it was made with.
            Some(known) if known.username != claim.username => Err(DenyReason::WrongCredentials),
            Some(_) | None => Ok(seal),
        }
    }

    fn key(&self, secret: &Hmac<Sha1>, claim: &Claim<'_>) -> Key {
        let mut mac = secret.clone();
        mac.update(claim.username);
        let mut password = [0; PASSWORD_BYTES];
        STANDARD
            .encode_slice(mac.finalize().into_bytes(), &mut password)
            .expect("20 bytes are 28 characters");
        match claim.algorithm {
            Algorithm::Md5 => Key::md5(claim.username, &self.realm, &password),
            Algorithm::Sha256 => Key::sha256(claim.username, &self.realm, &password),
        }
    }
}

impl<'a> Claim<'a> {
    /// Reads the authentication attributes of a request. Computes nothing.
    pub(super) fn read(fields: &Fields<'a>) -> Result<Self, DenyReason> {
        let integrity = match (fields.has_integrity, fields.has_integrity_sha256) {
            (false, false) => return Err(DenyReason::NoCredentials),
            (true, false) => IntegrityKind::Sha1,
            // The stronger attribute is used. A weaker one is included for servers that do not support the stronger
            // one.
            (true, true) | (false, true) => IntegrityKind::Sha256,
        };
        let (Some(username), Some(realm), Some(nonce)) =
            (fields.username, fields.realm, fields.nonce)
        else {
            return Err(DenyReason::BadRequest);
        };
        // RFC 8489 sections 14.3 and 14.9. Other characters that OpaqueString forbids are accepted.
        let is_text = std::str::from_utf8(username)
            .is_ok_and(|username| !username.chars().any(char::is_control));
        if username.len() > MAX_USERNAME_BYTES || realm.len() > MAX_REALM_BYTES || !is_text {
            return Err(DenyReason::BadRequest);
        }
        Ok(Self {
            username,
            nonce,
            realm,
            algorithm: Algorithm::chosen(fields)?,
            integrity,
        })
    }

    /// The seal for the response, if `message` was made with `key`.
    fn fits(&self, message: &Message<'_>, key: Key, secret: SecretId) -> Option<Seal> {
        let fits = match self.integrity {
            IntegrityKind::Sha1 => message.integrity()?.fits(key.bytes()),
            IntegrityKind::Sha256 => message.integrity_sha256()?.fits(key.bytes()),
        };
        fits.then_some(Seal {
            key,
            secret,
            integrity: self.integrity,
        })
    }
}

impl Algorithm {
    /// The algorithm that a client chose from our list (RFC 8489 section 9.2.4). All our nonces say that a list was
    /// sent. If a client repeats another list, a middlebox has changed it.
    fn chosen(fields: &Fields<'_>) -> Result<Self, DenyReason> {
        match (fields.password_algorithms, fields.password_algorithm) {
            (None, None) => Ok(Self::Md5),
            (Some(offer), Some([high, low, 0, 0])) if offer == PASSWORD_ALGORITHMS => {
                match u16::from_be_bytes([*high, *low]) {
                    MD5 => Ok(Self::Md5),
                    SHA256 => Ok(Self::Sha256),
                    _ => Err(DenyReason::BadRequest),
                }
            }
            (None | Some(_), None | Some(_)) => Err(DenyReason::BadRequest),
        }
    }

    fn of(key: &Key) -> Self {
        match key {
            Key::Md5(_) => Self::Md5,
            Key::Sha256(_) => Self::Sha256,
        }
    }
}

/// The user of `expiry:user`.
pub(super) fn user(username: &[u8]) -> &[u8] {
    Username::read(username).user
}

/// Remaining validity of the credentials `expiry:user`; `None` if expired.
pub(super) fn time_left(username: &[u8], unix_s: u64) -> Option<Duration> {
    let left = Username::read(username).expiry_s?.checked_sub(unix_s)?;
    (left > 0).then(|| Duration::from_secs(left))
}

/// True when the expiry of `expiry:user` is in the future, but not too far.
fn is_current(username: &[u8], unix_s: u64) -> bool {
    time_left(username, unix_s).is_some_and(|left| left <= MAX_CREDENTIAL_LIFETIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_ahead_but_not_too_far() {
        let now = 1_790_000_000;
        let day = MAX_CREDENTIAL_LIFETIME.as_secs();
        for (username, current) in [
            (format!("{}:me", now + 1), true),
            (format!("{}:me", now + day), true),
            (format!("{}:a:b", now + 1), true),
            (format!("{}:", now + 1), true),
            (format!("{now}:me"), false),
            (format!("{}:me", now + day + 1), false),
            (format!("{}", now + 1), true),
            (format!("{}", now + day + 1), false),
            (format!("{now}"), false),
            (format!("+{}:me", now + 1), false),
            (format!(" {}:me", now + 1), false),
            (format!("{}:me", u128::MAX), false),
            (":me".into(), false),
            ("me".into(), false),
            (String::new(), false),
        ] {
            assert_eq!(is_current(username.as_bytes(), now), current, "{username}");
        }
        assert_eq!(user(b"123:a:b"), b"a:b");
        assert_eq!(user(b"123"), b"123");
    }
}
