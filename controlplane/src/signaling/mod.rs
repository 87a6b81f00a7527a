//! The conversation with one client: text frames in and out of one WebSocket.
//!
//! What the room does with a request is not here.

mod limit; // token bucket
mod strict; // JSON as the schema has it
mod check; // the limits of a message
mod message; // client to server
mod reply; // server to client
mod frame; // the same on the wire
mod session; // sans-IO state of one socket
pub mod upgrade; // from a request to a connection
pub mod socket; // drives a session with it
mod writer; // what leaves by it

pub use frame::{Frame, Label};
pub use limit::TokenBucket;
pub use message::{
    ClientMessage, Join, Offer, OfferedTrack, Request, Resume, Stage, Undecodable, Wish, decode,
    decode_at,
};
pub use reply::{
    CloseCode, ErrorCode, IceServer, Joined, JoinedLimits, MediaState, MidTrack, Mode, Refusal,
    Relays, ServerMessage, Speaker,
};
pub use session::{JoinRequest, Output, ResumePoint, Session};
