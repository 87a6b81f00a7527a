//! API keys and their secrets.

use std::fmt;
use std::str::FromStr;

use jsonwebtoken::{DecodingKey, EncodingKey};

use crate::limits::SECRET_BYTES;

/// Why a text is not `KEY:SECRET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// There is no colon, or no key before it.
    #[error("is not KEY:SECRET")]
    Form,
    /// The secret is too short.
    #[error("has a secret of {0} characters, at least {SECRET_BYTES} are required")]
    Short(usize),
}

/// An API key, and the secret that signs tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Name of the key: claim `iss` of its tokens.
    pub key: String,
    /// The secret; only the `up` that generated it shows it.
    pub secret: String,
}

impl FromStr for ApiKey {
    type Err = ApiKeyError;

    fn from_str(text: &str) -> Result<Self, ApiKeyError> {
        let (key, secret) = text.split_once(':').ok_or(ApiKeyError::Form)?;
        if key.is_empty() {
            return Err(ApiKeyError::Form);
        }
        if secret.len() < SECRET_BYTES {
            return Err(ApiKeyError::Short(secret.len()));
        }
        Ok(Self {
            key: key.to_owned(),
            secret: secret.to_owned(),
        })
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}, secret)", self.key)
    }
}

/// All API keys of this server. The first one signs demo tokens and resume keys.
#[derive(Debug)]
pub struct Keys(Vec<ApiKey>);

impl Keys {
    /// `None` if `keys` is empty.
    pub fn new(keys: Vec<ApiKey>) -> Option<Self> {
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// The key that signs.
    pub fn first(&self) -> &ApiKey {
        self.0.first().expect("new() refuses an empty list")
    }

    pub(super) fn encoding(&self) -> EncodingKey {
        EncodingKey::from_secret(self.first().secret.as_bytes())
    }

    pub(super) fn decoding(&self, key: &str) -> Option<DecodingKey> {
        let found = self.0.iter().find(|candidate| candidate.key == key)?;
        Some(DecodingKey::from_secret(found.secret.as_bytes()))
    }
}
