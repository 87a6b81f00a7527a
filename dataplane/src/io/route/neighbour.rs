//! Entries of the kernel's neighbour table.

use std::net::IpAddr;

/// A neighbour on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Index of the interface.
    pub interface: u32,
    /// IP address of the neighbour.
    pub ip: IpAddr,
    /// Link-layer address of the neighbour.
    pub mac: [u8; 6],
    /// How sure that is.
    pub reach: Reachability,
    /// It says so itself (IPv6).
    pub is_router: bool,
}

/// How sure the kernel is of a neighbour (RFC 4861 section 7.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reachability {
    /// It was heard of lately, or is being asked.
    Fresh,
    /// The neighbour was not confirmed, and the kernel does not ask.
    Stale,
}
