//! Puts the parts together and runs them until somebody says stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use spillway_wire::turn::secret_id;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::auth::Keys;
use crate::config::{Config, ControlAddress, StoreConfig};
use crate::descriptors;
use crate::entropy;
use crate::http::{self, Capacity, Hosts, Policy, Site};
use crate::hub::Hub;
use crate::limits::LEASE_MARGIN;
use crate::metrics::{Metrics, TlsMetrics};
use crate::node::{Lease, Link, NodeHandle, NodeState};
use crate::room::RoomConfig;
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::store::redis::RedisStore;
use crate::tls::{Certificate, Door};
use crate::turn::Issuer;

/// What a server is called at the data plane: long enough to be no other's.
const SERVER_CHARS: usize = 16;
/// For sockets to hear that the server is going away.
const FAREWELL: Duration = Duration::from_millis(500);

/// A control plane that listens.
#[derive(Debug)]
pub struct Running {
    /// Where, as `http://host:port` or `https://host:port`.
    pub url: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its data plane.
    pub node: NodeHandle,
    shutdown: watch::Sender<Option<Duration>>,
    drain: Duration,
    link: tokio::task::JoinHandle<()>,
}

/// `spillway serve`: signaling for a data plane that runs elsewhere.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut stop = StopSignal::catch()?;
    let address = config
        .dataplane_control
        .clone()
        .context("dataplane-control is missing")?;
    let running = start(&config, address).await?;
    tracing::info!(url = %running.url, "spillway serves");
    stop.come().await;
    running.stop(stop.come()).await;
    Ok(())
}

/// Binds, connects in the background, and serves.
pub async fn start(config: &Config, dataplane: ControlAddress) -> anyhow::Result<Running> {
    let files = descriptors::raise();
    let keys = Keys::new(config.keys.clone()).context("keys is missing")?;
    let keys = Arc::new(keys);
    let Entrance {
        door,
        certificate,
        metrics,
    } = entrance(config)?;
    let metrics = Arc::new(metrics);
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        let listen = config.listen;
        format!("cannot listen on {listen} (setting listen): is another spillway running there?")
    })?;
    let address = listener.local_addr()?;
    let url = url(address, certificate.as_ref());
    let (updates, updates_reader) = mpsc::channel(1_024);
    let turn = config.turn.secrets.first();
    let secret_id = turn.map(|secret| secret_id(secret.as_bytes()));
    let lease = Lease {
        owner: entropy::alphanumeric(SERVER_CHARS),
        time: config.limits.grace + LEASE_MARGIN,
    };
    let owner = lease.owner.clone();
    let (link, node) = Link::new(dataplane, (lease, secret_id), updates)?;
    let room_config = RoomConfig {
        turn: turn.map(|secret| Issuer::new(secret, config.turn.ttl_s, node.turn_urls())),
        keys: Arc::clone(&keys),
        limits: config.limits,
        is_shared: matches!(config.store, StoreConfig::Redis(_)),
        owner,
    };
    let store: Arc<dyn Store> = match &config.store {
        StoreConfig::Memory => Arc::new(MemoryStore::new()),
        StoreConfig::Redis(servers) => {
            let store = RedisStore::connect(servers, metrics.store.clone()).await;
            Arc::new(store.context("the store cannot be used (setting store)")?)
        }
    };
    let hub = Hub::new(store, node.clone(), Arc::new(room_config), metrics);
    let link = tokio::spawn(link.run());
    tokio::spawn(Arc::clone(&hub).follow(updates_reader));
    let capacity = Capacity {
        connections: descriptors::connections(files),
        per_source: config.per_source,
        metrics: hub.metrics().connections.clone(),
    };
    let (shutdown, going) = watch::channel(None);
    let names = certificate
        .iter()
        .flat_map(|certificate| &certificate.names);
    let policy = Policy {
        admin_token: config.admin_token.clone(),
        demo_tokens: config.demo_tokens,
        hosts: Hosts::new(config.allowed_hosts.iter().chain(names).cloned()),
        public_path: config.public_path.clone(),
    };
    let site = Site::new(hub, keys, config.limits, policy, going);
    tokio::spawn(http::serve(listener, door, site.router(), capacity));
    Ok(Running {
        url,
        address,
        node,
        shutdown,
        drain: config.drain,
        link,
    })
}

impl Running {
    /// Tells every client to come back elsewhere or later, one by one over the drain time, unless somebody
    /// is in a `hurry`.
    pub async fn stop(&self, hurry: impl Future<Output = ()>) {
        self.shutdown.send_replace(Some(self.drain));
        tokio::select! {
            () = tokio::time::sleep(self.drain) => {}
            () = hurry => drop(self.shutdown.send_replace(Some(Duration::ZERO))),
        }
        tokio::time::sleep(FAREWELL).await;
        // From here on the data plane's end is no accident.
        self.link.abort();
    }

    /// Waits until the data plane is connected.
    pub async fn connected(&self) {
        let mut state = self.node.state();
        // The sender lives as long as the process.
        let _ = state.wait_for(|state| *state == NodeState::Connected).await;
    }
}

/// SIGINT and SIGTERM; they are caught from its making on. So is SIGHUP, which is for certificates: where there are
/// none it does nothing, rather than end the process.
pub struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
    _hangup: Signal,
}

impl StopSignal {
    /// Catches them.
    pub fn catch() -> anyhow::Result<Self> {
        let interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
        let terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
        let hangup = signal(SignalKind::hangup()).context("cannot catch SIGHUP")?;
        Ok(Self {
            interrupt,
            terminate,
            _hangup: hangup,
        })
    }

    /// Completes at the next one.
    pub async fn come(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// How connections come in, and what counts them.
struct Entrance {
    door: Door,
    certificate: Option<Certificate>,
    metrics: Metrics,
}

/// A certificate is looked after from here on.
fn entrance(config: &Config) -> anyhow::Result<Entrance> {
    let Some(files) = &config.tls else {
        return Ok(Entrance {
            door: Door::Plain,
            certificate: None,
            metrics: Metrics::new(),
        });
    };
    let counts = TlsMetrics::default();
    let (door, certificate, renewal) = Door::tls(files.clone(), counts.clone())
        .context("tls is impossible (settings tls-certificate and tls-key)")?;
    tokio::spawn(renewal.run());
    Ok(Entrance {
        door,
        certificate: Some(certificate),
        metrics: Metrics::with_tls(&counts),
    })
}

fn url(address: SocketAddr, certificate: Option<&Certificate>) -> String {
    let port = address.port();
    if let Some(certificate) = certificate {
        // Under any other name clients would refuse it.
        return match &certificate.name {
            Some(name) => format!("https://{name}:{port}"),
            None if address.ip().is_unspecified() => format!("https://127.0.0.1:{port}"),
            None => format!("https://{address}"),
        };
    }
    if address.ip().is_unspecified() {
        // Browsers give cameras to localhost, but not to plain http elsewhere.
        return format!("http://127.0.0.1:{port}");
    }
    format!("http://{address}")
}
