//! Datagrams of thousands of addresses through one socket, and how they are counted.

pub mod socket; // one socket with thousands of addresses
pub mod sequence; // gaps, duplicates and reordering of one stream
pub mod addresses; // addresses of the participants
pub mod detour; // datagrams through a TURN relay
