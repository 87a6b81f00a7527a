//! Where the keying material comes from: a DTLS provider for the session layer that notes what passes.
//!
//! The session layer asks its provider for a DTLS instance per session and polls it for output. The
//! keying material is one of the outputs; [`take`] hands it to whoever drove the session, on the same
//! thread, right after.

use std::cell::RefCell;
use std::time::Instant;

use str0m::config::CryptoProvider;
use str0m::crypto::CryptoError;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
    SrtpProfile,
};

use super::{AeadChoice, Keys, MasterKey, Profile};

thread_local! {
    static PASSED: RefCell<Option<Keys>> = const { RefCell::new(None) };
}

/// What the session layer shall use: its own crypto, with the DTLS provider tapped. What is sent with the
/// keys is sealed as `aead` says.
pub fn provider(aead: AeadChoice) -> CryptoProvider {
    let inner = str0m::crypto::from_feature_flags();
    // The session layer takes its providers by static reference; there is one for the process.
    let tap = Box::leak(Box::new(Tap {
        inner: inner.dtls_provider,
        aead,
    }));
    CryptoProvider {
        dtls_provider: tap,
        ..inner
    }
}

/// The keys of the session that was driven last on this thread, if they passed since the last call.
pub fn take() -> Option<Keys> {
    PASSED.with_borrow_mut(Option::take)
}

#[derive(Debug)]
struct Tap {
    inner: &'static dyn DtlsProvider,
    aead: AeadChoice,
}

#[derive(Debug)]
struct Tapped {
    inner: Box<dyn DtlsInstance>,
    aead: AeadChoice,
}

impl DtlsProvider for Tap {
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
        let inner = self.inner.new_dtls(cert, now, version, mtu)?;
        let aead = self.aead;
        Ok(Box::new(Tapped { inner, aead }))
    }
}

impl DtlsInstance for Tapped {
    fn set_active(&mut self, active: bool) {
        self.inner.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.inner.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let is_client = self.inner.is_active();
        let output = self.inner.poll_output(buf);
        if let DtlsOutput::KeyingMaterial(material, profile) = &output {
            PASSED.set(keys(*profile, material, is_client, self.aead));
        }
        output
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.inner.handle_timeout(now)
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
        _ => return None, // the session layer negotiates no other
    };
    let (client, server) = MasterKey::split(profile, material)?;
    let (ours, theirs) = if is_client {
        (client, server)
    } else {
        (server, client)
    };
    Some(Keys::new(&ours, &theirs, aead))
}
