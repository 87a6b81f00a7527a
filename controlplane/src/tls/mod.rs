//! TLS on the control plane's own port: a certificate that is swapped while it serves, and what each
//! connection turns out to be. Connections that we open are others' business (`store::redis`), who have their
//! files read here.
//!
//! A connection comes from the listener to the [`Door`], and goes on to whoever speaks what is inside.

mod door; // the handshake, and what came in by it

pub use door::{Door, Opening, Refusal};
pub use spillway_certificate::{
    Certificate, CertificateFiles, Certificates, Renewal, TlsError, authorities,
};
