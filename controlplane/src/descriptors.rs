//! The limit of open files of this process, raised at start as far as allowed.
//!
//! Each connection takes one descriptor. [`RESERVED_FILES`] are left for other uses.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::{CONNECTIONS, RESERVED_FILES};

/// Raises the soft limit of open files to the hard one; returns what holds then.
pub fn raise() -> u64 {
    let held = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: held.maximum,
        ..held
    };
    // If this is refused, fewer connections are accepted.
    let _ = setrlimit(Resource::Nofile, most);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Connections at once under a limit of `files`: the store, the data plane and the log keep theirs.
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
