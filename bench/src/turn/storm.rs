//! Allocations that are made and ended immediately, at a fixed rate; and many that are kept, to measure their memory.

use super::client::Goal;
use super::crowd::{self, Arrival, RelayServer};
use crate::host::process::{self, Pid};
use crate::net::socket::{FarmSocket, Traffic};

/// Result of a storm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cycles {
    /// Allocations that were made and ended.
    pub allocations: u64,
    /// Requests that were repeated.
    pub repeated: u64,
    /// CPU time (user and system) of the server, in seconds.
    pub cpu_seconds: f64,
}

/// Lets each client make and end an allocation.
pub fn cycle(server: RelayServer<'_>, pid: Pid, arrival: Arrival) -> anyhow::Result<Cycles> {
    let mut socket = FarmSocket::bind(0, Traffic::Messages)?;
    let before = process::usage(pid)?;
    let crowd = crowd::arrive(&mut socket, server, arrival, Goal::Cycle)?;
    let after = process::usage(pid)?;
    Ok(Cycles {
        allocations: crowd.clients.len() as u64,
        repeated: crowd.repeated,
        cpu_seconds: after.cpu_seconds - before.cpu_seconds,
    })
}

/// Growth of the resident memory of `pid` per client with `goal`, in bytes.
pub fn memory(
    server: RelayServer<'_>,
    pid: Pid,
    arrival: Arrival,
    goal: Goal,
) -> anyhow::Result<u64> {
    let mut socket = FarmSocket::bind(0, Traffic::Messages)?;
    let before = process::usage(pid)?.rss_bytes;
    let mut crowd = crowd::arrive(&mut socket, server, arrival, goal)?;
    let grown = process::usage(pid)?.rss_bytes.saturating_sub(before);
    crowd.leave(&mut socket)?;
    Ok(grown.div_ceil(arrival.clients as u64))
}
