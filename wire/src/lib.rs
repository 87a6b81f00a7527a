//! Parsers and writers of the bytes that cross a process boundary.
//!
//! No IO, no clock. Untrusted input is parsed as checked views, which never allocate.

pub mod dataplane; // the gRPC schema between the planes
pub mod demux; // protocol of a datagram on the media port (RFC 7983)
pub mod hostile; // properties for fuzzing
pub mod keyframe; // detection of keyframes
pub mod red; // RFC 2198 redundancy
pub mod rtcp; // feedback and reports (RFC 3550, RFC 4585)
pub mod rtp; // RTP headers
pub mod stun; // STUN messages (RFC 8489)
pub mod turn; // TURN messages (RFC 8656)
pub mod vp8; // the VP8 payload descriptor

#[cfg(test)]
mod properties; // properties of RTP and its payloads, and what all properties share
