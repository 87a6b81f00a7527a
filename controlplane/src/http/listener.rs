//! Takes connections, as many at once as there may be, and has their requests answered. What a connection
//! is, `tls` finds out; what a request gets, the routes say.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt as _;

use crate::limits::{CONNECTIONS, HEADER_TIME, HEADERS};
use crate::tls::{Door, Opening};

/// Before another connection is tried when there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Among the connections at once: kept by a WebSocket, which outlives the connection it came by.
#[derive(Debug, Clone)]
pub(super) struct Place {
    _held: Arc<OwnedSemaphorePermit>,
}

/// Serves until the future is dropped; open connections live on.
pub async fn serve(listener: TcpListener, door: Door, router: Router) {
    serve_within(
        Arc::new(Semaphore::new(CONNECTIONS)),
        listener,
        door,
        router,
    )
    .await;
}

async fn serve_within(permits: Arc<Semaphore>, listener: TcpListener, door: Door, router: Router) {
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await;
        let permit = permit.expect("this semaphore is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors: those who hang up give some back.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Signaling is small messages that somebody waits for.
        let _ = stream.set_nodelay(true);
        let place = Place {
            _held: Arc::new(permit),
        };
        tokio::spawn(welcome(stream, door.clone(), router.clone(), place));
    }
}

/// A connection that is still to be let in has its place already.
async fn welcome(stream: TcpStream, door: Door, router: Router, place: Place) {
    match door.open(stream).await {
        Ok(Opening::Http(stream)) => answer(stream, router, place).await,
        Ok(Opening::Https(stream)) => answer(stream, router, place).await,
        // It is counted.
        Err(refusal) => tracing::debug!(%refusal, "a connection came to nothing"),
    }
}

async fn answer<S>(stream: S, router: Router, place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let taken = place.clone();
    let with_place = move |request| with_body(request, taken.clone());
    let service = TowerToHyperService::new(router.map_request(with_place));
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(HEADERS);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    // Whatever ended it, the peer is gone.
    let _ = connection.await;
    drop(place);
}

fn with_body(request: axum::http::Request<Incoming>, place: Place) -> Request {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(place);
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

    const AT_ONCE: Duration = Duration::from_secs(5);
    const A_WHILE: Duration = Duration::from_millis(300);

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
            let opening = tokio_tungstenite::client_async("ws://localhost/socket", stream);
            opening.await.unwrap().0
        }
    }

    async fn be_silent(Extension(place): Extension<Place>, mut request: Request) -> Response {
        let (method, version) = (request.method(), request.version());
        let headers = upgrade::accept(method, version, request.headers()).unwrap();
        let upgrading = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrading.await.unwrap());
            let mut said = Vec::new();
            // A client that goes away without a word of TLS is an error.
            let _ = stream.read_to_end(&mut said).await;
            drop(place);
        });
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        response.headers_mut().extend(headers.into_iter().flatten());
        response
    }

    /// Serves one connection at once, each a WebSocket that is silent until the client goes away.
    async fn serve_one_at_once() -> (Client, TlsMetrics) {
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
        let (door, _, _) = Door::tls(files, metrics.clone()).unwrap();
        let router = Router::new().route("/socket", get(be_silent));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(listener.local_addr().unwrap(), cert.der().clone());
        let permits = Arc::new(Semaphore::new(1));
        tokio::spawn(serve_within(permits, listener, door, router));
        (client, metrics)
    }

    #[tokio::test]
    async fn a_handshake_and_a_socket_inside_tls_keep_their_place() {
        let (client, metrics) = serve_one_at_once().await;
        let silent = TcpStream::connect(client.address).await.unwrap();
        let waiting = timeout(A_WHILE, client.connect()).await;
        assert!(waiting.is_err(), "the place is taken by a handshake");
        drop(silent);
        let socket = timeout(AT_ONCE, client.open_socket()).await.unwrap();
        let waiting = timeout(A_WHILE, client.connect()).await;
        assert!(waiting.is_err(), "the place is taken by a socket");
        drop(socket);
        timeout(AT_ONCE, client.open_socket()).await.unwrap();
        assert_eq!(metrics.handshakes.get(), 2);
    }
}
