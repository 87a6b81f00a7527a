//! The role for clients: listener, page, admin API and rooms.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::role::{Role, Stopping};
use crate::auth::Keys;
use crate::config::Config;
use crate::descriptors;
use crate::http::{self, Capacity, Hosts, Policy, Site};
use crate::hub::Hub;
use crate::metrics::{Metrics, TlsMetrics};
use crate::tls::{Certificate, ListenerTls};

/// Time for sockets to send their close frames.
const CLOSE_FRAME_TIME: Duration = Duration::from_millis(500);

/// The role: a listener that serves the rooms of a hub.
pub(super) struct Signal {
    shutdown: watch::Sender<Option<Duration>>,
}

/// A bound listener with its TLS configuration. Connections are not accepted yet.
pub(super) struct BoundListener {
    listener: TcpListener,
    tls: ListenerTls,
    certificate: Option<Certificate>,
    /// Metrics of the whole server.
    pub(super) metrics: Arc<Metrics>,
    pub(super) address: SocketAddr,
    /// URL of the server: `http://host:port` or `https://host:port`.
    pub(super) url: String,
}

impl BoundListener {
    /// Binds the address of the setting `listen`. With TLS, also starts the task that renews the
    /// certificate.
    pub(super) async fn bind(config: &Config) -> anyhow::Result<Self> {
        let (tls, certificate, metrics) = match &config.tls {
            None => (ListenerTls::Plain, None, Metrics::new()),
            Some(files) => {
                let counts = TlsMetrics::default();
                let (tls, certificate, renewal) =
                    ListenerTls::tls(files.clone(), counts.clone())
                        .context("tls is impossible (settings tls-certificate and tls-key)")?;
                tokio::spawn(renewal.run());
                (tls, Some(certificate), Metrics::with_tls(&counts))
            }
        };
        let listener = TcpListener::bind(config.listen).await.with_context(|| {
            let listen = config.listen;
            format!(
                "cannot listen on {listen} (setting listen): is another spillway running there?"
            )
        })?;
        let address = listener.local_addr()?;
        Ok(Self {
            url: url(address, certificate.as_ref()),
            listener,
            tls,
            certificate,
            metrics: Arc::new(metrics),
            address,
        })
    }
}

impl Signal {
    /// Starts to serve the rooms of `hub` on `listener`. `files` is the limit of open descriptors.
    pub(super) fn start(
        config: &Config,
        keys: Arc<Keys>,
        (hub, listener): (Arc<Hub>, BoundListener),
        files: u64,
    ) -> Self {
        let capacity = Capacity {
            connections: descriptors::connections(files),
            per_source: config.per_source,
            metrics: hub.metrics().connections.clone(),
        };
        let (shutdown, going) = watch::channel(None);
        let certificate = listener.certificate.iter();
        let names = certificate.flat_map(|certificate| &certificate.names);
        let policy = Policy {
            admin_token: config.admin_token.clone(),
            demo_tokens: config.demo_tokens,
            hosts: Hosts::new(config.allowed_hosts.iter().chain(names).cloned()),
            public_path: config.public_path.clone(),
        };
        let site = Site::new(hub, keys, config.limits, policy, going);
        let BoundListener { listener, tls, .. } = listener;
        tokio::spawn(http::serve(listener, tls, site.router(), capacity));
        Self { shutdown }
    }
}

impl Role for Signal {
    fn name(&self) -> &'static str {
        "signal"
    }

    /// Closes all sockets over the drain time, with the advice to reconnect.
    fn stop(&self, how: Stopping) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.shutdown.send_replace(Some(how.drain));
            how.wait_for_drain().await;
            self.shutdown.send_replace(Some(Duration::ZERO));
            tokio::time::sleep(CLOSE_FRAME_TIME).await;
        })
    }
}

fn url(address: SocketAddr, certificate: Option<&Certificate>) -> String {
    let port = address.port();
    if let Some(certificate) = certificate {
        // Clients accept only names of the certificate.
        return match &certificate.name {
            Some(name) => format!("https://{name}:{port}"),
            None if address.ip().is_unspecified() => format!("https://127.0.0.1:{port}"),
            None => format!("https://{address}"),
        };
    }
    if address.ip().is_unspecified() {
        // Browsers permit camera and microphone on localhost, but not on plain HTTP from other
        // hosts.
        return format!("http://127.0.0.1:{port}");
    }
    format!("http://{address}")
}
