//! How many connections one network may have.

use std::net::IpAddr;
use std::num::ParseIntError;
use std::str::FromStr;

use crate::limits::CONNECTIONS_PER_SOURCE;

/// Connections at once from an IPv4 address or an IPv6 /64; absent where there is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceLimit {
    loopback: Option<usize>,
    elsewhere: Option<usize>,
}

impl SourceLimit {
    /// The same for every address.
    pub fn every(limit: usize) -> Self {
        Self {
            loopback: Some(limit),
            elsewhere: Some(limit),
        }
    }

    /// None at all.
    pub fn none() -> Self {
        Self {
            loopback: None,
            elsewhere: None,
        }
    }

    /// That of `address`.
    pub fn of(self, address: IpAddr) -> Option<usize> {
        if address.is_loopback() {
            self.loopback
        } else {
            self.elsewhere
        }
    }
}

/// A reverse proxy on this host, and the data plane that passes HTTP on, are many clients at one address.
impl Default for SourceLimit {
    fn default() -> Self {
        Self {
            loopback: None,
            elsewhere: Some(CONNECTIONS_PER_SOURCE),
        }
    }
}

/// A number; 0 for no limit.
impl FromStr for SourceLimit {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        Ok(match text.parse()? {
            0 => Self::none(),
            limit => Self::every(limit),
        })
    }
}
