//! Reads a certificate and its key from files and checks that they belong together. [`crate::renewal`] decides when to
//! read.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::{CERTIFICATE_FILE_BYTES, TlsError};

/// Paths of a certificate and its key, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate chain, the server's certificate first.
    pub certificate: PathBuf,
    /// The private key of the server's certificate.
    pub key: PathBuf,
}

/// Content of both files, not validated.
pub(super) struct Content {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// Hash of both files, to detect changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint(u64);

/// A valid certificate with its key.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub(super) certified: Arc<CertifiedKey>,
    /// Expiry of the certificate, seconds since 1970.
    pub ends_at: u64,
    /// The first host name in the certificate without a wildcard.
    pub name: Option<String>,
    /// All host names in the certificate, including wildcards such as `*.example.com`.
    pub names: Vec<String>,
}

/// CA certificates read from a file.
#[derive(Debug)]
pub struct Authorities {
    /// Content of the file, unchanged.
    pub pem: Vec<u8>,
    /// The CA certificates of the file, in order.
    pub certificates: Vec<CertificateDer<'static>>,
}

impl CertificateFiles {
    /// Reads and checks both files.
    pub fn load(&self, provider: &CryptoProvider) -> Result<Certificate, TlsError> {
        self.parse(&self.read()?, provider)
    }

    /// Reads both files again and returns their PEM, if certificate and key fit.
    pub fn checked_pem(&self) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
        let content = self.read()?;
        self.parse(&content, &aws_lc_rs::default_provider())?;
        Ok((content.certificate, content.key))
    }

    /// The host names in the certificate.
    pub fn names(&self) -> Result<Vec<String>, TlsError> {
        Ok(self.load(&aws_lc_rs::default_provider())?.names)
    }

    pub(super) fn read(&self) -> Result<Content, TlsError> {
        Ok(Content {
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
        })
    }

    pub(super) fn parse(
        &self,
        content: &Content,
        provider: &CryptoProvider,
    ) -> Result<Certificate, TlsError> {
        let chain = certificates(&self.certificate, &content.certificate)?;
        let (ends_at, names) = self.describe(&chain[0])?;
        let key = PrivateKeyDer::from_pem_slice(&content.key).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::NoKey(self.key.clone()),
            error => not_pem(&self.key, &error),
        })?;
        let certified =
            CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
                    certificate: self.certificate.clone(),
                    key: self.key.clone(),
                },
                rustls::Error::InvalidCertificate(_) => self.bad_certificate(&error),
                error => TlsError::BadKey {
                    path: self.key.clone(),
                    why: error.to_string(),
                },
            })?;
        Ok(Certificate {
            certified: Arc::new(certified),
            ends_at,
            name: names.iter().find(|name| !name.starts_with('*')).cloned(),
            names,
        })
    }

    /// Expiry of the certificate, in seconds since 1970, and its host names.
    fn describe(&self, der: &CertificateDer<'_>) -> Result<(u64, Vec<String>), TlsError> {
        let parsed =
            x509_cert::Certificate::from_der(der).map_err(|error| self.bad_certificate(&error))?;
        let parsed = parsed.tbs_certificate();
        let ends_at = parsed.validity().not_after.to_unix_duration().as_secs();
        let names = parsed.get_extension::<SubjectAltName>().ok().flatten();
        let names = names.map_or_else(Vec::new, |(_, names)| names.0);
        let names = names.iter().filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
            _ => None,
        });
        Ok((ends_at, names.collect()))
    }

    fn bad_certificate(&self, why: &dyn std::fmt::Display) -> TlsError {
        TlsError::BadCertificate {
            path: self.certificate.clone(),
            why: why.to_string(),
        }
    }
}

impl Content {
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut hasher = DefaultHasher::new();
        (&self.certificate, &self.key).hash(&mut hasher);
        Fingerprint(hasher.finish())
    }
}

impl Certificate {
    /// Fails if the certificate has expired at `now`.
    pub(super) fn still_good(self, now: u64, path: &Path) -> Result<Self, TlsError> {
        if self.ends_at > now {
            return Ok(self);
        }
        Err(TlsError::Expired {
            path: path.to_owned(),
            seconds: now - self.ends_at,
        })
    }
}

/// Reads CA certificates. Fails if one is invalid or there are none.
pub fn authorities(path: &Path) -> Result<Authorities, TlsError> {
    let pem = read(path)?;
    let certificates = certificates(path, &pem)?;
    for der in &certificates {
        let added = RootCertStore::empty().add(der.clone());
        added.map_err(|error| TlsError::BadCertificate {
            path: path.to_owned(),
            why: error.to_string(),
        })?;
    }
    Ok(Authorities { pem, certificates })
}

/// The certificates of a PEM file; an error if there are none.
fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| not_pem(path, &error))?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let file = File::open(path);
    file.and_then(|file| {
        file.take(CERTIFICATE_FILE_BYTES + 1)
            .read_to_end(&mut bytes)
    })
    .map_err(|error| TlsError::Unreadable {
        path: path.to_owned(),
        error,
    })?;
    if bytes.len() as u64 > CERTIFICATE_FILE_BYTES {
        return Err(TlsError::TooLong {
            path: path.to_owned(),
            limit: CERTIFICATE_FILE_BYTES,
        });
    }
    Ok(bytes)
}

fn not_pem(path: &Path, error: &pem::Error) -> TlsError {
    TlsError::NotPem {
        path: path.to_owned(),
        why: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use rustls::crypto::aws_lc_rs::default_provider;

    use super::*;

    /// PEM of a certificate for `names` and of its key.
    fn pair(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = date_time_ymd(2101, 2, 3);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn files(dir: &Path, certificate: &str, key: &str) -> CertificateFiles {
        let files = CertificateFiles {
            certificate: dir.join("cert.pem"),
            key: dir.join("key.pem"),
        };
        std::fs::write(&files.certificate, certificate).unwrap();
        std::fs::write(&files.key, key).unwrap();
        files
    }

    #[test]
    fn a_pair_is_read_with_its_end_and_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = pair(&["*.example.com", "127.0.0.1", "rtc.example.com"]);
        let (issuer, _) = pair(&["ca.example.com"]);
        // A certificate chain, with other text around it.
        let chain = format!("subject=somebody\n{certificate}\n{issuer}");
        let loaded = files(dir.path(), &chain, &key);
        let loaded = loaded.load(&default_provider()).unwrap();
        assert_eq!(loaded.ends_at, 4_136_832_000);
        assert_eq!(loaded.name.as_deref(), Some("rtc.example.com"));
        assert_eq!(loaded.certified.cert.len(), 2);
        assert!(loaded.clone().still_good(1_800_000_000, dir.path()).is_ok());
        let expired = loaded.still_good(5_000_000_000, dir.path());
        assert!(matches!(expired, Err(TlsError::Expired { .. })));
    }

    #[test]
    fn what_cannot_be_served_is_named_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = pair(&["a.example"]);
        let (_, other_key) = pair(&["b.example"]);
        let cut = &certificate[..certificate.len() / 2];
        let scrambled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let odd = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let long = "x".repeat(usize::try_from(CERTIFICATE_FILE_BYTES).unwrap() + 1);
        for (certificate, key, file, part) in [
            ("", &*key, "cert.pem", "has no certificate"),
            (&*key, &*key, "cert.pem", "has no certificate"),
            (cut, &*key, "cert.pem", "is not PEM"),
            (scrambled, &*key, "cert.pem", "cannot be read"),
            (&*long, &*key, "cert.pem", "more than 1048576 bytes"),
            (&*certificate, "", "key.pem", "has no private key"),
            (&*certificate, odd, "key.pem", "cannot be used"),
            (&*certificate, &*other_key, "key.pem", "does not belong"),
        ] {
            let files = files(dir.path(), certificate, key);
            let said = files.load(&default_provider()).unwrap_err().to_string();
            assert!(said.contains(part) && said.contains(file), "{part}: {said}");
        }
        std::fs::remove_file(dir.path().join("cert.pem")).unwrap();
        let gone = CertificateFiles {
            certificate: dir.path().join("cert.pem"),
            key: dir.path().join("key.pem"),
        };
        let said = gone.load(&default_provider()).unwrap_err().to_string();
        assert!(
            said.starts_with("cannot read") && said.contains("cert.pem"),
            "{said}"
        );
    }
}
