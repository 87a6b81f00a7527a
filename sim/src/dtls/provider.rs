//! The handshake as DTLS of the session layer. The data plane wraps it with its own tap, see
//! `spillway_dataplane::dtls::tapped`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use str0m::crypto::CryptoError;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, KeyingMaterial,
    ProtocolVersion, SrtpProfile,
};

use super::handshake::{Handshake, Output, Role};
use crate::rng::Rng;

/// Makes the DTLS of all sessions of a node, with random numbers of one stream.
#[derive(Debug)]
pub struct Seeded {
    rng: Mutex<Rng>,
}

#[derive(Debug)]
struct Instance {
    handshake: Handshake,
    now: Instant,
}

/// Bytes of a certificate; the session layer only hashes it.
const CERTIFICATE_BYTES: usize = 32;
/// A time that is always later than the next event of a session.
const LATER: Duration = Duration::from_secs(3_600);

impl Seeded {
    /// A provider that draws from `rng`.
    pub fn new(rng: Rng) -> Self {
        Self {
            rng: Mutex::new(rng),
        }
    }

    fn draw<const N: usize>(&self) -> [u8; N] {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        rng.bytes()
    }
}

impl DtlsProvider for Seeded {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        Some(DtlsCert {
            certificate: self.draw::<CERTIFICATE_BYTES>().to_vec(),
            private_key: Vec::new(),
        })
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        _version: DtlsVersion,
        _mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let handshake = Handshake::new(cert.certificate.clone(), self.draw());
        Ok(Box::new(Instance { handshake, now }))
    }
}

impl DtlsInstance for Instance {
    fn set_active(&mut self, active: bool) {
        let role = if active { Role::Client } else { Role::Server };
        self.handshake.start(role, self.now);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.handshake.handle_packet(packet, self.now);
        Ok(())
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        match self.handshake.poll() {
            Some(Output::Packet(bytes)) => DtlsOutput::Packet(fill(&bytes, buf)),
            Some(Output::PeerCertificate(bytes)) => DtlsOutput::PeerCert(fill(&bytes, buf)),
            Some(Output::Keys(keys)) => {
                let material = KeyingMaterial::new(&keys);
                DtlsOutput::KeyingMaterial(material, SrtpProfile::AEAD_AES_128_GCM)
            }
            Some(Output::Connected) => DtlsOutput::Connected,
            Some(Output::Closed) => DtlsOutput::CloseNotify,
            None => DtlsOutput::Timeout(self.handshake.deadline().unwrap_or(self.now + LATER)),
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.now = now;
        self.handshake.handle_timeout(now);
        Ok(())
    }

    /// Data channels do not exist here: nothing is accepted.
    fn send_application_data(&mut self, _data: &[u8]) -> Result<usize, DtlsImplError> {
        Ok(0)
    }

    fn is_active(&self) -> bool {
        self.handshake.role() == Some(Role::Client)
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        None
    }

    fn is_closing(&self) -> bool {
        self.handshake.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.handshake.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.handshake.close();
        Ok(())
    }
}

/// Copies `bytes` to the start of `buf`, which is longer than a datagram.
fn fill<'a>(bytes: &[u8], buf: &'a mut [u8]) -> &'a [u8] {
    let room = &mut buf[..bytes.len()];
    room.copy_from_slice(bytes);
    room
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;
    use crate::rng::Seed;

    #[test]
    fn instances_shake_hands_through_the_interface_of_the_session_layer() {
        let now = Time::ZERO.instant();
        let provider = Seeded::new(Seed(1).stream("dtls"));
        let make = |active| {
            let certificate = provider.generate_certificate().unwrap();
            let version = DtlsVersion::Dtls12;
            let mut instance = provider.new_dtls(&certificate, now, version, None).unwrap();
            instance.set_active(active);
            instance
        };
        let mut sides = [make(true), make(false)];
        let mut keys = [None, None];
        for turn in 0..8 {
            let from = turn % 2;
            let mut buffer = [0; 2_048];
            loop {
                let packet = match sides[from].poll_output(&mut buffer) {
                    DtlsOutput::Packet(packet) => packet.to_vec(),
                    DtlsOutput::KeyingMaterial(material, _) => {
                        keys[from] = Some(material.to_vec());
                        continue;
                    }
                    DtlsOutput::Timeout(at) => {
                        assert!(at > now);
                        break;
                    }
                    _ => continue,
                };
                sides[1 - from].handle_packet(&packet).unwrap();
            }
        }
        assert!(keys[0].is_some());
        assert_eq!(keys[0], keys[1]);
    }
}
