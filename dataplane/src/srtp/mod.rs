//! SRTP and SRTCP (RFC 3711, RFC 7714): what we send to subscribers is sealed in place, what peers send is verified.
//!
//! The session layer does the DTLS handshake; its keying material passes [`crate::dtls::provider`]. From then on one
//! [`Sealer`] owns all numbers under the session's write key. With AES-GCM a packet index used twice reveals the
//! authentication key, so no other code may send with it.

mod cipher; // one direction of one kind of packet
mod derive; // session keys from master keys
mod gcm; // AES-GCM of what is sent, where the processor has wide vectors
mod incoming; // what the peer sends: SRTCP opened, SRTP verified
mod master_key; // keys of one direction
mod outgoing; // outgoing RTP: choice between our AES-GCM and the library
mod profile; // what is negotiated
mod replay; // which packets were seen
mod sealer; // all that one session sends
mod srtcp; // the layout of SRTCP

pub use incoming::{OpenError, RtcpOpener, Verifier, packet_index};
pub use master_key::MasterKey;
pub use outgoing::AeadChoice;
pub use profile::Profile;
pub use sealer::{Keys, Sealer};

#[cfg(test)]
mod tests;
