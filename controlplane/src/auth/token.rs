//! Tokens: JWT (RFC 7519) with HS256, and claims in LiveKit's layout.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::claims::{self, ClaimError, SignedClaims, VideoGrant};
use super::grants::Grants;
use super::keys::Keys;
use crate::ids::{IdError, Identity, RoomName};
use crate::json;
use crate::limits::{DISPLAY_NAME_CHARS, TOKEN_BYTES};

/// Claims of tokens that this server signs. [`SignedClaims`] has those of tokens to check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// API key that signed the token.
    pub iss: String,
    /// Identity of the participant.
    pub sub: String,
    /// Display name of the participant; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Not before, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// Expiry, seconds since 1970.
    pub exp: u64,
    /// Room and grants of the participant.
    pub video: VideoGrant,
}

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// Not a JWT, not signed with HS256 by a known API key, or a claim is wrong.
    #[error("token refused: {0}")]
    Invalid(String),
    /// The token expired this many seconds ago.
    #[error("token expired {0} s ago")]
    Expired(u64),
    /// The token has no grant to join.
    #[error("token lacks the grant roomJoin")]
    NoJoin,
}

/// Content of a token with a valid signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) room: RoomName,
    pub(crate) identity: Identity,
    pub(crate) name: String,
    pub(crate) grants: Grants,
    /// Expiry of the token, seconds since 1970.
    pub(crate) ends_s: u64,
    /// True for a demo token, which every client can get.
    pub(crate) is_demo: bool,
    /// Seconds since the token expired; `None` if it is valid. With a resume key the participant
    /// may still resume.
    pub(crate) expired: Option<u64>,
}

impl Keys {
    /// Signs `claims` with the first key, and sets `iss`.
    pub fn sign(&self, mut claims: Claims) -> String {
        claims.iss.clone_from(&self.first().key);
        self.sign_any(&claims)
    }

    /// Signs a demo token, which every client can get. Programs and pages of this server can join
    /// with it, but not pages of other origins.
    pub(crate) fn sign_demo(&self, mut claims: Claims) -> String {
        #[derive(Serialize)]
        struct Demo {
            #[serde(flatten)]
            claims: Claims,
            #[serde(rename = "spillwayDemo")]
            demo: bool,
        }
        claims.iss.clone_from(&self.first().key);
        self.sign_any(&Demo { claims, demo: true })
    }

    pub(super) fn sign_any<T: Serialize>(&self, claims: &T) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.encoding())
            .expect("claims are plain data and an HMAC takes any key")
    }

    /// Checks a token. An expired token is not an error, but reported in [`Entry::expired`]. Clocks
    /// may differ by `leeway_s`.
    pub(crate) fn check(
        &self,
        token: &str,
        unix_s: u64,
        leeway_s: u64,
    ) -> Result<Entry, TokenRefused> {
        let claims = SignedClaims::read(&self.open(token)?)?;
        let (now, leeway) = (unix_s as f64, leeway_s as f64);
        if let Some(nbf) = claims.nbf.filter(|nbf| *nbf > now + leeway) {
            let said = format!("nbf is {:.0} s ahead: it is not valid yet", nbf - now);
            return Err(TokenRefused::Invalid(said));
        }
        let name_chars = claims.name.chars().count();
        if name_chars > DISPLAY_NAME_CHARS {
            let said =
                format!("name has {name_chars} characters, the limit is {DISPLAY_NAME_CHARS}");
            return Err(TokenRefused::Invalid(said));
        }
        let grants = Grants::from_claims(&claims.video).ok_or(TokenRefused::NoJoin)?;
        let named = |claim: &'static str| {
            move |error: IdError| TokenRefused::Invalid(format!("{claim}: {error}"))
        };
        let room: RoomName = claims.video.room.parse().map_err(named("video.room"))?;
        let identity: Identity = claims.sub.parse().map_err(named("sub"))?;
        // A token has expired at the second of `exp` (RFC 7519 section 4.1.4).
        let is_expired = now >= claims.exp + leeway;
        let ends_s = claims.exp as u64;
        Ok(Entry {
            room,
            name: if claims.name.is_empty() {
                identity.to_string()
            } else {
                claims.name
            },
            identity,
            grants,
            ends_s,
            is_demo: claims.is_demo,
            expired: is_expired.then(|| unix_s.saturating_sub(ends_s)),
        })
    }

    /// Checks signature and issuer. Returns the claims.
    pub(super) fn open(&self, token: &str) -> Result<Map<String, Value>, TokenRefused> {
        if token.len() > TOKEN_BYTES {
            let length = token.len();
            let said = format!("it has {length} bytes, the limit is {TOKEN_BYTES}");
            return Err(TokenRefused::Invalid(said));
        }
        let not_a_token = || invalid("it is not a JWT");
        let (signed, signature) = token.rsplit_once('.').ok_or_else(not_a_token)?;
        let (header, payload) = signed.split_once('.').ok_or_else(not_a_token)?;
        let header = object("header", header)?;
        if header.get("alg").and_then(Value::as_str) != Some("HS256") {
            return Err(invalid("its algorithm (alg) is not HS256"));
        }
        // An extension that a reader must understand (RFC 7515 section 4.1.11).
        if header.contains_key("crit") {
            return Err(invalid("its header has crit, and no extension is known"));
        }
        // The claims are parsed before the signature is checked, only to find the key.
        let claims = object("claims", payload)?;
        let key = self
            .decoding(&claims::issuer(&claims)?)
            .ok_or_else(|| invalid("its iss is not one of our API keys"))?;
        match jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key, Algorithm::HS256) {
            Ok(true) => Ok(claims),
            Ok(false) | Err(_) => Err(invalid("its signature does not match")),
        }
    }
}

/// Decodes a part of a token: a JSON object in base64url.
fn object(what: &str, part: &str) -> Result<Map<String, Value>, TokenRefused> {
    let refused = |said: String| TokenRefused::Invalid(format!("its {what}: {said}"));
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| invalid("it is not a JWT"))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| refused("not UTF-8".to_owned()))?;
    match json::parse(text) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(refused("not a JSON object".to_owned())),
        Err(error) => Err(refused(error.to_string())),
    }
}

impl From<ClaimError> for TokenRefused {
    fn from(error: ClaimError) -> Self {
        Self::Invalid(error.to_string())
    }
}

fn invalid(said: &str) -> TokenRefused {
    TokenRefused::Invalid(said.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::ApiKey;

    const NOW: u64 = 1_800_000_000;
    const LEEWAY: u64 = 60;

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
        ours().check(token, NOW, LEEWAY).unwrap_err().to_string()
    }

    #[test]
    fn tokens_of_every_key_open_their_room() {
        for pairs in [&["A:0123456789abcdef"], &["B:fedcba9876543210"]] {
            let entry = ours()
                .check(&keys(pairs).sign(claims()), NOW, LEEWAY)
                .unwrap();
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
        let expired = |token: &str| ours().check(token, NOW, LEEWAY).unwrap().expired;
        assert_eq!(expired(&sign(&|c| c.exp = NOW - 100)), Some(100));
        assert_eq!(expired(&sign(&|c| c.exp = NOW - 60)), Some(60));
        assert_eq!(expired(&sign(&|c| c.exp = NOW - 59)), None);
        assert!(refused(&sign(&|c| c.nbf = Some(NOW + 61))).contains("nbf is 61 s ahead"));
        assert_eq!(expired(&sign(&|c| c.nbf = Some(NOW + 60))), None);
        assert!(refused(&sign(&|c| c.video.room_join = false)).contains("roomJoin"));
        assert!(refused(&sign(&|c| c.video.room.clear())).contains("video.room: room is empty"));
        assert!(refused(&sign(&|c| c.sub.clear())).contains("sub: identity is empty"));
        assert!(refused(&sign(&|c| c.name = "n".repeat(129))).contains("limit is 128"));
    }

    /// Signs the claims of a valid token after `change`.
    fn changed(change: impl FnOnce(&mut Value)) -> String {
        let mut claims = serde_json::to_value(Claims {
            iss: "A".to_owned(),
            ..claims()
        })
        .unwrap();
        change(&mut claims);
        ours().sign_any(&claims)
    }

    #[test]
    fn claims_are_read_as_the_rfc_has_them() {
        let with = |claim: &str, value: Value| {
            let token = changed(|claims| *claims.pointer_mut(claim).unwrap() = value);
            ours().check(&token, NOW, LEEWAY)
        };
        let add = |name: &str, value: Value| {
            let token = changed(|claims| claims[name] = value);
            ours().check(&token, NOW, LEEWAY)
        };
        let exp = with("/exp", serde_json::json!(NOW as f64 + 650.25)).unwrap();
        assert_eq!((exp.ends_s, exp.expired), (NOW + 650, None));
        let exp = with("/exp", serde_json::json!(NOW as f64 - 60.25)).unwrap();
        assert_eq!(exp.expired, Some(61));
        assert_eq!(
            with("/exp", serde_json::json!(1.9e9)).unwrap().expired,
            None
        );
        assert_eq!(
            with("/exp", serde_json::json!(-1)).unwrap().expired,
            Some(NOW)
        );
        for (name, value) in [
            ("nbf", serde_json::json!(NOW as f64 - 0.5)),
            ("nbf", Value::Null),
            ("iat", serde_json::json!(NOW as f64 + 0.5)),
            ("iat", Value::Null),
            ("name", Value::Null),
            ("aud", serde_json::json!("spillway")),
            ("aud", serde_json::json!(["a", "b"])),
            ("aud", Value::Null),
            ("jti", serde_json::json!(7)),
            ("metadata", serde_json::json!({"exp": "x"})),
        ] {
            let entry = add(name, value.clone());
            assert!(entry.is_ok(), "{name} {value}: {entry:?}");
        }
        let grants = changed(|claims| {
            claims["video"] = serde_json::json!({"room": "r", "roomJoin": true, "canPublish": null,
                "canPublishSources": null, "hidden": null, "roomAdmin": false});
        });
        assert!(ours().check(&grants, NOW, LEEWAY).unwrap().grants.publish);
        let half = ours().check(&changed(|claims| claims["name"] = "x".into()), NOW, LEEWAY);
        assert_eq!(half.unwrap().name, "x");
    }

    #[test]
    fn the_claim_that_is_wrong_is_named() {
        for (claim, value, said) in [
            (
                "/exp",
                serde_json::json!("soon"),
                "exp is a string, a number of seconds since 1970",
            ),
            ("/exp", Value::Null, "exp is missing"),
            ("/sub", Value::Null, "sub is missing"),
            (
                "/sub",
                serde_json::json!(7),
                "sub is a number, a string is wanted",
            ),
            ("/iss", Value::Null, "iss is missing"),
            ("/name", serde_json::json!(["x"]), "name is an array"),
            ("/video", Value::Null, "video is missing"),
            (
                "/video",
                serde_json::json!("r"),
                "video is a string, an object",
            ),
            ("/video/room", Value::Null, "video.room: room is empty"),
            (
                "/video/room",
                serde_json::json!(7),
                "video.room is a number",
            ),
            (
                "/video/room",
                serde_json::json!("a\u{7}"),
                "video.room: room has U+0007",
            ),
            (
                "/video/roomJoin",
                serde_json::json!("yes"),
                "video.roomJoin is a string, true or false",
            ),
            ("/video/roomJoin", Value::Null, "roomJoin"),
        ] {
            let said_now = refused(&changed(|claims| {
                *claims.pointer_mut(claim).unwrap() = value
            }));
            assert!(said_now.contains(said), "{claim}: {said_now}");
        }
        for (name, value, said) in [
            ("nbf", serde_json::json!("x"), "nbf is a string"),
            ("iat", serde_json::json!([]), "iat is an array"),
            ("aud", serde_json::json!(7), "aud is a number"),
            (
                "aud",
                serde_json::json!([7]),
                "aud is an array with something else",
            ),
        ] {
            let said_now = refused(&changed(|claims| claims[name] = value));
            assert!(said_now.contains(said), "{name}: {said_now}");
        }
    }

    #[test]
    fn headers_are_read_as_the_rfc_has_them() {
        let signed = |header: &str, claims: &str| {
            let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
            let message = format!("{}.{}", part(header), part(claims));
            let key = ours().encoding();
            let signature =
                jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
            format!("{message}.{signature}")
        };
        let claims = format!(
            r#"{{"exp":1,"exp":{}.5,"iss":"A","sub":"ann\ud83d","name":"A\ud83d","video":{{"room":"r","roomJoin":true}}}}"#,
            NOW + 60
        );
        let good = claims.replace("ann\\ud83d", "ann");
        let entry = ours()
            .check(&signed(r#"{"alg":"HS256"}"#, &good), NOW, LEEWAY)
            .unwrap();
        assert_eq!((&*entry.name, entry.expired), ("A\u{fffd}", None));
        let typed = signed(r#"{"typ":"at+jwt","kid":"A","alg":"HS256","x":[1]}"#, &good);
        assert!(ours().check(&typed, NOW, LEEWAY).is_ok());
        let half = refused(&signed(r#"{"alg":"HS256"}"#, &claims));
        assert!(half.contains("sub: identity has U+FFFD"), "{half}");
        let critical = refused(&signed(r#"{"alg":"HS256","crit":["x"]}"#, &good));
        assert!(critical.contains("crit"), "{critical}");
        for (header, claims) in [
            (r#"{"alg":7}"#, &*good),
            ("[]", &good),
            (r#"{"alg":"HS256"}"#, "[]"),
        ] {
            assert!(refused(&signed(header, claims)).contains("token refused"));
        }
    }
}
