//! ICE of all sessions: credentials and candidates. Checks of one session are in [`peer`](crate::peer).

pub mod candidates; // our advertised addresses
pub mod credentials; // ufrags, and passwords derived from them
