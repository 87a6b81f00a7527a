//! SRTP and SRTCP (RFC 3711, RFC 7714): encrypts packets to subscribers in place, and verifies packets of peers.
//!
//! The session layer does the DTLS handshake; its keying material passes [`crate::dtls::provider`]. From then on one
//! [`Sealer`] owns all numbers under the session's write key. With AES-GCM a packet index used twice reveals the
//! authentication key, so no other code may send with it.

mod cipher; // cipher of one direction and packet kind
mod derive; // session keys from master keys
mod gcm; // our AES-GCM for processors with wide vectors
mod incoming; // opens SRTCP, verifies SRTP
mod master_key; // master keys of one direction
mod outgoing; // outgoing RTP: choice between our AES-GCM and the library
mod profile; // protection profiles
mod replay; // replay protection of SRTCP
mod sealer; // encrypts everything that one session sends
mod srtcp; // the layout of SRTCP

pub use incoming::{OpenError, RtcpOpener, Verifier, packet_index};
pub use master_key::MasterKey;
pub use outgoing::AeadChoice;
pub use profile::Profile;
pub use sealer::{Keys, Sealer};

#[cfg(test)]
mod tests;
