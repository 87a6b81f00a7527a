//! The control address of a data plane.

use std::path::PathBuf;
use std::str::FromStr;

/// Control address of a data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlAddress {
    /// Path of a unix socket on this host.
    Unix(PathBuf),
    /// URI of a TCP address, `http://host:port`: HTTP/2 without TLS.
    Tcp(String),
}

/// The text is not a control address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is neither unix:/path nor http://host:port")]
pub struct NoControlAddress;

impl FromStr for ControlAddress {
    type Err = NoControlAddress;

    fn from_str(text: &str) -> Result<Self, NoControlAddress> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        match text.strip_prefix("http://") {
            Some(host) if host.contains(':') => Ok(Self::Tcp(text.to_owned())),
            Some(_) | None => Err(NoControlAddress),
        }
    }
}
