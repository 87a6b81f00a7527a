//! Facts about a host for every result: kernel, processor, network device, commit, command.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use nix::ifaddrs::getifaddrs;
use serde::{Deserialize, Serialize};

/// Hardware and kernel of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Release of the kernel.
    pub kernel: Option<String>,
    /// Model of the processor.
    pub cpu: Option<String>,
    /// Cores this process may use.
    pub cores: usize,
    /// Transparent huge pages: `always`, `madvise` or `never`.
    pub huge_pages: Option<String>,
    /// In a virtual machine: time that a processor polls for work before it halts, in nanoseconds.
    pub halt_poll_ns: Option<String>,
    /// The network device on the path.
    pub nic: Option<Nic>,
    /// Commit of the sources.
    pub commit: Option<String>,
}

/// Properties of a network device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// Name of the interface.
    pub interface: String,
    /// Name of the device's driver.
    pub driver: Option<String>,
    /// Link speed as reported; virtual devices report a meaningless value.
    pub speed_mbps: Option<u64>,
    /// Number of receive queues.
    pub rx_queues: usize,
    /// Number of transmit queues.
    pub tx_queues: usize,
    /// Offloads that matter here, as `ethtool -k` names them: on or off.
    pub features: BTreeMap<String, String>,
}

const HUGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
const HALT_POLL: &str = "/sys/module/haltpoll/parameters/guest_halt_poll_ns";
const FEATURES: [&str; 6] = [
    "generic-segmentation-offload",
    "tx-udp-segmentation",
    "generic-receive-offload",
    "rx-udp-gro-forwarding",
    "tx-checksumming",
    "scatter-gather",
];

impl Facts {
    /// Reads the facts of this host; the device is the one with address `local`.
    pub fn gather(local: Option<IpAddr>) -> Self {
        Self {
            kernel: read("/proc/sys/kernel/osrelease"),
            cpu: read("/proc/cpuinfo").and_then(|text| cpu_model(&text)),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            huge_pages: read(HUGE_PAGES).and_then(|text| chosen(&text)),
            halt_poll_ns: read(HALT_POLL).map(|text| text.trim().to_owned()),
            nic: local.and_then(interface).map(Nic::gather),
            commit: commit(),
        }
    }
}

impl Nic {
    fn gather(interface: String) -> Self {
        let dir = Path::new("/sys/class/net").join(&interface);
        let link = fs::read_link(dir.join("device/driver")).ok();
        let driver = link.and_then(|link| Some(link.file_name()?.to_str()?.to_owned()));
        let queues = |prefix: &str| {
            let entries = fs::read_dir(dir.join("queues"))
                .into_iter()
                .flatten()
                .flatten();
            let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
            names.filter(|name| name.starts_with(prefix)).count()
        };
        Self {
            driver: driver
                .or_else(|| ethtool(&["-i", &interface]).and_then(|text| value(&text, "driver"))),
            speed_mbps: read(dir.join("speed")).and_then(|text| text.parse().ok()),
            rx_queues: queues("rx-"),
            tx_queues: queues("tx-"),
            features: ethtool(&["-k", &interface]).map_or_else(BTreeMap::new, |text| {
                let of = |name: &str| Some((name.to_owned(), value(&text, name)?));
                FEATURES.iter().filter_map(|name| of(name)).collect()
            }),
            interface,
        }
    }
}

/// The command line of the run, for repetition.
pub fn command_line() -> String {
    let asked = std::env::var("SPILLWAY_BENCH_COMMAND"); // set by scripts/bench
    asked.unwrap_or_else(|_| std::env::args().collect::<Vec<_>>().join(" "))
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn cpu_model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The selected value, which is in brackets.
fn chosen(words: &str) -> Option<String> {
    let (_, rest) = words.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

fn interface(ip: IpAddr) -> Option<String> {
    let same = |address: &nix::ifaddrs::InterfaceAddress| {
        let address = address.address.as_ref()?.as_sockaddr_in()?.ip();
        Some(IpAddr::from(address) == ip)
    };
    let found = getifaddrs()
        .ok()?
        .find(|address| same(address) == Some(true))?;
    Some(found.interface_name)
}

fn ethtool(arguments: &[&str]) -> Option<String> {
    let output = Command::new("ethtool").args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()
}

/// The first word after `name:`.
fn value(text: &str, name: &str) -> Option<String> {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.split_ascii_whitespace().next()?.to_owned())
}

fn commit() -> Option<String> {
    let git = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .output()
        .ok()?;
    let text = String::from_utf8(git.stdout).ok()?.trim().to_owned();
    (git.status.success() && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_and_the_device_of_an_address_are_known() {
        let facts = Facts::gather(Some("127.0.0.1".parse().unwrap()));
        assert!(facts.kernel.is_some() && facts.cores > 0);
        assert_eq!(facts.nic.unwrap().interface, "lo");
    }

    #[test]
    fn a_choice_is_the_word_in_brackets() {
        assert_eq!(chosen("always [madvise] never").unwrap(), "madvise");
        assert_eq!(chosen("always"), None);
    }

    #[test]
    fn features_are_read_from_what_ethtool_says() {
        let text = "Features for veth0:\ntx-checksumming: on\n\ttx-udp-segmentation: off [fixed]\n";
        assert_eq!(value(text, "tx-udp-segmentation").unwrap(), "off");
        assert_eq!(value(text, "tx-checksumming").unwrap(), "on");
        assert_eq!(value(text, "tx"), None);
    }
}
