//! A small client: what a browser does on the wire, without its cost. Sans-IO: datagrams, SDP and the time go in,
//! datagrams come out.

pub mod sdp; // offers and answers as Chromium writes them
pub mod ice; // connectivity checks of a controlling agent
pub mod rtcp; // feedback of a receiver
pub mod stamp; // what a packet says about itself, for the invariants
pub mod transport; // ICE, the handshake and SRTP of one session
pub mod source; // media that a publisher sends
pub mod sink; // media that a viewer receives
pub mod session; // a publish or subscribe session of a client
pub mod frames; // WebSocket frames of a server
pub mod roster; // participants, as a client knows them
pub mod signaling; // signaling messages
