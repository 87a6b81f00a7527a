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
    /// State of the entry in the kernel.
    pub reach: Reachability,
    /// True if the neighbour announces itself as a router (IPv6).
    pub is_router: bool,
}

/// State of a neighbour (RFC 4861 section 7.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reachability {
    /// Confirmed recently, or being probed.
    Fresh,
    /// Not confirmed, and not probed by the kernel.
    Stale,
}
