//! TLS on a listener: handshakes of accepted connections. The only place that detects the protocol
//! of the port: HTTP, plain or over TLS. Each ALPN protocol has its own variant of [`Accepted`]:
//! HTTP is `http/1.1`; TURN would be `stun.turn` (RFC 7443 section 3).

use std::io;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::{AlertDescription, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Certificate, CertificateFiles, Certificates, Renewal, TlsError};
use crate::limits::HANDSHAKE_TIME;
use crate::metrics::TlsMetrics;

/// ALPN name of HTTP/1.1 (RFC 7301 section 6).
const HTTP_1_1: &[u8] = b"http/1.1";

/// How connections of a listener begin.
#[derive(Clone)]
pub enum ListenerTls {
    /// With HTTP, without a handshake.
    Plain,
    /// With a TLS handshake.
    Tls(TlsAcceptor, TlsMetrics),
}

/// An accepted connection, after the handshake if there is one.
pub enum Accepted {
    /// A TCP connection for HTTP.
    Http(TcpStream),
    /// A TLS connection for HTTP.
    Https(Box<TlsStream<TcpStream>>),
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The handshake took longer than [`HANDSHAKE_TIME`].
    #[error("no handshake within {} s", HANDSHAKE_TIME.as_secs())]
    TooSlow,
    /// The first bytes are not a TLS record.
    #[error("the client does not use tls: {0}")]
    NotTls(rustls::Error),
    /// The client sent an alert, usually because it does not trust the certificate.
    #[error("the client refused: {0:?}")]
    Refused(AlertDescription),
    /// Client and server have no common protocol version, cipher or ALPN protocol.
    #[error("no handshake is possible: {0}")]
    Incompatible(rustls::Error),
    /// The client closed the connection, or it broke.
    #[error("the client has disconnected: {0}")]
    Gone(io::Error),
}

impl ListenerTls {
    /// A TLS listener with the certificate in `files`, and the task that renews the certificate.
    pub fn tls(
        files: CertificateFiles,
        metrics: TlsMetrics,
    ) -> Result<(Self, Certificate, Renewal), TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let loaded = Certificates::load(files, Arc::clone(&provider), Box::new(metrics.clone()))?;
        let (certificates, certificate, renewal) = loaded;
        let config = config(provider, certificates)?;
        let tls = Self::Tls(TlsAcceptor::from(Arc::new(config)), metrics);
        Ok((tls, certificate, renewal))
    }

    /// Performs the handshake, within a time limit.
    pub async fn accept(&self, stream: TcpStream) -> Result<Accepted, HandshakeError> {
        match self {
            Self::Plain => Ok(Accepted::Http(stream)),
            Self::Tls(acceptor, metrics) => {
                let accepted = handshake(acceptor, stream).await;
                match &accepted {
                    Ok(_) => drop(metrics.handshakes.inc()),
                    Err(error) => metrics.count_refusal(error.label()),
                }
                accepted
            }
        }
    }
}

impl HandshakeError {
    /// Classifies the error of a handshake.
    fn of(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(rustls::Error::AlertReceived(alert)) => Self::Refused(*alert),
            Some(error @ rustls::Error::InvalidMessage(_)) => Self::NotTls(error.clone()),
            Some(error) => Self::Incompatible(error.clone()),
            None => Self::Gone(error),
        }
    }

    fn label(&self) -> &'static str {
        match self {
            Self::TooSlow => "too_slow",
            Self::NotTls(_) => "not_tls",
            Self::Refused(_) => "refused",
            Self::Incompatible(_) => "incompatible",
            Self::Gone(_) => "gone",
        }
    }
}

async fn handshake(acceptor: &TlsAcceptor, stream: TcpStream) -> Result<Accepted, HandshakeError> {
    match tokio::time::timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
        // A client without ALPN gets HTTP. A client that offers only other protocols was refused
        // (RFC 7301 section 3.2).
        Ok(Ok(stream)) => Ok(Accepted::Https(Box::new(stream))),
        Ok(Err(error)) => Err(HandshakeError::of(error)),
        Err(_) => Err(HandshakeError::TooSlow),
    }
}

fn config(
    provider: Arc<CryptoProvider>,
    certificates: Arc<Certificates>,
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    // Stateless tickets: many clients may reconnect at once, and a resumed handshake needs no
    // signature and no state in the server.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

impl std::fmt::Debug for ListenerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Tls(..) => "Tls",
        })
    }
}

impl std::fmt::Debug for Accepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http(_) => "Http",
            Self::Https(_) => "Https",
        })
    }
}
