//! TLS on the control plane's own port: a certificate that is replaced while the server runs, and detection of the
//! protocol of each connection. Outgoing connections are not handled here; `store::redis` only reads its files with
//! this module.
//!
//! A connection comes from the listener to the [`Door`], and goes on to HTTP.

mod door; // TLS handshakes of accepted connections

pub use door::{Door, Opening, Refusal};
pub use spillway_certificate::{
    Certificate, CertificateFiles, Certificates, Renewal, TlsError, authorities,
};
