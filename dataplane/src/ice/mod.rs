//! ICE of all sessions: what every shard can check without asking anyone. Checks of one session are in
//! [`peer`](crate::peer).

pub mod candidates; // our advertised addresses
pub mod credentials; // ufrags, and passwords derived from them
