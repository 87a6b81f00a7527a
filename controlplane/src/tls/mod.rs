//! TLS of the control plane's own port: a certificate that is renewed while the server runs, and
//! detection of TLS. For outgoing connections, `store::redis` only reads certificate files with
//! this module.
//!
//! A connection goes from the listener through [`Door`] to HTTP.

mod door; // TLS handshakes of accepted connections

pub use door::{Door, Opening, Refusal};
pub use spillway_certificate::{
    Certificate, CertificateFiles, Certificates, Renewal, TlsError, authorities,
};
