//! DTLS instances of the library, one per session, for the session layer. Their retransmission timers follow the RTT
//! that the session stores in its [`Handshake`].

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use str0m::config::CryptoProvider;
use str0m::crypto::CryptoError;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
};

use super::handshake::{CREATED, Handshake, UNKNOWN_RTO};
use super::tap::tapped;
use crate::limits::DTLS_HANDSHAKE_TIME;
use crate::srtp::AeadChoice;

/// Maximum number of retransmissions of a flight. The pauses double, so the handshake's own time limit is reached
/// first.
const FLIGHT_RETRIES: usize = 10;

/// A crypto provider for the session layer: the library's cryptography and DTLS. Media packets are encrypted according to
/// `aead`.
pub fn provider(aead: AeadChoice) -> CryptoProvider {
    let certificates = str0m::crypto::from_feature_flags().dtls_provider;
    // The session layer requires a static reference; one provider serves the process.
    tapped(Box::leak(Box::new(Provider { certificates })), aead)
}

#[derive(Debug)]
struct Provider {
    certificates: &'static dyn DtlsProvider,
}

struct Instance {
    inner: dimpl::Dtls,
    handshake: Arc<Handshake>,
}

impl DtlsProvider for Provider {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        self.certificates.generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        // ICE has proven that the client receives at its source address, so no cookie is needed.
        let mut config = dimpl::Config::builder()
            .use_server_cookie(false)
            .flight_start_rto(UNKNOWN_RTO)
            .flight_retries(FLIGHT_RETRIES)
            .handshake_timeout(DTLS_HANDSHAKE_TIME);
        if let Some(mtu) = mtu {
            config = config.mtu(mtu);
        }
        let config = config.build();
        let config = config.map_err(|error| CryptoError::Other(error.to_string()))?;
        let certificate = dimpl::DtlsCertificate {
            certificate: cert.certificate.clone(),
            private_key: cert.private_key.clone(),
        };
        let config = Arc::new(config);
        let inner = match version {
            DtlsVersion::Dtls12 => dimpl::Dtls::new_12(config, certificate, now),
            DtlsVersion::Dtls13 => dimpl::Dtls::new_13(config, certificate, now),
            _ => dimpl::Dtls::new_auto(config, certificate, now),
        };
        let handshake = Arc::<Handshake>::default();
        CREATED.set(Some(Arc::clone(&handshake)));
        Ok(Box::new(Instance { inner, handshake }))
    }
}

impl Instance {
    fn use_measured_rtt(&mut self) {
        if let Some(rto) = self.handshake.rto() {
            self.inner.set_flight_start_rto(rto);
        }
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
        self.use_measured_rtt();
        self.inner.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        self.inner.poll_output(buf)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.use_measured_rtt();
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

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaEncoding};
    use dimpl::{HashAlgorithm, SignatureAlgorithm};

    use super::*;
    use std::time::Duration;

    use crate::dtls::handshake::{FAILURE_GRACE, FailureKind};

    fn server(now: Instant) -> (Box<dyn DtlsInstance>, Arc<Handshake>) {
        let provider = provider(AeadChoice::Library).dtls_provider;
        let certificate = provider.generate_certificate().unwrap();
        let mut server = provider
            .new_dtls(&certificate, now, DtlsVersion::Dtls12, None)
            .unwrap();
        server.set_active(false);
        (server, Handshake::take_created().unwrap())
    }

    fn client(now: Instant) -> Box<dyn DtlsInstance> {
        let provider = str0m::crypto::from_feature_flags().dtls_provider;
        let certificate = provider.generate_certificate().unwrap();
        let mut client = provider
            .new_dtls(&certificate, now, DtlsVersion::Dtls12, None)
            .unwrap();
        client.set_active(true);
        client.handle_timeout(now).unwrap();
        client
    }

    /// Datagrams to send, and the time of the next timeout.
    fn flight(dtls: &mut dyn DtlsInstance) -> (Vec<Vec<u8>>, Instant) {
        let (mut datagrams, mut room) = (Vec::new(), vec![0; 4_096]);
        loop {
            match dtls.poll_output(&mut room) {
                DtlsOutput::Packet(packet) => datagrams.push(packet.to_vec()),
                DtlsOutput::Timeout(at) => return (datagrams, at),
                _ => {}
            }
        }
    }

    #[test]
    fn a_lost_flight_is_sent_again_after_the_rtt() {
        // (RTT in ms, pause in ms before a jitter of 25 %)
        for (rtt, pause) in [
            (None, 100),
            (Some(1), 50),
            (Some(80), 80),
            (Some(5_000), 1_000),
        ] {
            let now = Instant::now();
            let (mut server, handshake) = server(now);
            if let Some(rtt) = rtt {
                handshake.measured(Duration::from_millis(rtt));
            }
            server.handle_timeout(now).unwrap();
            let mut client = client(now);
            for datagram in flight(&mut *client).0 {
                server.handle_packet(&datagram).unwrap();
            }
            let (lost, due) = flight(&mut *server);
            assert!(!lost.is_empty());
            let waits = due - now;
            let (least, most) = (pause * 750, pause * 1_250);
            let range = Duration::from_micros(least)..=Duration::from_micros(most);
            assert!(
                range.contains(&waits),
                "{waits:?} with an RTT of {rtt:?} ms"
            );
            server.handle_timeout(due).unwrap();
            let (again, next) = flight(&mut *server);
            assert_eq!(again.len(), lost.len());
            assert!(next - due > waits, "pauses double");
        }
    }

    #[test]
    fn a_repeated_flight_is_answered_at_once() {
        let now = Instant::now();
        let (mut server, _) = server(now);
        server.handle_timeout(now).unwrap();
        let (hello, _) = flight(&mut *client(now));
        for repeat in 0..2 {
            hello
                .iter()
                .for_each(|datagram| server.handle_packet(datagram).unwrap());
            assert!(!flight(&mut *server).0.is_empty(), "repeat {repeat}");
        }
    }

    #[test]
    fn only_a_fatal_error_ends_a_handshake_and_the_first_reason_is_reported() {
        let (handshake, now) = (Handshake::default(), Instant::now());
        handshake.fail(FailureKind::Protocol, "no cipher suite".into(), now);
        assert_eq!(handshake.failure(), None, "it may be forged");
        handshake.fail(
            FailureKind::Timeout,
            "timeout".into(),
            now + DTLS_HANDSHAKE_TIME,
        );
        let (failure, ends) = handshake.failure().unwrap();
        assert_eq!(failure.to_string(), "dtls_protocol: no cipher suite");
        assert_eq!(ends, now + DTLS_HANDSHAKE_TIME + FAILURE_GRACE);
    }

    #[test]
    fn signatures_of_rsa_certificates_are_verified() {
        let verifier = dimpl::crypto::aws_lc_rs::default_provider().signature_verification;
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).unwrap();
        let of_certificate = rcgen::KeyPair::try_from(der.as_ref()).unwrap();
        let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let certificate = params.self_signed(&of_certificate).unwrap();
        let random = aws_lc_rs::rand::SystemRandom::new();
        let sign = |encoding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(encoding, &random, b"handshake", &mut signature)
                .unwrap();
            signature
        };
        let verify = |data: &[u8], signature: &[u8], hash| {
            let certificate = certificate.der();
            let rsa = SignatureAlgorithm::RSA;
            verifier.verify_signature(certificate, data, signature, hash, rsa)
        };
        let signature = sign(&RSA_PKCS1_SHA256);
        assert_eq!(
            verify(b"handshake", &signature, HashAlgorithm::SHA256),
            Ok(())
        );
        let long = sign(&RSA_PKCS1_SHA512);
        assert_eq!(verify(b"handshake", &long, HashAlgorithm::SHA512), Ok(()));
        for (data, signature, hash) in [
            (&b"another"[..], &signature, HashAlgorithm::SHA256),
            (b"handshake", &long, HashAlgorithm::SHA256),
            (b"handshake", &signature, HashAlgorithm::SHA384),
        ] {
            let error = verify(data, signature, hash).unwrap_err();
            let kind = FailureKind::of(&DtlsImplError::CryptoError(error));
            assert_eq!(kind, FailureKind::Certificate);
        }
    }
}
