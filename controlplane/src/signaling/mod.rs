//! The conversation with one client: text frames in and out of one WebSocket.
//!
//! What the room does with a request is not here.

mod limit; // token bucket
mod message; // client to server
mod reply; // server to client
mod session; // sans-IO state of one socket
pub mod socket; // drives a session with axum's WebSocket

pub use limit::TokenBucket;
pub use message::{
    ClientMessage, Join, Offer, OfferedTrack, Request, Resume, Undecodable, Wish, decode,
};
pub use reply::{
    CloseCode, ErrorCode, Frame, IceServer, Joined, JoinedLimits, Label, MediaState, MidTrack,
    Mode, Refusal, ServerMessage, Speaker,
};
pub use session::{JoinRequest, Output, Session};
