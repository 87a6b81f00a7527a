//! Copies the keys of a handshake, and the reason of its failure, from any DTLS implementation to the [`Handshake`] that
//! the session shares. Values pass unchanged to the session layer.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use str0m::config::CryptoProvider;
use str0m::crypto::CryptoError;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
    SrtpProfile,
};

use super::handshake::{CREATED, FailureKind, Handshake};
use crate::srtp::{AeadChoice, Keys, MasterKey, Profile};

/// A crypto provider for the session layer: the library's cryptography with the DTLS of `dtls`. Media packets are
/// encrypted according to `aead`.
pub fn tapped(dtls: &'static dyn DtlsProvider, aead: AeadChoice) -> CryptoProvider {
    // The session layer requires a static reference; one provider serves the process.
    let provider = Box::leak(Box::new(Provider { inner: dtls, aead }));
    CryptoProvider {
        dtls_provider: provider,
        ..str0m::crypto::from_feature_flags()
    }
}

#[derive(Debug)]
struct Provider {
    inner: &'static dyn DtlsProvider,
    aead: AeadChoice,
}

struct Instance {
    inner: Box<dyn DtlsInstance>,
    aead: AeadChoice,
    now: Instant,
    handshake: Arc<Handshake>,
}

impl DtlsProvider for Provider {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        self.inner.generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        // An implementation may leave a handshake of its own, from which it reads the RTT.
        CREATED.set(None);
        let inner = self.inner.new_dtls(cert, now, version, mtu)?;
        let handshake = Handshake::take_created().unwrap_or_default();
        CREATED.set(Some(Arc::clone(&handshake)));
        Ok(Box::new(Instance {
            inner,
            aead: self.aead,
            now,
            handshake,
        }))
    }
}

impl Instance {
    fn note(&self, result: Result<(), DtlsImplError>) -> Result<(), DtlsImplError> {
        result.inspect_err(|error| {
            let (kind, detail) = (FailureKind::of(error), error.to_string());
            self.handshake.fail(kind, detail, self.now);
        })
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").finish_non_exhaustive()
    }
}

impl DtlsInstance for Instance {
    fn set_active(&mut self, active: bool) {
        self.inner.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        let result = self.inner.handle_packet(packet);
        self.note(result)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let is_client = self.inner.is_active();
        let output = self.inner.poll_output(buf);
        if let DtlsOutput::KeyingMaterial(material, profile) = &output {
            self.handshake.noted().keys = keys(*profile, material, is_client, self.aead);
        }
        output
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.now = now;
        let result = self.inner.handle_timeout(now);
        self.note(result)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.inner.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.inner.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.inner.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.inner.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.inner.close()
    }
}

fn keys(profile: SrtpProfile, material: &[u8], is_client: bool, aead: AeadChoice) -> Option<Keys> {
    let profile = match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Profile::Aes128CmSha1,
        SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
        SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
        _ => return None, // the session layer negotiates no other profile
    };
    let (client, server) = MasterKey::split(profile, material)?;
    let (ours, theirs) = if is_client {
        (client, server)
    } else {
        (server, client)
    };
    Some(Keys::new(&ours, &theirs, aead))
}
