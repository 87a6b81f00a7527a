//! TLS on the control plane's own port: a certificate that is swapped while it serves, and what each
//! connection turns out to be. Connections that we open are others' business (`store::redis`), who have their
//! files read here.
//!
//! A connection comes from the listener to the [`Door`], and goes on to whoever speaks what is inside.

mod certificate; // a certificate and its key, out of their files
mod door; // the handshake, and what came in by it
mod renewal; // swaps the certificate when its files change

use std::path::PathBuf;

pub(crate) use certificate::authorities;
pub use certificate::{Certificate, CertificateFiles};
pub use door::{Door, Opening, Refusal};
pub use renewal::{Certificates, Renewal};

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is not there, or not for us.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// No file of PEM is that long.
    #[error("{path} has more than {limit} bytes")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// What is read at most.
        limit: u64,
    },
    /// Cut off, or something else altogether.
    #[error("{path} is no PEM: {why}")]
    NotPem {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        why: String,
    },
    /// PEM of something else.
    #[error("{0} holds no certificate (-----BEGIN CERTIFICATE-----)")]
    NoCertificate(PathBuf),
    /// PEM of something else.
    #[error(
        "{0} holds no private key without a passphrase (-----BEGIN PRIVATE KEY-----, RSA or EC)"
    )]
    NoKey(PathBuf),
    /// A certificate that is broken inside.
    #[error("the certificate in {path} cannot be read: {why}")]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A key of another kind.
    #[error("the key in {path} cannot be used: {why}")]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Two files that are not of one pair.
    #[error("the key in {key} does not belong to the certificate in {certificate}")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Nobody would trust it.
    #[error("the certificate in {path} ended {seconds} s ago")]
    Expired {
        /// The file.
        path: PathBuf,
        /// Since its end.
        seconds: u64,
    },
    /// The configuration as a whole.
    #[error("tls cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    /// The signal that asks for another look.
    #[error("cannot catch SIGHUP: {0}")]
    Signal(std::io::Error),
}
