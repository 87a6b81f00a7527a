//! The certificate of a TLS server: read from its files, checked, and replaced while the server runs.
//!
//! Both planes serve TLS and do not depend on each other, so their common code is here: it reads files and makes the
//! certificate of a `rustls` server. Each plane does its own handshakes.

mod certificate; // reads a certificate and its key from files
mod renewal; // reloads the certificate when its files change

use std::path::PathBuf;
use std::time::Duration;

pub use certificate::{Authorities, Certificate, CertificateFiles, authorities};
pub use renewal::{Certificates, Observer, Renewal};

/// Bytes of a certificate's or a key's file.
const CERTIFICATE_FILE_BYTES: u64 = 1024 * 1024;
/// Between looks at the files; a change is taken up by the second look that finds it.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(5);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is not there, or not for us.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The file that cannot be read.
        path: PathBuf,
        /// Error of the system call.
        error: std::io::Error,
    },
    /// No file of PEM is that long.
    #[error("{path} has more than {limit} bytes")]
    TooLong {
        /// The file that is too long.
        path: PathBuf,
        /// Maximum bytes of the file.
        limit: u64,
    },
    /// Cut off, or something else altogether.
    #[error("{path} is no PEM: {why}")]
    NotPem {
        /// The file without a PEM block of the needed kind.
        path: PathBuf,
        /// Description of the PEM error.
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
        /// The file with the bad certificate.
        path: PathBuf,
        /// Description of the error in the certificate.
        why: String,
    },
    /// A key of another kind.
    #[error("the key in {path} cannot be used: {why}")]
    BadKey {
        /// The file with the bad key.
        path: PathBuf,
        /// Description of the error in the key.
        why: String,
    },
    /// Two files that are not of one pair.
    #[error("the key in {key} does not belong to the certificate in {certificate}")]
    Mismatch {
        /// Path of the certificate's file.
        certificate: PathBuf,
        /// Path of the key's file.
        key: PathBuf,
    },
    /// Clients would not trust an expired certificate.
    #[error("the certificate in {path} ended {seconds} s ago")]
    Expired {
        /// The file of the expired certificate.
        path: PathBuf,
        /// Seconds since the certificate expired.
        seconds: u64,
    },
    /// The configuration as a whole.
    #[error("tls cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    /// The signal that asks for another look.
    #[error("cannot catch SIGHUP: {0}")]
    Signal(std::io::Error),
}
