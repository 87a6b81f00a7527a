//! State that a session shares with its DTLS instance: keys, round trip time, and the reason of a failed handshake.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dimpl::{CryptoError as DimplCryptoError, SecurityError};
use str0m::crypto::dtls::DtlsImplError;

use crate::srtp::Keys;

thread_local! {
    pub(super) static CREATED: RefCell<Option<Arc<Handshake>>> = const { RefCell::new(None) };
}

/// Retransmission timeout of a flight while the RTT is unknown (RFC 9147 section 5.8.2 permits short timeouts for
/// real-time protocols).
pub(super) const UNKNOWN_RTO: Duration = Duration::from_millis(100);
/// Minimum retransmission timeout when the round trip time is known.
pub(super) const MIN_RTO: Duration = Duration::from_millis(50);
/// Time from the failure of a handshake to the end of its session. Errors before the end of a handshake can be forged;
/// then the handshake still succeeds.
pub const FAILURE_GRACE: Duration = Duration::from_secs(2);

/// State that a session shares with its DTLS instance.
#[derive(Default)]
pub struct Handshake {
    rto_ms: AtomicU32,
    noted: Mutex<Noted>,
}

#[derive(Default)]
pub(super) struct Noted {
    pub(super) keys: Option<Keys>,
    /// The first error of the handshake.
    failure: Option<Failure>,
    /// Time of the first error that ends the session.
    over: Option<Instant>,
}

/// Why a handshake failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Kind of the failure.
    pub kind: FailureKind,
    /// Description of the failure, for logs.
    pub detail: String,
}

/// Kinds of failure, as counted in metrics and reported to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The client's certificate differs from the signalled fingerprint.
    Fingerprint,
    /// The client's certificate, or its signature, cannot be verified.
    Certificate,
    /// The client sent a fatal alert.
    Alert,
    /// The handshake did not end in time.
    Timeout,
    /// The two sides have no common parameters, or a message is malformed.
    Protocol,
}

impl Handshake {
    /// Takes the state of the DTLS instance that was created last on this thread.
    pub fn take_created() -> Option<Arc<Self>> {
        CREATED.take()
    }

    /// Sets the round trip time that ICE has measured.
    pub fn measured(&self, rtt: Duration) {
        let rto = rtt.clamp(MIN_RTO, Duration::from_secs(1));
        self.rto_ms.store(rto.as_millis() as u32, Ordering::Relaxed);
    }

    /// Takes the keys when the handshake is complete. `None` before, and after the first call.
    pub fn take_keys(&self) -> Option<Keys> {
        self.noted().keys.take()
    }

    /// The failure of the handshake, and the time when the session ends; `None` while the handshake continues.
    pub fn failure(&self) -> Option<(Failure, Instant)> {
        let noted = self.noted();
        let ends = noted.over? + FAILURE_GRACE;
        Some((noted.failure.clone()?, ends))
    }

    /// Records an error that the DTLS instance does not know of.
    pub fn fail(&self, kind: FailureKind, detail: String, now: Instant) {
        let mut noted = self.noted();
        let noted = &mut *noted;
        noted.failure.get_or_insert(Failure { kind, detail });
        // A malformed message can be forged by any sender, so only the timeout ends the handshake.
        if kind != FailureKind::Protocol {
            noted.over.get_or_insert(now);
        }
    }

    pub(super) fn rto(&self) -> Option<Duration> {
        let ms = self.rto_ms.load(Ordering::Relaxed);
        (ms > 0).then(|| Duration::from_millis(u64::from(ms)))
    }

    pub(super) fn noted(&self) -> std::sync::MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FailureKind {
    /// All kinds, in the order of their counters.
    pub const ALL: [FailureKind; 5] = [
        FailureKind::Fingerprint,
        FailureKind::Certificate,
        FailureKind::Alert,
        FailureKind::Timeout,
        FailureKind::Protocol,
    ];

    /// Label of the counter, and reason reported to clients.
    pub fn label(self) -> &'static str {
        match self {
            FailureKind::Fingerprint => "dtls_fingerprint",
            FailureKind::Certificate => "dtls_certificate",
            FailureKind::Alert => "dtls_alert",
            FailureKind::Timeout => "dtls_timeout",
            FailureKind::Protocol => "dtls_protocol",
        }
    }

    pub(super) fn of(error: &DtlsImplError) -> Self {
        match error {
            DtlsImplError::CertificateError(_)
            | DtlsImplError::CryptoError(
                DimplCryptoError::SignatureVerificationFailed { .. }
                | DimplCryptoError::RsaVerificationFailed { .. }
                | DimplCryptoError::UnsupportedSignatureAlgorithm(_)
                | DimplCryptoError::UnsupportedPublicKeyAlgorithm
                | DimplCryptoError::UnsupportedEcCurve
                | DimplCryptoError::CertificateParseFailed,
            ) => FailureKind::Certificate,
            DtlsImplError::SecurityError(SecurityError::FatalAlert { .. }) => FailureKind::Alert,
            DtlsImplError::Timeout(_) => FailureKind::Timeout,
            _ => FailureKind::Protocol,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.label(), self.detail)
    }
}
