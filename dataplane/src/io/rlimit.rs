//! Limits of the process (open files, locked memory), raised as far as allowed.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that a process needs without shards: sockets and pipes of the control thread, its clients, logs.
const FILES: u64 = 64;
/// Open files that a shard needs: sockets, rings, eventfds, and the files of its executor.
const FILES_PER_SHARD: u64 = 16;
/// Locked memory that a glommio executor needs (RLIMIT_MEMLOCK).
const LOCKED_BYTES_PER_SHARD: u64 = 512 << 10;

/// A limit that is too low, and that this process may not raise.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLow {
    /// The limit of open files (RLIMIT_NOFILE) is too low.
    #[error(
        "the limit of open files is {limit}, this node needs {needed}: raise it with ulimit -n {needed}, or LimitNOFILE={needed} in its systemd unit"
    )]
    Files {
        /// Current limit of the process.
        limit: u64,
        /// Number of files that the node needs.
        needed: u64,
    },
    /// The limit of locked memory (RLIMIT_MEMLOCK) is too low.
    #[error(
        "the limit of locked memory is {limit} bytes, this node needs {needed}: raise it with ulimit -l {kib}, or LimitMEMLOCK={needed} in its systemd unit",
        kib = needed.div_ceil(1024)
    )]
    LockedMemory {
        /// Current limit of the process, in bytes.
        limit: u64,
        /// Bytes of locked memory that the node needs.
        needed: u64,
    },
}

/// Raises the limit of open files to the number that `shards` shards need.
pub fn raise_files(shards: usize) -> Result<(), TooLow> {
    let needed = FILES + FILES_PER_SHARD * shards as u64;
    raise(Resource::Nofile, needed).map_err(|limit| TooLow::Files { limit, needed })
}

/// Raises the limit of open files to the hard limit, because client connections need more than the minimum.
pub fn take_all_files() {
    let now = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: now.maximum,
        ..now
    };
    // A lower limit means fewer TCP clients; refused connections are logged.
    let _ = setrlimit(Resource::Nofile, most);
}

/// Raises the limit of locked memory to what `shards` shards and the control thread need. Recent kernels do not charge
/// rings to this limit, so an error here is only used to explain why a shard could not start.
pub fn raise_locked_memory(shards: usize) -> Result<(), TooLow> {
    let needed = LOCKED_BYTES_PER_SHARD * (shards as u64 + 1);
    raise(Resource::Memlock, needed).map_err(|limit| TooLow::LockedMemory { limit, needed })
}

/// Raises the soft limit, and the hard limit if permitted. The error is the limit that is too low.
fn raise(resource: Resource, needed: u64) -> Result<(), u64> {
    let now = getrlimit(resource);
    let Some(current) = now.current.filter(|current| *current < needed) else {
        return Ok(());
    };
    let raised = Rlimit {
        current: Some(needed),
        maximum: now.maximum.map(|maximum| maximum.max(needed)),
    };
    setrlimit(resource, raised).map_err(|_not_permitted| now.maximum.unwrap_or(current))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_limit_what_is_needed_and_the_command() {
        let files = TooLow::Files {
            limit: 20,
            needed: 96,
        };
        assert_eq!(
            files.to_string(),
            "the limit of open files is 20, this node needs 96: raise it with ulimit -n 96, or LimitNOFILE=96 in its systemd unit"
        );
        let memory = TooLow::LockedMemory {
            limit: 65_536,
            needed: 1_572_864,
        };
        assert!(
            memory
                .to_string()
                .contains("ulimit -l 1536, or LimitMEMLOCK=1572864")
        );
    }
}
