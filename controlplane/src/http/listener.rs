//! Accepts connections within limits, and serves HTTP/1.1 on them. [`crate::tls`] detects TLS; the
//! routes are in the parent module.
//!
//! Each step has a time limit: the TLS handshake, the request head (including idle time before it),
//! the handler, and the client's reading of the response. Request bodies are not read.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt as _;

use super::sources::{Counted, Sources};
use crate::config::SourceLimit;
use crate::connection::{Phase, PhaseWatch, WriteTimeoutStream};
use crate::limits::{HEAD_BYTES, HEADER_TIME, HEADERS};
use crate::metrics::{ConnectionEnd, ConnectionMetrics};
use crate::tls::{Accepted, ListenerTls};

/// Pause before the next accept if the process has no free descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits and metrics of the listener.
#[derive(Debug)]
pub struct Capacity {
    /// Maximum number of open connections.
    pub connections: usize,
    /// Maximum number of connections per source.
    pub per_source: SourceLimit,
    /// Counters of connections and their ends.
    pub metrics: ConnectionMetrics,
}

/// A slot among the open connections. A WebSocket keeps it after its HTTP connection has ended.
#[derive(Debug, Clone)]
pub(super) struct ConnectionSlot {
    _guard: Arc<SlotGuard>,
}

#[derive(Debug)]
struct SlotGuard {
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
    metrics: ConnectionMetrics,
}

/// Accepts connections until the future is dropped. Open connections continue.
pub async fn serve(listener: TcpListener, tls: ListenerTls, router: Router, capacity: Capacity) {
    let Capacity {
        connections,
        per_source,
        metrics,
    } = capacity;
    let permits = Arc::new(Semaphore::new(connections));
    let sources = Sources::new(per_source);
    let mut is_short = false;
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await;
        let permit = permit.expect("this semaphore is never closed");
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                metrics.count_end(ConnectionEnd::NotAccepted);
                // Other errors concern only the connection being accepted.
                if is_shortage(&error) {
                    if !std::mem::replace(&mut is_short, true) {
                        tracing::warn!(%error, "cannot accept connections");
                    }
                    // Connections that close release descriptors.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                continue;
            }
        };
        is_short = false;
        let local = stream.local_addr().ok().map(|local| local.ip());
        let Some(counted) = sources.enter(address.ip(), local) else {
            metrics.count_end(ConnectionEnd::TooManyOfSource);
            continue;
        };
        // Signaling messages are small and urgent: no Nagle delay.
        let _ = stream.set_nodelay(true);
        metrics.open.inc();
        let slot = ConnectionSlot {
            _guard: Arc::new(SlotGuard {
                _permit: permit,
                _counted: counted,
                metrics: metrics.clone(),
            }),
        };
        let metrics = metrics.clone();
        tokio::spawn(serve_connection(
            stream,
            (tls.clone(), router.clone()),
            slot,
            metrics,
        ));
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        self.metrics.open.dec();
    }
}

/// True if the process or the host lacks descriptors or memory.
fn is_shortage(error: &std::io::Error) -> bool {
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| short.contains(&errno))
}

/// Performs the TLS handshake, if any, and serves HTTP. The connection has its slot from the start.
async fn serve_connection(
    stream: TcpStream,
    (tls, router): (ListenerTls, Router),
    slot: ConnectionSlot,
    metrics: ConnectionMetrics,
) {
    match tls.accept(stream).await {
        Ok(Accepted::Http(stream)) => serve_http((stream, false), router, slot, metrics).await,
        Ok(Accepted::Https(stream)) => serve_http((stream, true), router, slot, metrics).await,
        // The metrics count the failure.
        Err(refusal) => tracing::debug!(%refusal, "a connection failed before its first request"),
    }
}

async fn serve_http<S>(
    (stream, is_buffered): (S, bool),
    router: Router,
    slot: ConnectionSlot,
    metrics: ConnectionMetrics,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let taken = slot.clone();
    let with_slot = move |request| with_body(request, taken.clone());
    let service = TowerToHyperService::new(router.map_request(with_slot));
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS);
    let (stream, watch) = WriteTimeoutStream::new(stream, is_buffered);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.with_upgrades().await
        && let Some(end) = end_of(&error, &watch)
    {
        metrics.count_end(end);
    }
    drop(slot);
}

/// Why this server ended the connection; `None` if the peer ended it.
fn end_of(error: &hyper::Error, watch: &PhaseWatch) -> Option<ConnectionEnd> {
    match (watch.phase(), error.is_timeout()) {
        (Phase::WriteTimedOut, _) => Some(ConnectionEnd::SlowReader),
        (Phase::NoData, true) => Some(ConnectionEnd::Silent),
        (Phase::DataReceived, true) => Some(ConnectionEnd::SlowHead),
        (Phase::DataSent, true) => Some(ConnectionEnd::Idle),
        (Phase::NoData | Phase::DataReceived | Phase::DataSent, false) => None,
    }
}

fn with_body(request: axum::http::Request<Incoming>, slot: ConnectionSlot) -> Request {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(slot);
    request
}

#[cfg(test)]
mod tests {
    use axum::extract::Extension;
    use axum::http::StatusCode;
    use axum::response::{IntoResponse as _, Response};
    use axum::routing::get;
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::AsyncReadExt as _;
    use tokio::time::timeout;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;
    use tokio_tungstenite::WebSocketStream;

    use super::*;
    use crate::metrics::TlsMetrics;
    use crate::signaling::upgrade;
    use crate::tls::CertificateFiles;

    const PATIENCE: Duration = Duration::from_secs(5);
    const SHORT_TIME: Duration = Duration::from_millis(300);

    struct Client {
        connector: TlsConnector,
        address: std::net::SocketAddr,
    }

    impl Client {
        fn new(address: std::net::SocketAddr, trusted: CertificateDer<'static>) -> Self {
            let mut roots = RootCertStore::empty();
            roots.add(trusted).unwrap();
            let config = ClientConfig::builder().with_root_certificates(roots);
            Self {
                connector: TlsConnector::from(Arc::new(config.with_no_client_auth())),
                address,
            }
        }

        async fn connect(&self) -> TlsStream<TcpStream> {
            let stream = TcpStream::connect(self.address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            self.connector.connect(name, stream).await.unwrap()
        }

        async fn open_socket(&self) -> WebSocketStream<TlsStream<TcpStream>> {
            let stream = self.connect().await;
            let accepted = tokio_tungstenite::client_async("ws://localhost/socket", stream);
            accepted.await.unwrap().0
        }
    }

    async fn silent_socket(
        Extension(slot): Extension<ConnectionSlot>,
        mut request: Request,
    ) -> Response {
        let (method, version) = (request.method(), request.version());
        let headers = upgrade::accept(method, version, request.headers()).unwrap();
        let upgrading = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrading.await.unwrap());
            let mut said = Vec::new();
            // A client that disconnects without a TLS close alert causes an error.
            let _ = stream.read_to_end(&mut said).await;
            drop(slot);
        });
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        response.headers_mut().extend(headers.into_iter().flatten());
        response
    }

    /// Serves one connection at a time. Each is a WebSocket without messages, until the client
    /// disconnects.
    async fn serve_one_connection() -> (Client, TlsMetrics) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let files = CertificateFiles {
            certificate: dir.path().join("cert.pem"),
            key: dir.path().join("key.pem"),
        };
        std::fs::write(&files.certificate, cert.pem()).unwrap();
        std::fs::write(&files.key, signing_key.serialize_pem()).unwrap();
        let metrics = TlsMetrics::default();
        let (tls, _, _) = ListenerTls::tls(files, metrics.clone()).unwrap();
        let router = Router::new().route("/socket", get(silent_socket));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(listener.local_addr().unwrap(), cert.der().clone());
        let capacity = Capacity {
            connections: 1,
            per_source: SourceLimit::default(),
            metrics: ConnectionMetrics::default(),
        };
        tokio::spawn(serve(listener, tls, router, capacity));
        (client, metrics)
    }

    #[tokio::test]
    async fn a_handshake_and_a_socket_inside_tls_keep_their_place() {
        let (client, metrics) = serve_one_connection().await;
        let silent = TcpStream::connect(client.address).await.unwrap();
        let waiting = timeout(SHORT_TIME, client.connect()).await;
        assert!(waiting.is_err(), "the slot is taken by a handshake");
        drop(silent);
        let socket = timeout(PATIENCE, client.open_socket()).await.unwrap();
        let waiting = timeout(SHORT_TIME, client.connect()).await;
        assert!(waiting.is_err(), "the slot is taken by a socket");
        drop(socket);
        timeout(PATIENCE, client.open_socket()).await.unwrap();
        assert_eq!(metrics.handshakes.get(), 2);
    }
}
