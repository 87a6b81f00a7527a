//! One session: a peer connection of one client, driven by bytes, commands and time.
//!
//! Sans-IO. Every method that changes the session drains it into an [`Output`](output::Output) before it returns,
//! because the session layer requires it (mutate, then drain to the timeout).

pub mod build; // factory of sessions, one per node
mod checks; // connectivity checks in both directions
pub mod command; // commands of the control plane
mod codecs; // supported codecs, and which decoder fits a stream
mod drive; // drives str0m and drains its output
#[cfg(test)]
mod early_checks; // tests of checks before the client's answer
#[doc(hidden)]
pub mod hostile; // properties of every offer
mod incoming; // authentication of a publisher's packets before str0m
mod listen; // RTCP of a subscriber
mod numbering; // epochs of a publisher's sequence numbers
pub mod output; // outputs of a session: datagrams, media, events
pub mod paths; // the addresses of the client
pub mod publish; // the publishing half
mod receive; // datagrams of the client
mod redundancy; // lost audio frames recovered from RED
mod rtc; // configuration of str0m
pub(crate) mod sdp; // SDP before str0m reads it and after it wrote it
pub mod session; // a session: the common part of both roles
pub mod subscribe; // the subscribing half
mod validate; // checks of commands that need no session
