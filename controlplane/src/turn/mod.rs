//! TURN credentials with an expiry: the username contains the expiry, the password is an HMAC of
//! the username with the TURN server's secret. The format is that of coturn's REST API, so other
//! backends can create credentials too.
//!
//! The TURN server has quotas for each user. A user is an identity in a room, so a participant that
//! leaves and joins again is the same user. The username contains a keyed hash of room and
//! identity, not their names.
//!
//! The TURN server itself is in the data plane.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use sha1::Sha1;
use spillway_wire::turn::user_id;

use crate::ids::{Identity, RoomName};

/// A TURN username and password with an expiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// `expiry:user`, with the expiry in seconds since 1970.
    pub username: String,
    /// The password: base64(HMAC-SHA1(secret, username)).
    pub password: String,
}

/// Creates TURN credentials with the shared secret.
pub struct Issuer {
    secret: Box<[u8]>,
    ttl_s: u64,
}

/// TURN servers and credentials for a client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Relays {
    /// Empty if the node has no TURN server.
    pub ice_servers: Vec<IceServer>,
    /// Seconds during which the credentials can make allocations; absent without TURN servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ice_ttl_s: Option<u64>,
}

/// A TURN server in the form of the browser's `RTCIceServer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // RTCIceServer
pub struct IceServer {
    pub urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl Credential {
    /// Creates credentials that can make allocations until `expiry`, in seconds since 1970.
    pub fn mint(secret: &[u8], user: &str, expiry: u64) -> Self {
        let username = format!("{expiry}:{user}");
        let mut mac: Hmac<Sha1> =
            Hmac::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(username.as_bytes());
        let password = STANDARD.encode(mac.finalize().into_bytes());
        Self { username, password }
    }
}

impl Issuer {
    /// Signs credentials with `secret`. They can make allocations for `ttl_s` seconds.
    pub fn new(secret: &str, ttl_s: u64) -> Self {
        Self {
            secret: secret.as_bytes().into(),
            ttl_s,
        }
    }

    /// Credentials of `identity` for the TURN servers at `urls`; empty if `urls` is empty.
    pub fn relays(
        &self,
        urls: &[String],
        (room, identity): (&RoomName, &Identity),
        unix_s: u64,
    ) -> Relays {
        if urls.is_empty() {
            return Relays::default();
        }
        let user = user(&self.secret, room, identity);
        let Credential { username, password } =
            Credential::mint(&self.secret, &user, unix_s + self.ttl_s);
        Relays {
            ice_servers: vec![IceServer {
                urls: urls.to_vec(),
                username: Some(username),
                credential: Some(password),
            }],
            ice_ttl_s: Some(self.ttl_s),
        }
    }
}

/// The TURN user of `identity` in `room`.
pub fn user(secret: &[u8], room: &RoomName, identity: &Identity) -> String {
    user_id(secret, room.as_str(), identity.as_str())
}

/// Without the secret, so that it never appears in logs.
impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer")
            .field("ttl_s", &self.ttl_s)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_what_others_make_of_the_same_secret() {
        // printf '1800000000:alice' | openssl dgst -sha1 -hmac north -binary | base64
        let minted = Credential::mint(b"north", "alice", 1_800_000_000);
        assert_eq!(minted.username, "1800000000:alice");
        assert_eq!(minted.password, "sIm7pn/teO7y3AyXGeXl/xAQR6Q=");
    }

    #[test]
    fn servers_are_handed_out_while_somebody_relays() {
        let issuer = Issuer::new("north", 300);
        let (room, ann) = ("standup".parse().unwrap(), "ann".parse().unwrap());
        let who = (&room, &ann);
        assert_eq!(issuer.relays(&[], who, 1_000), Relays::default());
        let url = "turn:192.0.2.1:3478?transport=udp".to_owned();
        let relays = issuer.relays(std::slice::from_ref(&url), who, 1_000);
        let servers = relays.ice_servers;
        assert_eq!((servers.len(), relays.ice_ttl_s), (1, Some(300)));
        assert_eq!(servers[0].urls, [url]);
        let user = user(b"north", &room, &ann);
        assert_eq!(servers[0].username, Some(format!("1300:{user}")));
        assert!(!format!("{issuer:?}").contains("north"));
    }
}
