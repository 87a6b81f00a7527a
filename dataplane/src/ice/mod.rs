//! ICE for all sessions: credentials and candidates. Connectivity checks are in [`peer`](crate::peer).

pub mod candidates; // our advertised addresses
pub mod credentials; // ufrags, and passwords derived from them
