//! SRTP and SRTCP (RFC 3711, RFC 7714): encrypts packets to subscribers in place, and verifies packets from peers.
//!
//! The session layer does the DTLS handshake; [`crate::dtls::provider`] takes its keys. From then on one [`Sealer`]
//! owns all packet indices under the session's write key. With AES-GCM a packet index that is used twice reveals the
//! authentication key, so no other code may send with this key.

mod cipher; // cipher of one direction and packet kind
mod derive; // session keys from master keys
mod gcm; // our AES-GCM, for processors with wide vectors
mod incoming; // decrypts SRTCP, verifies SRTP
mod master_key; // master keys of one direction
mod outgoing; // encrypts outgoing RTP, by our AES-GCM or the library
mod profile; // protection profiles
mod replay; // replay protection of SRTCP
mod sealer; // encrypts all packets of one session
mod srtcp; // layout of SRTCP

pub use incoming::{OpenError, RtcpOpener, RtpOpener, Verifier, packet_index};
pub use master_key::MasterKey;
pub use outgoing::AeadChoice;
pub use profile::Profile;
pub use sealer::{Keys, Sealer};

#[cfg(test)]
mod tests;
