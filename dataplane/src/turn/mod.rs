//! A TURN server (RFC 8656) as a state machine: datagrams and messages in, actions out.
//!
//! The server owns no socket and reads no clock. The caller passes messages of clients to [`Server::handle_client`] and
//! datagrams to relayed addresses to [`Server::handle_peer`], and executes the returned outcome. Then it calls
//! [`Server::poll_event`] until `None`. It calls [`Server::handle_timeout`] at the time of [`Server::poll_timeout`].
//! The caller splits a stream into messages ([`spillway_wire::turn::Splitter`]).
//!
//! An unauthenticated client costs no memory: the server stores nothing before the client has shown valid credentials
//! and has repeated a nonce, which proves its address.

mod config; // configuration of a server
mod client; // identity of a TURN client
mod request; // authentication of a request, and its response
mod nonce; // nonces, which prove a client's address
mod auth; // verifies credentials
mod reflection; // budget of answers to unproven addresses
mod allocate; // Allocate and Refresh
mod bind; // CreatePermission and ChannelBind
mod relay; // relays data in both directions
mod address; // decides which peers clients may reach
mod ranges; // special-purpose address ranges
mod relayed; // relayed addresses and ports
mod allocation; // state of an allocation
mod permission; // peers that an allocation permits
mod channel; // channels to frequent peers
mod quota; // allocations per user and source
mod bucket; // bandwidth limit
mod deny; // reasons of refusals
mod counts; // counters
mod describe; // descriptions of allocations
mod now; // monotonic and wall clock

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use ahash::RandomState;
use slab::Slab;

pub use address::{HostAddresses, Ourselves, Peers};
pub use client::{Client, StreamId, Transport};
pub use config::{Config, ConfigError};
pub use counts::{Counts, TransportCounts};
pub use deny::DenyReason;
pub use describe::Description;
pub use now::Now;
pub use quota::Limits;
pub use ranges::{Cidr, CidrError};
pub use relayed::RelayAddresses;

use crate::io::timers::Timers;
use crate::limits::TIMERS_PER_TURN;
use address::Policy;
use allocation::{Allocation, AllocationId};
use auth::Authority;
use bucket::Bucket;
use nonce::Nonces;
use quota::Quotas;
use reflection::Reflection;
use relayed::Relayed;

/// What to do with a message of a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Send these bytes to the client: a success or error response.
    Reply(&'a [u8]),
    /// Send a part of the message to a peer.
    Relay(Relay),
    /// Send nothing; the reason is counted.
    Silent(DenyReason),
}

/// A datagram from a client to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Relayed address to send from.
    pub relayed: SocketAddr,
    /// Peer to send to.
    pub peer: SocketAddr,
    /// Range of the data in the message.
    pub payload: Range<usize>,
    /// True: send with the DF bit set (RFC 8656 section 15).
    pub dont_fragment: bool,
}

/// A datagram from a peer to a client: send `head`, the datagram, and `padding_bytes` zeros.
#[derive(Debug, PartialEq, Eq)]
pub struct Deliver<'a> {
    /// Client to send to.
    pub client: Client,
    /// A ChannelData header, or a Data indication up to the data.
    pub head: &'a [u8],
    /// 0 to 3 bytes; over UDP only a Data indication needs padding.
    pub padding_bytes: usize,
}

/// Changes of relayed addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A client got this relayed address.
    Open {
        /// Relayed address of the allocation.
        relayed: SocketAddr,
        /// Client of the allocation.
        client: Client,
    },
    /// The client permitted a peer outside of this process, so the address needs a socket. Reported once.
    SocketWanted {
        /// Relayed address that needs a socket.
        relayed: SocketAddr,
        /// The first such peer.
        peer: std::net::IpAddr,
    },
    /// The relayed address was released.
    Closed {
        /// Relayed address that was released.
        relayed: SocketAddr,
        /// Client of the ended allocation.
        client: Client,
    },
}

/// The TURN server of one shard.
pub struct Server {
    authority: Authority,
    nonces: Nonces,
    reflection: Reflection,
    policy: Policy,
    relayed: Relayed,
    allocations: Slab<Allocation>,
    allocation_by_client: HashMap<Client, AllocationId, RandomState>,
    /// Timers by allocation. A timer stays after its allocation has ended, so that the heap does not grow when
    /// allocations are made and ended; see [`Server::handle_timeout`].
    timers: Timers,
    quotas: Quotas,
    limits: Limits,
    share: Bucket,
    /// Pending events. Bounded by the number of allocations that can end in one call.
    events: VecDeque<Event>,
    counts: Counts,
    scratch: Vec<u8>,
    rng: fastrand::Rng,
}

/// Size in bytes of the longest response; REALM is the longest attribute.
const SCRATCH_BYTES: usize = 1_024;

impl Server {
    /// A server without allocations. `rng` decides which ports clients get and which hashes collide, so its seed must
    /// come from a secure generator.
    pub fn new(config: Config, now: Instant, mut rng: fastrand::Rng) -> Result<Self, ConfigError> {
        config.check()?;
        let mut hasher =
            || RandomState::with_seeds(rng.u64(..), rng.u64(..), rng.u64(..), rng.u64(..));
        let (clients, accounts, sources) = (hasher(), hasher(), hasher());
        Ok(Self {
            authority: Authority::new(&config.realm, &config.secrets, config.secret_grace, now),
            nonces: Nonces::new(&config.nonce_secret),
            reflection: Reflection::new(now, sources),
            relayed: Relayed::new(&config.relay),
            policy: Policy::new(
                config.peers,
                (config.denied, config.nat64),
                config.ourselves,
                config.relay,
            ),
            allocations: Slab::new(),
            allocation_by_client: HashMap::with_hasher(clients),
            timers: Timers::default(),
            quotas: Quotas::new(accounts),
            share: Bucket::full(now, config.limits.bytes_per_second),
            limits: config.limits,
            events: VecDeque::new(),
            counts: Counts::default(),
            scratch: Vec::with_capacity(SCRATCH_BYTES),
            rng,
        })
    }

    /// The next event. Call it until it returns `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Time of the next [`Server::handle_timeout`]; may be earlier than needed, never later.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Ends expired allocations, a bounded number per call.
    pub fn handle_timeout(&mut self, now: Instant) {
        for _ in 0..TIMERS_PER_TURN {
            let Some(index) = self.timers.pop_due(now) else {
                return;
            };
            // The timer may belong to an earlier allocation with the same index.
            if self
                .allocations
                .get(index)
                .is_some_and(|allocation| allocation.expires <= now)
            {
                self.close(id_of(index));
            }
        }
    }

    /// Ends the allocation of a client whose stream has ended (RFC 8656 section 3.1).
    pub fn client_gone(&mut self, client: &Client) {
        if let Some(&id) = self.allocation_by_client.get(client) {
            self.close(id);
        }
    }

    /// True if `client` has an allocation, perhaps an expired one.
    pub fn has_allocation(&self, client: &Client) -> bool {
        self.allocation_by_client.contains_key(client)
    }

    /// Sets the permitted peers; this applies to existing channels, too.
    pub fn set_peers(&mut self, peers: Peers) {
        self.policy.set_peers(peers);
    }

    /// Sets the addresses of this host. These are denied as peers on the public internet.
    pub fn set_host(&mut self, host: HostAddresses) {
        self.policy.set_host(host);
    }

    /// Sets the secrets, see [`Config::secrets`]. Allocations made with a secret other than the first end after the
    /// grace time.
    pub fn set_secrets(&mut self, secrets: &[Box<[u8]>], now: Instant) -> Result<(), ConfigError> {
        config::check_secrets(secrets)?;
        self.authority.set_secrets(secrets, now);
        for (index, allocation) in &mut self.allocations {
            let ends = self.authority.end_of(allocation.secret, now);
            // The end stays, even if the secret is set again.
            allocation.secret_ends = allocation.secret_ends.into_iter().chain(ends).min();
            if let Some(ends) = allocation
                .secret_ends
                .filter(|ends| *ends < allocation.expires)
            {
                allocation.expires = ends;
                self.timers.set(index, ends);
            }
        }
        Ok(())
    }

    /// Creates nonces with another secret. Existing nonces stay valid until they expire.
    pub fn rotate_nonce_secret(&mut self, secret: &[u8; 32]) {
        self.nonces.rotate(secret);
    }

    /// Number of open allocations.
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }

    /// Counters of the server.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    fn allocation_of(&mut self, client: &Client, now: Instant) -> Option<AllocationId> {
        let id = *self.allocation_by_client.get(client)?;
        (self.allocations[id.index()].expires > now).then_some(id)
    }

    fn close(&mut self, id: AllocationId) {
        let allocation = self.allocations.remove(id.index());
        let client = allocation.client;
        self.allocation_by_client.remove(&client);
        self.quotas.give_back(allocation.account);
        for (family, port) in allocation.ports.all() {
            let relayed = self.relayed.address(family, port);
            self.relayed.release(family, port);
            self.events.push_back(Event::Closed { relayed, client });
        }
        self.counts.of_mut(client.transport).allocations_ended += 1;
    }
}

/// The id of the allocation at `index` of the slab.
fn id_of(index: usize) -> AllocationId {
    AllocationId(u32::try_from(index).expect("the limit of allocations is a u32"))
}
