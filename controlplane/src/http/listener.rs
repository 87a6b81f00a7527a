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
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
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
