//! The certificate of a TLS server: reads it from its files, checks it, and replaces it while the
//! server runs.
//!
//! Both planes serve TLS and must not depend on each other, so their common code is here. It reads
//! the files and resolves the certificate of a `rustls` server. Each plane does its own handshakes.

mod certificate; // reads a certificate and its key from files
mod renewal; // reloads the certificate when its files change

use std::path::PathBuf;
use std::time::Duration;

pub use certificate::{Authorities, Certificate, CertificateFiles, authorities};
pub use renewal::{Certificates, Observer, Renewal};

/// Maximum size of a certificate or key file.
const CERTIFICATE_FILE_BYTES: u64 = 1024 * 1024;
/// Interval at which the files are checked. A change is loaded by the second check that finds it.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(5);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is missing, or this process must not read it.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The file that cannot be read.
        path: PathBuf,
        /// Error of the system call.
        error: std::io::Error,
    },
    /// The file is larger than any PEM file.
    #[error("{path} has more than {limit} bytes")]
    TooLong {
        /// The file that is too long.
        path: PathBuf,
        /// Maximum bytes of the file.
        limit: u64,
    },
    /// The file is truncated, or not PEM.
    #[error("{path} is not PEM: {why}")]
    NotPem {
        /// The file without a PEM block of the needed kind.
        path: PathBuf,
        /// Description of the PEM error.
        why: String,
    },
    /// The PEM file has no certificate.
    #[error("{0} has no certificate (-----BEGIN CERTIFICATE-----)")]
    NoCertificate(PathBuf),
    /// The PEM file has no usable private key.
    #[error("{0} has no private key without a passphrase (-----BEGIN PRIVATE KEY-----, RSA or EC)")]
    NoKey(PathBuf),
    /// The certificate cannot be parsed.
    #[error("the certificate in {path} cannot be read: {why}")]
    BadCertificate {
        /// The file with the bad certificate.
        path: PathBuf,
        /// Description of the error in the certificate.
        why: String,
    },
    /// The key has an unsupported type.
    #[error("the key in {path} cannot be used: {why}")]
    BadKey {
        /// The file with the bad key.
        path: PathBuf,
        /// Description of the error in the key.
        why: String,
    },
    /// Certificate and key do not belong together.
    #[error("the key in {key} does not belong to the certificate in {certificate}")]
    Mismatch {
        /// Path of the certificate's file.
        certificate: PathBuf,
        /// Path of the key's file.
        key: PathBuf,
    },
    /// Clients would not trust an expired certificate.
    #[error("the certificate in {path} expired {seconds} s ago")]
    Expired {
        /// The file of the expired certificate.
        path: PathBuf,
        /// Seconds since the certificate expired.
        seconds: u64,
    },
    /// The TLS configuration is invalid.
    #[error("tls cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    /// SIGHUP, which triggers a reload, cannot be caught.
    #[error("cannot catch SIGHUP: {0}")]
    Signal(std::io::Error),
}
