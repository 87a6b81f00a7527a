//! Outgoing packets to a subscriber under its keys: RTP, retransmissions, padding, sender reports.
//!
//! The session layer negotiates; from its keys on, everything with an SSRC of ours is numbered, sealed
//! and accounted for here, straight into the send arena.

pub mod header; // headers and their extensions
pub mod history; // latest packets of a track, for retransmission
pub mod kept; // sent datagrams, for subscribers without RTX
pub mod ntp; // NTP timestamps of sender reports
pub mod padding; // padding packets
pub mod queue; // arena of sealed datagrams that wait for the socket
pub mod report; // sender reports
pub mod resend; // retransmission allowance of one stream
pub mod rewriter; // the outgoing numbers of one SSRC
pub mod run; // cuts packets into runs
pub mod sender; // keys and path of a session
pub mod single; // packets that are sealed one at a time
pub mod stream; // one outgoing SSRC
