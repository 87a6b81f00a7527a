//! Builds a server from its settings, and runs it until a stop signal.

mod role; // trait of a part that is started and stopped
mod nodes; // role: connections to nodes
mod signal; // role: listener and rooms
mod stop; // stop signals

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use spillway_wire::turn::secret_id;
use tokio::sync::watch;

pub use role::{Role, Stopping};
pub use stop::StopSignal;

use crate::auth::Keys;
use crate::config::{Config, ControlAddress, StoreConfig};
use crate::descriptors;
use crate::entropy;
use crate::fleet::{Fleet, Lease, NodeEntry, Registry, StaticRegistry};
use crate::hub;
use crate::limits::LEASE_MARGIN;
use crate::metrics::Metrics;
use crate::room::RoomConfig;
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::store::redis::RedisStore;
use crate::turn::Issuer;

/// Length of a server's random owner name in leases.
const SERVER_CHARS: usize = 16;

/// A running server, with its address.
pub struct Running {
    /// URL of the server, `http://host:port` or `https://host:port`.
    pub url: String,
    /// Address of the HTTP listener.
    pub address: SocketAddr,
    /// Connections to the nodes of the server.
    pub fleet: Arc<Fleet>,
    /// Roles in the order of their start.
    roles: Vec<Box<dyn Role>>,
    drain: Duration,
}

/// Runs `spillway serve`: signaling for nodes that run elsewhere.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut stop = StopSignal::catch()?;
    let address = config
        .dataplane_control
        .clone()
        .context("dataplane-control is missing")?;
    let running = start(&config, address).await?;
    tracing::info!(url = %running.url, "spillway serves");
    stop.received().await;
    running.stop(stop.received()).await;
    Ok(())
}

/// Starts a server with the node at `address`. The connection to the node is opened in the
/// background.
pub async fn start(config: &Config, address: ControlAddress) -> anyhow::Result<Running> {
    let node = node_entry(&config.dataplane.node, address)?;
    start_with(config, Arc::new(StaticRegistry::new(vec![node]))).await
}

/// Starts a server with the nodes of a registry.
pub async fn start_with(config: &Config, registry: Arc<dyn Registry>) -> anyhow::Result<Running> {
    let files = descriptors::raise();
    let keys = Keys::new(config.keys.clone()).context("keys is missing")?;
    let keys = Arc::new(keys);
    let listener = signal::BoundListener::bind(config).await?;
    let (url, address) = (listener.url.clone(), listener.address);
    let turn = config.turn.secrets.first();
    let lease = Lease {
        owner: entropy::alphanumeric(SERVER_CHARS),
        time: config.limits.grace + LEASE_MARGIN,
    };
    let room_config = RoomConfig {
        turn: turn.map(|secret| Issuer::new(secret, config.turn.ttl_s)),
        keys: Arc::clone(&keys),
        limits: config.limits,
        is_shared: matches!(config.store, StoreConfig::Redis(_)),
        owner: lease.owner.clone(),
    };
    let metrics = Arc::clone(&listener.metrics);
    let store = store(config, &metrics).await?;
    let (fleet, updates) = Fleet::new(lease, turn.map(|secret| secret_id(secret.as_bytes())));
    let hub = hub::new(store, Arc::clone(&fleet), Arc::new(room_config), metrics);
    tokio::spawn(Arc::clone(&hub).route_updates(updates));
    let roles: Vec<Box<dyn Role>> = vec![
        Box::new(nodes::Nodes::start(&fleet, registry)),
        Box::new(signal::Signal::start(config, keys, (hub, listener), files)),
    ];
    Ok(Running {
        url,
        address,
        fleet,
        roles,
        drain: config.drain,
    })
}

/// The node at `address`. Its name is the setting `node`, or else the name of this host (unix
/// socket), or the host in the address.
fn node_entry(named: &str, address: ControlAddress) -> anyhow::Result<NodeEntry> {
    let name = match (named, &address) {
        ("", ControlAddress::Unix(_)) => {
            let host = rustix::system::uname();
            host.nodename().to_string_lossy().into_owned()
        }
        ("", ControlAddress::Tcp(uri)) => {
            let authority = uri.trim_start_matches("http://");
            let authority = authority.split('/').next().unwrap_or(authority);
            let host = authority
                .rsplit_once(':')
                .map_or(authority, |(host, _)| host);
            host.to_owned()
        }
        (named, _) => named.to_owned(),
    };
    let node = name.parse();
    let node = node.with_context(|| format!("'{name}' names no node (setting node)"))?;
    Ok(NodeEntry { node, address })
}

async fn store(config: &Config, metrics: &Metrics) -> anyhow::Result<Arc<dyn Store>> {
    Ok(match &config.store {
        StoreConfig::Memory => Arc::new(MemoryStore::new()),
        StoreConfig::Redis(servers) => {
            let store = RedisStore::connect(servers, metrics.store.clone()).await;
            Arc::new(store.context("the store cannot be used (setting store)")?)
        }
    })
}

impl Running {
    /// Stops the roles one after the other, last role first. Each takes up to the drain time. When
    /// `hurry` completes, the rest of the drain time is skipped.
    pub async fn stop(&self, hurry: impl Future<Output = ()>) {
        let (in_a_hurry, is_in_a_hurry) = watch::channel(false);
        let stopping = async {
            for role in self.roles.iter().rev() {
                tracing::debug!(role = role.name(), "stopping");
                let how = Stopping {
                    drain: self.drain,
                    hurry: is_in_a_hurry.clone(),
                };
                role.stop(how).await;
            }
        };
        tokio::pin!(stopping);
        tokio::select! {
            () = &mut stopping => return,
            () = hurry => drop(in_a_hurry.send_replace(true)),
        }
        stopping.await;
    }

    /// Waits until a node is connected.
    pub async fn connected(&self) {
        self.fleet.connected().await;
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("url", &self.url)
            .field("fleet", &self.fleet)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_called_as_it_is_set_or_after_its_host() {
        let named = |name: &str, address: &str| {
            let entry = node_entry(name, address.parse().unwrap());
            entry.map(|entry| entry.node.to_string())
        };
        assert_eq!(named("m1", "http://h:1").unwrap(), "m1");
        assert_eq!(named("", "http://10.0.0.5:7883").unwrap(), "10.0.0.5");
        assert_eq!(
            named("", "http://[2001:db8::1]:7883").unwrap(),
            "[2001:db8::1]"
        );
        assert!(!named("", "unix:/run/s").unwrap().is_empty());
        let refused = named("a\u{7}b", "http://h:1").unwrap_err().to_string();
        assert!(refused.contains("setting node"), "{refused}");
    }
}
