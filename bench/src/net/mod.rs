//! Datagrams of thousands of addresses through one socket, and how they are counted.

pub mod socket; // one socket that is thousands of addresses
pub mod sequence; // gaps, duplicates and reordering of one stream
pub mod addresses; // which participant has which address
pub mod detour; // the same through a relay
