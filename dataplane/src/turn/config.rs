//! Configuration of a TURN server, and its errors.

use std::time::Duration;

use spillway_wire::turn::Nat64Prefix;

use super::address::{Ourselves, Peers};
use super::quota::Limits;
use super::ranges::Cidr;
use super::relayed::RelayAddresses;
use crate::limits::{
    MAX_ALLOCATIONS, MAX_DENIED_RANGES, MAX_NAT64_PREFIXES, MAX_REALM_BYTES, MAX_TURN_SECRETS,
};

/// Configuration of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Realm of the credentials.
    pub realm: String,
    /// Secrets of credentials: one, or two while the first replaces the second.
    pub secrets: Vec<Box<[u8]>>,
    /// Time for which the second secret, and allocations made with a removed secret, remain valid.
    pub secret_grace: Duration,
    /// Secret for nonces, from a secure generator; the same for all shards that a client may reach.
    pub nonce_secret: [u8; 32],
    /// Relayed addresses, as peers see them.
    pub relay: RelayAddresses,
    /// Our media address and listeners.
    pub ourselves: Ourselves,
    /// Peers that clients may reach.
    pub peers: Peers,
    /// Peers that clients may never reach.
    pub denied: Vec<Cidr>,
    /// NAT64 prefixes of the network: IPv6 addresses that contain an IPv4 address.
    pub nat64: Vec<Nat64Prefix>,
    /// Limits per user, per source and for the shard.
    pub limits: Limits,
}

/// Reason why a configuration is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The realm is empty or too long.
    #[error("realm of {bytes} bytes is outside 1..={limit}")]
    Realm {
        /// Length of the given realm.
        bytes: usize,
        /// Maximum length of a realm.
        limit: usize,
    },
    /// There is no secret, or there are more than a rotation needs.
    #[error("{count} secrets are outside 1..={limit}")]
    Secrets {
        /// Number of given secrets.
        count: usize,
        /// Maximum number of secrets.
        limit: usize,
    },
    /// A secret is empty, so anyone can guess it.
    #[error("a secret is empty")]
    EmptySecret,
    /// There is no relayed address.
    #[error("no relay address of either family")]
    NoRelayAddress,
    /// The range contains no port for this shard.
    #[error("ports {start}..={end} contain none for shard {offset} of {step}")]
    NoPort {
        /// First port of the range.
        start: u16,
        /// Last port of the range.
        end: u16,
        /// Offset of this shard in the range.
        offset: u16,
        /// Number of shards that share the range.
        step: u16,
    },
    /// There are too many denied ranges to check for each peer.
    #[error("{count} denied ranges are more than {limit}")]
    Denied {
        /// Number of given prefixes.
        count: usize,
        /// Maximum number of prefixes.
        limit: usize,
    },
    /// There are too many NAT64 prefixes to check for each peer.
    #[error("{count} NAT64 prefixes are more than {limit}")]
    Nat64 {
        /// Number of given NAT64 prefixes.
        count: usize,
        /// Maximum number of NAT64 prefixes.
        limit: usize,
    },
    /// The limit of allocations is higher than a shard can have.
    #[error("{count} allocations are more than {limit}")]
    Allocations {
        /// Number of given allocations.
        count: usize,
        /// Maximum number of allocations.
        limit: usize,
    },
}

impl Config {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let realm_bytes = self.realm.len();
        if !(1..=MAX_REALM_BYTES).contains(&realm_bytes) {
            return Err(ConfigError::Realm {
                bytes: realm_bytes,
                limit: MAX_REALM_BYTES,
            });
        }
        check_secrets(&self.secrets)?;
        let relay = &self.relay;
        if relay.v4.is_none() && relay.v6.is_none() {
            return Err(ConfigError::NoRelayAddress);
        }
        let before = relay.offset.checked_mul(2);
        let first = before.and_then(|before| relay.ports.start().checked_add(before));
        if relay.offset >= relay.step.get() || !first.is_some_and(|p| relay.ports.contains(&p)) {
            return Err(ConfigError::NoPort {
                start: *relay.ports.start(),
                end: *relay.ports.end(),
                offset: relay.offset,
                step: relay.step.get(),
            });
        }
        if self.denied.len() > MAX_DENIED_RANGES {
            return Err(ConfigError::Denied {
                count: self.denied.len(),
                limit: MAX_DENIED_RANGES,
            });
        }
        if self.nat64.len() > MAX_NAT64_PREFIXES {
            return Err(ConfigError::Nat64 {
                count: self.nat64.len(),
                limit: MAX_NAT64_PREFIXES,
            });
        }
        if self.limits.allocations > MAX_ALLOCATIONS {
            return Err(ConfigError::Allocations {
                count: self.limits.allocations,
                limit: MAX_ALLOCATIONS,
            });
        }
        Ok(())
    }
}

pub(super) fn check_secrets(secrets: &[Box<[u8]>]) -> Result<(), ConfigError> {
    if !(1..=MAX_TURN_SECRETS).contains(&secrets.len()) {
        return Err(ConfigError::Secrets {
            count: secrets.len(),
            limit: MAX_TURN_SECRETS,
        });
    }
    match secrets.iter().any(|secret| secret.is_empty()) {
        true => Err(ConfigError::EmptySecret),
        false => Ok(()),
    }
}
