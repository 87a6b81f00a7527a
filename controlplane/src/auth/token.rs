//! Tokens: JWT, HS256, in LiveKit's claim layout.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Grants, Keys};
use crate::ids::{Identity, RoomName};
use crate::limits::{NAME_CHARS, TOKEN_BYTES, TOKEN_LEEWAY_SECONDS};

/// What a token says. Claims we do not know are ignored, as JWT wants it (RFC 7519, section 4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// API key that signed it.
    pub iss: String,
    /// Identity.
    pub sub: String,
    /// Display name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Not before, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// Expiry, seconds since 1970.
    pub exp: u64,
    /// The grants.
    pub video: VideoGrant,
}

/// LiveKit's `video` claim; what is left out is decided by [`Grants::from_claims`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)] // the names are LiveKit's
pub struct VideoGrant {
    pub room: String,
    pub room_join: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_sources: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_data: Option<bool>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

/// Why a token opens nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// Not signed by one of our keys with HS256, or not a token at all.
    #[error("token refused: {0}")]
    Invalid(String),
    /// Too late.
    #[error("token expired {0} s ago")]
    Expired(u64),
    /// Names no room, or not the one that is asked for.
    #[error("token is for room '{0}'")]
    WrongRoom(String),
    /// Lets nobody join.
    #[error("token lacks the grant roomJoin")]
    NoJoin,
}

/// What a valid token entitles to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) room: RoomName,
    pub(crate) identity: Identity,
    pub(crate) name: String,
    pub(crate) grants: Grants,
    /// When it ends, seconds since 1970.
    pub(crate) ends_s: u64,
    /// Seconds since it expired; a resume key may make up for that.
    pub(crate) expired: Option<u64>,
}

impl Keys {
    /// Signs `claims` with the first key, whose name goes into `iss`.
    pub fn sign(&self, mut claims: Claims) -> String {
        claims.iss.clone_from(&self.first().key);
        self.sign_any(&claims)
    }

    pub(super) fn sign_any<T: Serialize>(&self, claims: &T) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.encoding())
            .expect("claims are plain data and an HMAC takes any key")
    }

    /// Checks everything but the expiry, which is reported.
    pub(crate) fn check(&self, token: &str, unix_s: u64) -> Result<Entry, TokenRefused> {
        let claims: Claims = self.open(token)?;
        if claims
            .nbf
            .is_some_and(|nbf| nbf > unix_s + TOKEN_LEEWAY_SECONDS)
        {
            return Err(invalid("it is not valid yet"));
        }
        let name_chars = claims.name.chars().count();
        if name_chars > NAME_CHARS {
            let said = format!("name has {name_chars} characters, the limit is {NAME_CHARS}");
            return Err(TokenRefused::Invalid(said));
        }
        let grants = Grants::from_claims(&claims.video).ok_or(TokenRefused::NoJoin)?;
        let room = claims.video.room;
        let identity: Identity = claims
            .sub
            .parse()
            .map_err(|error: crate::ids::IdError| TokenRefused::Invalid(format!("sub: {error}")))?;
        let age_s = unix_s.saturating_sub(claims.exp);
        Ok(Entry {
            room: room.parse().map_err(|_| TokenRefused::WrongRoom(room))?,
            name: if claims.name.is_empty() {
                identity.to_string()
            } else {
                claims.name
            },
            identity,
            grants,
            ends_s: claims.exp,
            expired: (age_s > TOKEN_LEEWAY_SECONDS).then_some(age_s),
        })
    }

    /// Checks signature and issuer, and nothing else.
    pub(super) fn open<T: DeserializeOwned>(&self, token: &str) -> Result<T, TokenRefused> {
        #[derive(Deserialize)]
        struct Issuer {
            iss: String,
        }
        if token.len() > TOKEN_BYTES {
            let length = token.len();
            let said = format!("it has {length} bytes, the limit is {TOKEN_BYTES}");
            return Err(TokenRefused::Invalid(said));
        }
        // Read before the signature is checked, only to find the key to check it with.
        let issuer: Issuer = jsonwebtoken::dangerous::insecure_decode_claims(token)
            .map_err(|e| refusal(e.kind()))?;
        let key = self
            .decoding(&issuer.iss)
            .ok_or_else(|| invalid("its iss is not one of our API keys"))?;
        let mut validation = Validation::new(Algorithm::HS256);
        // Times are checked by the caller, who has the clock; audiences are not in this layout.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        jsonwebtoken::decode::<T>(token, &key, &validation)
            .map(|data| data.claims)
            .map_err(|error| refusal(error.kind()))
    }
}

fn invalid(said: &str) -> TokenRefused {
    TokenRefused::Invalid(said.to_owned())
}

fn refusal(kind: &ErrorKind) -> TokenRefused {
    match kind {
        ErrorKind::InvalidSignature => invalid("its signature does not match"),
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => {
            invalid("its algorithm is not HS256")
        }
        ErrorKind::Json(error) => TokenRefused::Invalid(format!("its claims: {error}")),
        _ => invalid("it is not a JWT"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::ApiKey;

    const NOW: u64 = 1_800_000_000;

    fn keys(pairs: &[&str]) -> Keys {
        let parse = |pair: &&str| pair.parse::<ApiKey>().unwrap();
        Keys::new(pairs.iter().map(parse).collect()).unwrap()
    }

    fn ours() -> Keys {
        keys(&["A:0123456789abcdef", "B:fedcba9876543210"])
    }

    fn claims() -> Claims {
        Claims {
            iss: String::new(),
            sub: "ann".to_owned(),
            name: "Ann".to_owned(),
            nbf: None,
            exp: NOW + 60,
            video: VideoGrant {
                room: "r".to_owned(),
                room_join: true,
                ..VideoGrant::default()
            },
        }
    }

    fn refused(token: &str) -> String {
        ours().check(token, NOW).unwrap_err().to_string()
    }

    #[test]
    fn tokens_of_every_key_open_their_room() {
        for pairs in [&["A:0123456789abcdef"], &["B:fedcba9876543210"]] {
            let entry = ours().check(&keys(pairs).sign(claims()), NOW).unwrap();
            assert_eq!(entry.room.as_str(), "r");
            assert_eq!(entry.identity.as_str(), "ann");
            assert_eq!(entry.name, "Ann");
            assert_eq!(entry.expired, None);
        }
    }

    #[test]
    fn forged_and_foreign_tokens_are_refused_by_name() {
        let forged = keys(&["A:forgedforgedforged"]).sign(claims());
        assert!(refused(&forged).contains("signature"));
        let foreign = keys(&["C:0123456789abcdef"]).sign(claims());
        assert!(refused(&foreign).contains("iss"));
        assert!(refused("").contains("not a JWT"));
        assert!(refused("a.b.c").contains("token refused"));
        assert!(refused(&"x".repeat(TOKEN_BYTES + 1)).contains("the limit is 8192"));
    }

    #[test]
    fn other_algorithms_are_refused_even_with_the_right_secret() {
        let mut claims = claims();
        claims.iss = "A".to_owned();
        let key = jsonwebtoken::EncodingKey::from_secret(b"0123456789abcdef");
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            let token = jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).unwrap();
            assert!(refused(&token).contains("not HS256"), "{algorithm:?}");
        }
        // {"alg":"none","typ":"JWT"} with our claims and no signature
        let signed = ours().sign(claims);
        let body = signed.split('.').nth(1).unwrap();
        let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.");
        assert!(
            refused(&none).contains("token refused"),
            "{}",
            refused(&none)
        );
    }

    #[test]
    fn times_rooms_and_grants_are_checked() {
        let sign = |change: &dyn Fn(&mut Claims)| {
            let mut changed = claims();
            change(&mut changed);
            ours().sign(changed)
        };
        let expired = sign(&|c| c.exp = NOW - 100);
        assert_eq!(ours().check(&expired, NOW).unwrap().expired, Some(100));
        let within_leeway = sign(&|c| c.exp = NOW - 5);
        assert_eq!(ours().check(&within_leeway, NOW).unwrap().expired, None);
        assert!(refused(&sign(&|c| c.nbf = Some(NOW + 60))).contains("not valid yet"));
        assert!(refused(&sign(&|c| c.video.room_join = false)).contains("roomJoin"));
        assert!(refused(&sign(&|c| c.video.room.clear())).contains("room ''"));
        assert!(refused(&sign(&|c| c.sub.clear())).contains("identity has 0 characters"));
        assert!(refused(&sign(&|c| c.name = "n".repeat(129))).contains("limit is 128"));
    }
}
