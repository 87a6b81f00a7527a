//! What we send to a subscriber under its keys: RTP, retransmissions, padding, sender reports.
//!
//! The session layer negotiates; from its keys on, everything with an SSRC of ours is numbered, sealed
//! and accounted for here, straight into the send arena.

pub mod header; // headers and their extensions
pub mod history; // the latest packets of a track, to send again
pub mod kept; // sealed datagrams, for subscribers without RTX
pub mod ntp; // time as sender reports have it
pub mod padding; // packets of padding alone
pub mod queue; // sealed datagrams that wait for their socket
pub mod report; // sender reports
pub mod resend; // what one stream may send again
pub mod rewriter; // the outgoing numbers of one SSRC
pub mod run; // which packets of a session leave as one run
pub mod sender; // keys and path of a session
pub mod single; // packets that are sealed one at a time
pub mod stream; // one outgoing SSRC
