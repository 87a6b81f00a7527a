//! The HTTP upgrade to WebSocket (RFC 6455 section 4.2), and the halves of the upgraded connection.
//!
//! The WebSocket library only reads. Messages are encoded once for all sockets and written as they
//! are. Frames that the library itself sends, such as a pong, go through the socket's queue.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::connection::WriteTimeoutStream;
use crate::hub::Outbox;
use crate::limits::{READ_BUFFER_BYTES, UNJOINED_BYTES};

/// Name of the subprotocol (Sec-WebSocket-Protocol). A client may omit it.
const PROTOCOL: &str = "spillway.v1";

/// Why a request cannot become a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoUpgrade {
    /// Not a GET of HTTP/1.1, or the headers for an upgrade to WebSocket are missing.
    #[error(
        "this is a WebSocket: ask with GET, HTTP/1.1 and 'Connection: Upgrade', 'Upgrade: websocket'"
    )]
    NotAnUpgrade,
    /// The client uses another version of WebSocket.
    #[error("the version of WebSocket is 13 (Sec-WebSocket-Version)")]
    Version,
    /// The header Sec-WebSocket-Key is missing.
    #[error("Sec-WebSocket-Key is missing")]
    NoKey,
}

impl NoUpgrade {
    /// The HTTP status of the response.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotAnUpgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::NoKey => StatusCode::BAD_REQUEST,
        }
    }
}

/// Headers of the response 101 that accepts the upgrade.
pub fn accept(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
) -> Result<[Option<(HeaderName, HeaderValue)>; 4], NoUpgrade> {
    let is_asked = method == Method::GET
        && version == Version::HTTP_11
        && names(headers, &header::CONNECTION, "upgrade")
        && names(headers, &header::UPGRADE, "websocket");
    if !is_asked {
        return Err(NoUpgrade::NotAnUpgrade);
    }
    let version = headers.get(header::SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version != "13") {
        return Err(NoUpgrade::Version);
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or(NoUpgrade::NoKey)?;
    let proof = derive_accept_key(key.as_bytes());
    let proof = HeaderValue::from_str(&proof).expect("base64 is a header's value");
    let is_named = names(headers, &header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL);
    let protocol = (
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(PROTOCOL),
    );
    Ok([
        Some((header::CONNECTION, HeaderValue::from_static("upgrade"))),
        Some((header::UPGRADE, HeaderValue::from_static("websocket"))),
        Some((header::SEC_WEBSOCKET_ACCEPT, proof)),
        is_named.then_some(protocol),
    ])
}

/// True if a header with a list of tokens contains `word`.
fn names(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter();
    let words = values.filter_map(|value| value.to_str().ok());
    words
        .flat_map(|words| words.split(','))
        .any(|said| said.trim().eq_ignore_ascii_case(word))
}

/// A connection after the upgrade to WebSocket.
pub struct Connection {
    input: Input,
    output: Output,
    /// Bytes that came together with the request.
    early: Bytes,
}

/// The reading half of a connection.
enum Input {
    Tcp(OwnedReadHalf),
    Other(ReadHalf<TokioIo<Upgraded>>),
}

/// The writing half of a connection.
pub(super) enum Output {
    /// A TCP socket: several messages are written with one call.
    Tcp(OwnedWriteHalf),
    /// A connection with TLS or another layer.
    Other(WriteHalf<TokioIo<Upgraded>>),
}

impl Connection {
    /// Wraps the upgraded connection of a request.
    pub fn new(upgraded: Upgraded) -> Self {
        match upgraded.downcast::<TokioIo<WriteTimeoutStream<TcpStream>>>() {
            Ok(parts) => {
                let stream = parts.io.into_inner().into_inner();
                let (input, output) = stream.into_split();
                Self {
                    input: Input::Tcp(input),
                    output: Output::Tcp(output),
                    early: parts.read_buf,
                }
            }
            Err(upgraded) => {
                let (input, output) = tokio::io::split(TokioIo::new(upgraded));
                Self {
                    input: Input::Other(input),
                    output: Output::Other(output),
                    early: Bytes::new(),
                }
            }
        }
    }

    /// Splits the connection into halves. Messages have at most `message_bytes`. At most `quota`
    /// bytes are read before `join`.
    pub(super) async fn split(
        self,
        outbox: Outbox,
        (message_bytes, quota): (usize, Quota),
    ) -> (Reader, Output) {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(message_bytes))
            .max_frame_size(Some(message_bytes));
        let answering = ReaderStream {
            input: self.input,
            outbox,
            quota,
        };
        let early = self.early.to_vec();
        let reader =
            WebSocketStream::from_partially_read(answering, early, Role::Server, Some(config));
        (reader.await, self.output)
    }
}

/// The messages of a client.
pub(super) type Reader = WebSocketStream<ReaderStream>;

/// The connection as the WebSocket library uses it: bytes that the library writes go into the
/// socket's queue.
pub(super) struct ReaderStream {
    input: Input,
    outbox: Outbox,
    quota: Quota,
}

/// Number of bytes that may be read before `join`. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Quota(Arc<AtomicUsize>);

/// The client sent more bytes before `join` than allowed.
#[derive(Debug, thiserror::Error)]
#[error("more than {UNJOINED_BYTES} bytes before join")]
pub(super) struct OverQuota;

impl Quota {
    /// The quota of a socket that has not joined.
    pub(super) fn unjoined() -> Self {
        Self(Arc::new(AtomicUsize::new(UNJOINED_BYTES)))
    }

    /// Removes the quota after `join`. Then the message rate is the limit.
    pub(super) fn lift(&self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
    }

    /// No race: only the socket's own task calls this and `lift`.
    fn spend(&self, bytes: usize) -> Result<(), OverQuota> {
        match self.0.load(Ordering::Relaxed) {
            usize::MAX => Ok(()),
            left => {
                let left = left.checked_sub(bytes).ok_or(OverQuota)?;
                self.0.store(left, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}

impl AsyncRead for ReaderStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(match &mut self.input {
            Input::Tcp(input) => Pin::new(input).poll_read(context, buffer),
            Input::Other(input) => Pin::new(input).poll_read(context, buffer),
        })?;
        let read = buffer.filled().len() - before;
        Poll::Ready(self.quota.spend(read).map_err(io::Error::other))
    }
}

impl AsyncWrite for ReaderStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.outbox.send_bytes(Bytes::copy_from_slice(bytes));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        };
        list.iter().map(pair).collect()
    }

    const BROWSER: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn the_proof_is_the_one_of_the_rfc() {
        let headers = headers(&BROWSER);
        let accepted = accept(&Method::GET, Version::HTTP_11, &headers).unwrap();
        let accepted: HeaderMap = accepted.into_iter().flatten().collect();
        let proof = &accepted[header::SEC_WEBSOCKET_ACCEPT];
        assert_eq!(proof, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="); // RFC 6455 section 1.3
        assert!(!accepted.contains_key(header::SEC_WEBSOCKET_PROTOCOL));
    }

    #[test]
    fn the_protocol_is_named_to_those_who_ask() {
        let mut asked = headers(&BROWSER);
        let offered = HeaderValue::from_static("other, spillway.v1");
        asked.insert(header::SEC_WEBSOCKET_PROTOCOL, offered);
        let accepted = accept(&Method::GET, Version::HTTP_11, &asked).unwrap();
        assert!(accepted[3].is_some());
    }

    #[test]
    fn what_is_no_handshake_is_named() {
        let accept = |method, version, lacking: &str, headers: &[(&'static str, &'static str)]| {
            let mut map = self::headers(headers);
            map.remove(lacking);
            accept(&method, version, &map)
        };
        let (get, http) = (Method::GET, Version::HTTP_11);
        for (lacking, refused) in [
            ("connection", NoUpgrade::NotAnUpgrade),
            ("upgrade", NoUpgrade::NotAnUpgrade),
            ("sec-websocket-version", NoUpgrade::Version),
            ("sec-websocket-key", NoUpgrade::NoKey),
        ] {
            let result = accept(get.clone(), http, lacking, &BROWSER);
            assert_eq!(result, Err(refused), "without {lacking}");
        }
        let post = accept(Method::POST, http, "", &BROWSER);
        assert_eq!(post, Err(NoUpgrade::NotAnUpgrade));
        let old = accept(get, Version::HTTP_10, "", &BROWSER);
        assert_eq!(old, Err(NoUpgrade::NotAnUpgrade));
    }
}
