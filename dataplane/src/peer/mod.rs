//! One session: a peer connection of one client, driven by bytes, commands and time.
//!
//! Sans-IO. Every method that changes the session drains it into an [`Output`](output::Output) before it returns, which
//! is the contract of the session layer underneath (mutate, then drain to the timeout).

pub mod build; // how sessions are made: one factory per node
mod checks; // connectivity checks, both ways
pub mod command; // what the control plane asks of a session
mod codecs; // which payload type of the subscriber carries which codec of the publisher
mod drive; // input to the session layer, and what comes out of it
#[cfg(test)]
mod early; // checks that come before the client's answer
#[doc(hidden)]
pub mod hostile; // what holds for every offer
mod incoming; // what a publisher sends, before the session layer sees it
mod listen; // what a subscriber says of what it received
mod numbering; // epochs of a publisher's numbers
pub mod output; // what a session gives out
pub mod paths; // the addresses of the client
pub mod publish; // the half that sends to us
mod receive; // datagrams of the client
mod redundancy; // lost frames of audio, out of later packets
mod rtc; // the session layer as it is set up for all sessions
pub(crate) mod sdp; // what other stacks write, and what we write
pub mod session; // what both halves have in common
pub mod subscribe; // the half we send to
mod validate; // what is checked of a command before
