//! Packets to a subscriber: RTP, retransmissions, padding, sender reports.
//!
//! The session layer negotiates and provides the keys. All packets with our SSRCs are numbered, encrypted and counted
//! here, directly in the send arena.

pub mod header; // headers and their extensions
pub mod history; // latest packets of a track, for retransmission
pub mod kept; // sealed datagrams, for subscribers without RTX
pub mod ntp; // NTP timestamps of sender reports
pub mod padding; // padding packets
pub mod queue; // send arena: sealed datagrams that wait for the socket
pub mod report; // sender reports
pub mod resend; // RTX numbers and retransmission allowance of a stream
pub mod rewriter; // outgoing sequence numbers and timestamps of one SSRC
pub mod run; // cuts packets into runs
pub mod sender; // keys, estimate and report times of a session
pub mod single; // packets that are sealed one at a time
pub mod stream; // one outgoing SSRC: writes its packets
