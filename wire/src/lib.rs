//! Bytes <-> types that cross a process boundary.
//!
//! No IO, no clock. Checked views that never allocate parse untrusted input.

pub mod dataplane; // the gRPC schema between the planes
pub mod demux; // which protocol a datagram on the media port speaks (RFC 7983)
pub mod hostile; // what has to hold for any bytes
pub mod keyframe; // where a video frame that needs no other starts
pub mod red; // RFC 2198 redundancy around audio
pub mod rtcp; // feedback and reports (RFC 3550, RFC 4585)
pub mod rtp; // RTP headers as we send them
pub mod stun; // STUN messages (RFC 8489)
pub mod turn; // what TURN adds to them (RFC 8656)
pub mod vp8; // the VP8 payload descriptor
