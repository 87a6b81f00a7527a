//! The limit of open file descriptors, raised at start, and the number of connections that it
//! permits.
//!
//! Each connection needs one descriptor. [`RESERVED_FILES`] remain for other files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::{CONNECTIONS, RESERVED_FILES};

/// Raises the soft limit of open files to the hard limit. Returns the new limit.
pub fn raise() -> u64 {
    let held = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: held.maximum,
        ..held
    };
    // If this fails, fewer connections are accepted.
    let _ = setrlimit(Resource::Nofile, most);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Number of connections under a limit of `files`. The rest is for the store, the data plane and
/// the log.
pub fn connections(files: u64) -> usize {
    let reserved = RESERVED_FILES.min(files / 2);
    let free = usize::try_from(files - reserved).unwrap_or(usize::MAX);
    free.clamp(1, CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_a_reserve_under_every_limit() {
        assert_eq!(connections(u64::MAX), CONNECTIONS);
        assert_eq!(connections(1_024), 1_024 - 256);
        assert_eq!(connections(100), 50);
        assert_eq!(connections(0), 1);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let files = raise();
        let held = getrlimit(Resource::Nofile);
        assert_eq!(held.current, held.maximum);
        assert_eq!(files, held.current.unwrap_or(u64::MAX));
    }
}
