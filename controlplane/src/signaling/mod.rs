//! The conversation with one client: text frames in and out of one WebSocket.
//!
//! What the room does with a request is not here.

mod limit; // token bucket
pub mod dialect; // its words
mod frame; // messages on the wire
mod session; // sans-IO state of one socket
pub mod upgrade; // from a request to a connection
pub mod socket; // drives a session with it
mod writer; // what leaves by it

pub use dialect::spillway::{ClientMessage, Stage, Undecodable, decode, decode_at};
pub use limit::TokenBucket;
pub use session::{Output, Session};
