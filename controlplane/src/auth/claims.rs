//! Reads the claims of a signed token (RFC 7519 section 4) one by one, so that an error names the
//! wrong claim. `null` means absent. Unknown claims are ignored.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The claim `video` in LiveKit's layout. [`super::Grants::from_claims`] sets the defaults of
/// absent fields.
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

/// Claims of a token whose types are checked, but not their values.
#[derive(Debug)]
pub(super) struct SignedClaims {
    pub(super) sub: String,
    pub(super) name: String,
    /// Expiry, seconds since 1970. All times may have a fraction (NumericDate, section 2).
    pub(super) exp: f64,
    pub(super) nbf: Option<f64>,
    pub(super) video: VideoGrant,
    /// True for a demo token of this server.
    pub(super) is_demo: bool,
}

/// A claim that is missing or has the wrong type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ClaimError {
    #[error("{0} is missing")]
    Missing(String),
    #[error("{claim} is {found}, {wanted} is wanted")]
    Form {
        claim: String,
        found: &'static str,
        wanted: &'static str,
    },
}

const DATE: &str = "a number of seconds since 1970";
const TEXT: &str = "a string";

impl SignedClaims {
    /// Reads the claims of a token.
    pub(super) fn read(claims: &Map<String, Value>) -> Result<Self, ClaimError> {
        let claims = Members {
            members: claims,
            within: "",
        };
        // Check the types of registered claims. Issue date and audience are not compared: a key
        // belongs to this server, so a token signed with the key is meant for this server.
        claims.date("iat")?;
        claims.audience("aud")?;
        let video = claims.object("video")?;
        Ok(Self {
            sub: claims.required("sub", claims.text("sub")?)?,
            name: claims.text("name")?.unwrap_or_default(),
            exp: claims.required("exp", claims.date("exp")?)?,
            nbf: claims.date("nbf")?,
            is_demo: claims.flag("spillwayDemo")?.unwrap_or_default(),
            video: VideoGrant {
                room: video.text("room")?.unwrap_or_default(),
                room_join: video.flag("roomJoin")?.unwrap_or_default(),
                can_publish: video.flag("canPublish")?,
                can_publish_sources: video.texts("canPublishSources")?,
                can_subscribe: video.flag("canSubscribe")?,
                can_publish_data: video.flag("canPublishData")?,
                hidden: video.flag("hidden")?.unwrap_or_default(),
            },
        })
    }
}

/// The claim `iss`: the API key that signed the token.
pub(super) fn issuer(claims: &Map<String, Value>) -> Result<String, ClaimError> {
    let claims = Members {
        members: claims,
        within: "",
    };
    claims.required("iss", claims.text("iss")?)
}

/// The members of a JSON object, and the claim that has the object.
struct Members<'a> {
    members: &'a Map<String, Value>,
    within: &'static str,
}

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, ClaimError> {
        value.ok_or_else(|| ClaimError::Missing(self.full(name)))
    }

    fn text(&self, name: &str) -> Result<Option<String>, ClaimError> {
        self.read(name, TEXT, |value| value.as_str().map(str::to_owned))
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, ClaimError> {
        self.read(name, "true or false", Value::as_bool)
    }

    fn date(&self, name: &str) -> Result<Option<f64>, ClaimError> {
        self.read(name, DATE, Value::as_f64)
    }

    fn texts(&self, name: &str) -> Result<Option<Vec<String>>, ClaimError> {
        self.read(name, "an array of strings", |value| {
            let items = value.as_array()?.iter();
            items.map(|item| item.as_str().map(str::to_owned)).collect()
        })
    }

    /// Checks the type of an audience: a string, or an array of strings (section 4.1.3).
    fn audience(&self, name: &str) -> Result<(), ClaimError> {
        let is_audience = |value: &Value| match value {
            Value::Array(items) => items.iter().all(Value::is_string),
            _ => value.is_string(),
        };
        let wanted = "a string or an array of strings";
        self.read(name, wanted, |value| is_audience(value).then_some(()))?;
        Ok(())
    }

    fn object(&self, name: &'static str) -> Result<Members<'a>, ClaimError> {
        let members = self.get(name);
        let members = self.required(name, members)?.as_object();
        Ok(Members {
            members: members.ok_or_else(|| self.form(name, "an object"))?,
            within: name,
        })
    }

    fn read<T>(
        &self,
        name: &str,
        wanted: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ClaimError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(read) => Ok(Some(read)),
                None => Err(self.form(name, wanted)),
            },
        }
    }

    fn form(&self, name: &str, wanted: &'static str) -> ClaimError {
        let found = match self.get(name) {
            None | Some(Value::Null) => "null",
            Some(Value::Bool(_)) => "a boolean",
            Some(Value::Number(_)) => "a number",
            Some(Value::String(_)) => "a string",
            Some(Value::Array(_)) => "an array with something else",
            Some(Value::Object(_)) => "an object",
        };
        ClaimError::Form {
            claim: self.full(name),
            found,
            wanted,
        }
    }

    fn full(&self, name: &str) -> String {
        match self.within {
            "" => name.to_owned(),
            within => format!("{within}.{name}"),
        }
    }
}
