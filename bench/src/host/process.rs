//! Processor time and memory of a process, from /proc.

use std::fs;
use std::net::SocketAddr;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// The id of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pid(pub u32);

/// CPU time and memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// User and system time of all threads, in seconds. Does not contain the kernel's work in interrupts.
    pub cpu_seconds: f64,
    /// Resident memory of the process, in bytes.
    pub rss_bytes: u64,
}

/// TCP_LISTEN of the kernel's tcp_states.h.
const LISTENING: &str = "0A";

/// Usage of `pid` so far.
pub fn usage(pid: Pid) -> anyhow::Result<Usage> {
    let Pid(pid) = pid;
    let read = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        fs::read_to_string(&path)
            .with_context(|| format!("cannot read {path}: did the process end?"))
    };
    let ticks = clock_ticks().context("the kernel names no clock tick")?;
    let counted = cpu_ticks(&read("stat")?)? as f64 / ticks;
    Ok(Usage {
        // Ended threads are contained only in the coarse sum.
        cpu_seconds: scheduled_seconds(pid).unwrap_or(0.0).max(counted),
        rss_bytes: rss_kib(&read("status")?)? * 1024,
    })
}

/// CPU time of the existing threads by the scheduler, in ns; `None` if the kernel does not account it.
fn scheduled_seconds(pid: u32) -> Option<f64> {
    let mut ns = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let said = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        ns += said.split_ascii_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(ns as f64 / 1e9)
}

/// Usage of all `pids` together.
pub fn sum(pids: impl IntoIterator<Item = Pid>) -> anyhow::Result<Usage> {
    let nothing = Usage {
        cpu_seconds: 0.0,
        rss_bytes: 0,
    };
    pids.into_iter().try_fold(nothing, |sum, pid| {
        let used = usage(pid)?;
        Ok(Usage {
            cpu_seconds: sum.cpu_seconds + used.cpu_seconds,
            rss_bytes: sum.rss_bytes + used.rss_bytes,
        })
    })
}

/// The process that listens on TCP address `addr` in this network namespace.
pub fn listening_on(addr: SocketAddr) -> anyhow::Result<Pid> {
    let table = fs::read_to_string("/proc/net/tcp")?;
    let inode = listening_inode(&table, addr.port())
        .with_context(|| format!("no process listens on {addr} here"))?;
    let wanted = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // Processes of other users, and ended ones, cannot be read.
        let Ok(files) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let links = files
            .flatten()
            .filter_map(|file| fs::read_link(file.path()).ok());
        if links
            .into_iter()
            .any(|link| link.as_os_str() == wanted.as_str())
        {
            return Ok(Pid(pid));
        }
    }
    anyhow::bail!("the process that listens on {addr} is not ours to see: say --dataplane-pid")
}

fn clock_ticks() -> Option<f64> {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    Some(ticks as f64)
}

/// User and system time: fields 14 and 15; the name in field 2 may hold blanks and parentheses.
fn cpu_ticks(stat: &str) -> anyhow::Result<u64> {
    let (_, fields) = stat.rsplit_once(')').context("a process has a name")?;
    let mut times = fields.split_ascii_whitespace().skip(11);
    let mut next = || times.next()?.parse::<u64>().ok();
    next()
        .zip(next())
        .map(|(user, system)| user + system)
        .context("a process has times")
}

fn rss_kib(status: &str) -> anyhow::Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    number.context("a process has resident memory")
}

fn listening_inode(table: &str, port: u16) -> Option<u64> {
    let port = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (local, state) = (fields.nth(1)?, fields.nth(1)?);
        let inode = fields.nth(5)?;
        (local.ends_with(&port) && state == LISTENING).then(|| inode.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_of_this_process_grows() {
        let me = Pid(std::process::id());
        let before = usage(me).unwrap();
        let start = std::time::Instant::now();
        let mut sum = 0_u64;
        while start.elapsed().as_millis() < 100 {
            sum = std::hint::black_box(sum.wrapping_mul(31) + 1);
        }
        let after = usage(me).unwrap();
        assert!(after.cpu_seconds > before.cpu_seconds);
        assert!(after.rss_bytes > 1 << 20);
        let twice = super::sum([me, me]).unwrap();
        assert!(twice.cpu_seconds >= 2.0 * after.cpu_seconds);
    }

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        let stat = "12 (a) b (c)) S 1 1 1 0 -1 0 0 0 0 0 250 50 0 0 20 0 1 0";
        assert_eq!(cpu_ticks(stat).unwrap(), 300);
    }

    #[test]
    fn a_listener_is_found_by_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        assert_eq!(listening_on(addr).unwrap(), Pid(std::process::id()));
        drop(listener);
        let error = listening_on(addr).unwrap_err().to_string();
        assert!(error.contains(&addr.to_string()), "{error}");
    }
}
