//! Metrics and health checks over HTTP.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue, VARY};
use hyper::service::service_fn;
use hyper::{Method, Request as HttpRequest, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use spillway_exposition::{Format, expose};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::Request;

/// Time limit for the header of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum duration of a connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// Serves `listener` until the process ends.
pub(super) async fn serve(listener: TcpListener, requests: mpsc::Sender<Request>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "metrics: accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let requests = requests.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, requests.clone()));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            // Errors of a scraper's connection are ignored.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
        });
    }
}

async fn answer(
    request: HttpRequest<Incoming>,
    requests: mpsc::Sender<Request>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let accept = request.headers().get_all(ACCEPT).iter();
    let format = Format::of_accept(accept.filter_map(|value| value.to_str().ok()));
    let mut content_type = Format::Text.content_type();
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => match metrics(&requests).await {
            Some(text) => {
                content_type = format.content_type();
                (StatusCode::OK, expose(&text, format))
            }
            None => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned()),
        },
        (&Method::GET | &Method::HEAD, "/healthz") => (StatusCode::OK, "ok\n".to_owned()),
        (_, path) => (
            StatusCode::NOT_FOUND,
            format!("no {path} here; try /metrics or /healthz\n"),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

async fn metrics(requests: &mpsc::Sender<Request>) -> Option<String> {
    let (reply, answer) = oneshot::channel();
    requests.send(Request::Metrics(reply)).await.ok()?;
    answer.await.ok()
}
