//! Setting: maximum number of connections per source.

use std::net::IpAddr;
use std::num::ParseIntError;
use std::str::FromStr;

use crate::limits::CONNECTIONS_PER_SOURCE;

/// Maximum number of open connections from an IPv4 address or an IPv6 /64; `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceLimit {
    own_host: Option<usize>,
    elsewhere: Option<usize>,
}

impl SourceLimit {
    /// The same limit for every source.
    pub fn every(limit: usize) -> Self {
        Self {
            own_host: Some(limit),
            elsewhere: Some(limit),
        }
    }

    /// No limit for any source.
    pub fn none() -> Self {
        Self {
            own_host: None,
            elsewhere: None,
        }
    }

    /// The limit for a connection from `peer` to `local`. If both are equal, the connection comes
    /// from this host.
    pub fn of(self, peer: IpAddr, local: Option<IpAddr>) -> Option<usize> {
        let (peer, local) = (peer.to_canonical(), local.map(|ip| ip.to_canonical()));
        if peer.is_loopback() || local == Some(peer) {
            self.own_host
        } else {
            self.elsewhere
        }
    }
}

/// No limit for this host: a reverse proxy, or the data plane that passes HTTP on, has connections
/// of many clients.
impl Default for SourceLimit {
    fn default() -> Self {
        Self {
            own_host: None,
            elsewhere: Some(CONNECTIONS_PER_SOURCE),
        }
    }
}

/// Parses a number; 0 means no limit.
impl FromStr for SourceLimit {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        Ok(match text.parse()? {
            0 => Self::none(),
            limit => Self::every(limit),
        })
    }
}
