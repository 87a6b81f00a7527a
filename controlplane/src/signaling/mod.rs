//! Signaling of one client: messages on one WebSocket. Rooms handle the requests.

mod limit; // token bucket
pub mod dialect; // message formats
mod frame; // WebSocket frames to clients
mod session; // sans-IO state of one socket
pub mod upgrade; // HTTP upgrade to WebSocket
pub mod socket; // drives a session with a connection
mod writer; // writes the queue of a socket

pub use dialect::spillway::{ClientMessage, Stage, Undecodable, decode, decode_at};
pub use limit::TokenBucket;
pub use session::{Output, Session};
