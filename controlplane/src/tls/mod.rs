//! TLS of the control plane's own port: a certificate that is renewed while the server runs, and
//! detection of TLS. For outgoing connections, `store::redis` only reads certificate files with
//! this module.
//!
//! A connection goes from the listener through [`ListenerTls`] to HTTP.

mod listener; // TLS handshakes of accepted connections

pub use listener::{Accepted, HandshakeError, ListenerTls};
pub use spillway_certificate::{
    Certificate, CertificateFiles, Certificates, Renewal, TlsError, authorities,
};
