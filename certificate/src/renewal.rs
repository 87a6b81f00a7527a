//! Reloads the certificate when its files change, or on SIGHUP. New connections get the new certificate; open
//! connections keep theirs. If the files cannot be used, the log names them and the old certificate stays.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::certificate::{Certificate, CertificateFiles, Content, Fingerprint};
use super::{CERTIFICATE_LOOK, TlsError};

/// Resolves the certificate for new connections.
#[derive(Debug)]
pub struct Certificates(RwLock<Arc<CertifiedKey>>);

/// The task that reloads the files when they change, see [`Self::run`].
pub struct Renewal {
    files: CertificateFiles,
    provider: Arc<CryptoProvider>,
    certificates: Arc<Certificates>,
    observer: Box<dyn Observer>,
    watch: Watch,
    hangup: Signal,
}

/// Receives reloads and failures, for metrics.
pub trait Observer: Send + Sync {
    /// The served certificate expires at this time, in seconds since 1970.
    fn ends_at(&self, unix_s: u64);
    /// A new certificate is served from now on.
    fn renewed(&self);
    /// A new certificate could not be used.
    fn refused(&self);
}

impl<O: Observer> Observer for Arc<O> {
    fn ends_at(&self, unix_s: u64) {
        (**self).ends_at(unix_s);
    }

    fn renewed(&self) {
        (**self).renewed();
    }

    fn refused(&self) {
        (**self).refused();
    }
}

/// Content of the files at one check, or the read error.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sight {
    Content(Fingerprint),
    /// The file cannot be read, with the reason.
    Unreadable(String),
}

/// Decides which change of the files to load: content that is the same in two checks in a row, and
/// was not tried before. Two files cannot be replaced in one step, so one check may find only one
/// new file.
#[derive(Debug)]
struct Watch {
    tried: Sight,
    last: Sight,
}

impl Certificates {
    /// Loads `files`, and returns a task that reloads them when they change.
    pub fn load(
        files: CertificateFiles,
        provider: Arc<CryptoProvider>,
        observer: Box<dyn Observer>,
    ) -> Result<(Arc<Self>, Certificate, Renewal), TlsError> {
        let content = files.read()?;
        let certificate = files.parse(&content, &provider)?;
        observer.ends_at(certificate.ends_at);
        if certificate.ends_at <= unix_s() {
            // An expired certificate is served: some clients accept it, and without it the server
            // serves nothing.
            let path = files.certificate.display();
            tracing::error!(certificate = %path, "tls: the certificate has expired, clients will refuse it");
        }
        let certificates = Arc::new(Self(RwLock::new(Arc::clone(&certificate.certified))));
        let seen = Sight::Content(content.fingerprint());
        let renewal = Renewal {
            files,
            provider,
            certificates: Arc::clone(&certificates),
            observer,
            watch: Watch {
                tried: seen.clone(),
                last: seen,
            },
            hangup: signal(SignalKind::hangup()).map_err(TlsError::Signal)?,
        };
        Ok((certificates, certificate, renewal))
    }

    fn swap(&self, certified: Arc<CertifiedKey>) {
        // A poisoned lock still has a whole value.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(
            &self.0.read().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

impl Renewal {
    /// Checks the files until the future is dropped.
    pub async fn run(mut self) {
        let mut looks = interval(CERTIFICATE_LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_asked = tokio::select! {
                hangup = self.hangup.recv() => hangup.is_some(),
                _ = looks.tick() => false,
            };
            self.look(is_asked).await;
        }
    }

    async fn look(&mut self, is_asked: bool) {
        let files = self.files.clone();
        // A slow disk must not block a thread of the runtime.
        let Ok(content) = tokio::task::spawn_blocking(move || files.read()).await else {
            return; // the runtime ends
        };
        let sight = Sight::of(&content);
        let is_due = if is_asked {
            self.watch.try_at_once(sight);
            true
        } else {
            self.watch.see(sight)
        };
        if is_due {
            self.renew(content);
        }
    }

    fn renew(&self, content: Result<Content, TlsError>) {
        let path = self.files.certificate.display();
        let certificate = content
            .and_then(|content| self.files.parse(&content, &self.provider))
            .and_then(|fresh| fresh.still_good(unix_s(), &self.files.certificate));
        match certificate {
            Ok(certificate) => {
                self.observer.ends_at(certificate.ends_at);
                self.observer.renewed();
                self.certificates.swap(certificate.certified);
                let ends_at = certificate.ends_at;
                tracing::info!(certificate = %path, ends_at, "tls: new connections get the new certificate");
            }
            Err(error) => {
                self.observer.refused();
                tracing::error!(%error, "tls: the new certificate is not used, the old one stays");
            }
        }
    }
}

fn unix_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

impl Watch {
    /// Notes the content of a check. True if it should be loaded now.
    fn see(&mut self, sight: Sight) -> bool {
        let is_due = sight == self.last && sight != self.tried;
        if is_due {
            self.tried = sight;
        } else {
            self.last = sight;
        }
        is_due
    }

    fn try_at_once(&mut self, sight: Sight) {
        self.last = sight.clone();
        self.tried = sight;
    }
}

impl Sight {
    fn of(content: &Result<Content, TlsError>) -> Self {
        match content {
            Ok(content) => Self::Content(content.fingerprint()),
            Err(error) => Self::Unreadable(error.to_string()),
        }
    }
}

impl std::fmt::Debug for Renewal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewal")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_tried_once_and_only_when_it_holds_still() {
        let sight = |text: &str| Sight::Unreadable(text.to_owned());
        let mut watch = Watch {
            tried: sight("first"),
            last: sight("first"),
        };
        for (seen, is_tried) in [
            ("first", false),
            ("half of the second", false),
            ("second", false),
            ("second", true),
            ("second", false),
            ("third", false),
            ("second", false),
            ("second", false),
            ("third", false),
            ("third", true),
        ] {
            assert_eq!(watch.see(sight(seen)), is_tried, "{seen}");
        }
        watch.try_at_once(sight("fourth"));
        assert!(!watch.see(sight("fourth")), "SIGHUP tried it");
        assert!(!watch.see(sight("third")));
        assert!(watch.see(sight("third")), "going back is a change, too");
    }
}
