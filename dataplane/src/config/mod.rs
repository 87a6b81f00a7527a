//! Settings of the data plane, and their checks.

mod turn; // settings of TURN

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use spillway_settings::{Mistakes, Setting, Values, check_log};

use crate::io::egress::EgressKind;
use crate::io::engine::EngineChoice;
use crate::io::udp::Steering;
use crate::limits::MAX_SHARDS;
use crate::srtp::AeadChoice;
pub use turn::{Tls, Turn, TurnPeers};

/// Every setting: flag, TOML key and, as `SPILLWAY_...`, environment variable.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "node",
        default: "",
        help: "name of this node [default: the host name]",
    },
    Setting {
        name: "control",
        default: "unix:.spillway/dataplane.sock",
        help: "address where the control plane reaches this node: unix:PATH or IP:PORT (gRPC)",
    },
    Setting {
        name: "metrics",
        default: "127.0.0.1:9464",
        help: "IP:PORT of /metrics and /healthz over HTTP; empty disables both",
    },
    Setting {
        name: "udp-port",
        default: "7882",
        help: "media port; 0 takes any free port",
    },
    Setting {
        name: "ice-tcp",
        default: "true",
        help: "true or false: also accept sessions over TCP at the media port (RFC 6544)",
    },
    Setting {
        name: "shards",
        default: "0",
        help: "number of shards, 0 for one per core",
    },
    Setting {
        name: "cores",
        default: "",
        help: "cores to pin the shards to, comma-separated [default: the first ones allowed]",
    },
    Setting {
        name: "advertise",
        default: "auto",
        help: "IP addresses in ICE candidates, comma-separated; auto takes the host's",
    },
    Setting {
        name: "steer",
        default: "hash",
        help: "how the kernel chooses the shard of a datagram: hash (of the four-tuple) or cpu (the receiving core)",
    },
    Setting {
        name: "io",
        default: "auto",
        help: "system calls for datagrams: mmsg, uring (Linux 6.1) or auto (uring if it works)",
    },
    Setting {
        name: "egress",
        default: "stack",
        help: "how datagrams leave: stack (the kernel's) or packet (as Ethernet frames on simple routes; bypasses the host's firewall; needs CAP_NET_RAW)",
    },
    Setting {
        name: "aead",
        default: "auto",
        help: "implementation of AES-GCM: auto (our own on processors with AVX-512, VAES and VPCLMULQDQ, otherwise the library) or library",
    },
    Setting {
        name: "socket-buffer-bytes",
        default: "4194304",
        help: "receive and send buffer of each media socket, in bytes",
    },
    Setting {
        name: "max-sessions",
        default: "20000",
        help: "maximum number of sessions on this node",
    },
    Setting {
        name: "max-tracks-per-session",
        default: "32",
        help: "tracks that one publish session may declare",
    },
    Setting {
        name: "turn-secret",
        default: "",
        help: "shared secret of TURN credentials; two, comma-separated, while the first replaces the second; empty disables TURN",
    },
    Setting {
        name: "turn-secret-grace-seconds",
        default: "86400",
        help: "seconds after the start during which the second turn-secret is valid; allocations made with it end then",
    },
    Setting {
        name: "turn-realm",
        default: "spillway",
        help: "realm of TURN credentials",
    },
    Setting {
        name: "turn-host",
        default: "",
        help: "host name or IP address of this node in TURN URLs [default: the first advertised address]",
    },
    Setting {
        name: "turn-port",
        default: "3478",
        help: "port of TURN over UDP and TCP; 0 takes any free port",
    },
    Setting {
        name: "turn-tls-port",
        default: "",
        help: "port of TURN over TLS, usually 443, with tls-certificate and tls-key; empty disables it",
    },
    Setting {
        name: "tls-certificate",
        default: "",
        help: "PEM file of the certificate and its intermediate CA certificates; read again when it changes, and on SIGHUP",
    },
    Setting {
        name: "tls-key",
        default: "",
        help: "PEM file of the certificate's private key",
    },
    Setting {
        name: "http-upstream",
        default: "",
        help: "IP:PORT of the control plane's HTTP: connections to turn-tls-port that are not TURN go there; empty for none",
    },
    Setting {
        name: "turn-peers",
        default: "cluster",
        help: "peers that TURN clients may reach: cluster (media addresses: this node's, and IP:PORT, comma-separated, of other nodes) or public (every address on the public internet)",
    },
    Setting {
        name: "turn-denied",
        default: "",
        help: "peers that TURN clients may never reach: CIDR prefixes, comma-separated",
    },
    Setting {
        name: "turn-nat64-prefixes",
        default: "",
        help: "prefixes of NAT64 translators in this network (RFC 6052), besides the well-known ones: IPv6 prefixes of 32, 40, 48, 56, 64 or 96 bits, comma-separated",
    },
    Setting {
        name: "turn-relay-ports",
        default: "32768-65535",
        help: "ports of relayed addresses, FIRST-LAST",
    },
    Setting {
        name: "log",
        default: "info",
        help: "log filter, such as info or spillway=debug",
    },
];

/// The checked configuration of a data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Name of the node.
    pub node: String,
    /// Listening address of the gRPC service, which the control plane connects to.
    pub control: ControlAddr,
    /// Listening address of metrics and health checks; `None` disables them.
    pub metrics: Option<SocketAddr>,
    /// UDP and TCP port of media; 0 takes any free port.
    pub udp_port: u16,
    /// True: clients can also connect over TCP at the media port (RFC 6544).
    pub ice_tcp: bool,
    /// The core of each shard.
    pub cores: Vec<u32>,
    /// IP addresses in ICE candidates.
    pub advertise: Vec<IpAddr>,
    /// How the kernel chooses the shard of a datagram.
    pub steering: Steering,
    /// System calls that receive and send datagrams.
    pub io: EngineChoice,
    /// How datagrams are sent: by the kernel's stack, or as Ethernet frames.
    pub egress: EgressKind,
    /// Implementation of AES-GCM for media packets.
    pub aead: AeadChoice,
    /// Receive and send buffer of each media socket, in bytes.
    pub socket_buffer_bytes: usize,
    /// Maximum number of sessions on the node.
    pub max_sessions: usize,
    /// Maximum number of tracks that one publish session may declare.
    pub max_tracks_per_session: usize,
    /// Settings of TURN; `None` without TURN.
    pub turn: Option<Turn>,
    /// Log filter in the syntax of `tracing`.
    pub log: String,
}

/// Listening address of the gRPC service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlAddr {
    /// Path of a unix socket.
    Unix(PathBuf),
    /// Address of a TCP listener without encryption.
    Tcp(SocketAddr),
}

/// Facts about the host that the configuration is checked against.
#[derive(Debug, Clone)]
pub struct Host {
    /// Name of the host.
    pub name: String,
    /// Cores that this process may run on.
    pub cores: Vec<u32>,
    /// Addresses of the host, the best to advertise first.
    pub addresses: Vec<IpAddr>,
}

const MAX_SOCKET_BUFFER_BYTES: usize = 1 << 30;
const MIN_SOCKET_BUFFER_BYTES: usize = 64 << 10;

impl Config {
    /// Checks `values` against `host`. Reports all mistakes together.
    pub fn check(values: &Values, host: &Host) -> Result<Self, Mistakes> {
        let mut mistakes = values.mistakes();
        let m = &mut mistakes;
        let config = (|| {
            // Each line is evaluated before any is unwrapped, so that all mistakes are found.
            let control = values.parse("control", m);
            let metrics = optional(values, "metrics", m);
            let udp_port = values.parse("udp-port", m);
            let ice_tcp = values.parse("ice-tcp", m);
            let cores = cores(values, host, m);
            let advertise = advertise(values, host, m);
            let steering = values.parse("steer", m);
            let io = values.parse("io", m);
            let egress = values.parse("egress", m);
            let aead = values.parse("aead", m);
            let buffer = MIN_SOCKET_BUFFER_BYTES..=MAX_SOCKET_BUFFER_BYTES;
            let socket_buffer_bytes = values.parse_within("socket-buffer-bytes", buffer, m);
            let max_sessions = values.parse_within("max-sessions", 1..=1_000_000, m);
            let max_tracks_per_session =
                values.parse_within("max-tracks-per-session", 1..=1_000, m);
            let turn = turn::check(values, m);
            if let Err(why) = check_log(values.text("log")) {
                let (text, source) = (values.text("log"), values.source("log"));
                m.push(format!("log '{text}': {why} (from {source})"));
            }
            Some(Self {
                node: Some(values.text("node"))
                    .filter(|n| !n.is_empty())
                    .unwrap_or(&host.name)
                    .into(),
                control: control?,
                metrics: metrics?,
                udp_port: udp_port?,
                ice_tcp: ice_tcp?,
                cores: cores?,
                advertise: advertise?,
                steering: steering?,
                io: io?,
                egress: egress?,
                aead: aead?,
                socket_buffer_bytes: socket_buffer_bytes?,
                max_sessions: max_sessions?,
                max_tracks_per_session: max_tracks_per_session?,
                turn: turn?,
                log: values.text("log").to_owned(),
            })
        })();
        mistakes.into_result(config)
    }

    /// Checks that the configured files can be used.
    pub fn check_files(&self) -> anyhow::Result<()> {
        let tls = self.turn.as_ref().and_then(|turn| turn.tls.as_ref());
        if let Some(tls) = tls {
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            tls.files
                .load(&provider)
                .context("tls is impossible (settings tls-certificate and tls-key)")?;
        }
        Ok(())
    }
}

impl FromStr for ControlAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("unix: lacks the path".into()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| "is neither unix:PATH nor IP:PORT".into()),
        }
    }
}

impl FromStr for Steering {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "hash" => Ok(Self::Hash),
            "cpu" => Ok(Self::Cpu),
            _ => Err("is neither hash nor cpu".into()),
        }
    }
}

fn optional(values: &Values, name: &str, mistakes: &mut Mistakes) -> Option<Option<SocketAddr>> {
    if values.text(name).is_empty() {
        return Some(None);
    }
    values.parse(name, mistakes).map(Some)
}

fn cores(values: &Values, host: &Host, mistakes: &mut Mistakes) -> Option<Vec<u32>> {
    let named: Vec<u32> = values.list("cores", mistakes)?;
    let allowed = if named.is_empty() {
        host.cores.clone()
    } else {
        named
    };
    let shards = values.parse_within("shards", 0..=MAX_SHARDS, mistakes)?;
    for core in allowed.iter().filter(|core| !host.cores.contains(core)) {
        mistakes.push(format!(
            "cores {core} is not one this process may run on: {:?}",
            host.cores
        ));
    }
    if shards > allowed.len() {
        let (source, count) = (values.source("shards"), allowed.len());
        mistakes.push(format!(
            "shards {shards} is more than the {count} cores there are (from {source})"
        ));
        return None;
    }
    let count = if shards == 0 {
        allowed.len().min(MAX_SHARDS)
    } else {
        shards
    };
    Some(allowed[..count].to_vec())
}

fn advertise(values: &Values, host: &Host, mistakes: &mut Mistakes) -> Option<Vec<IpAddr>> {
    let advertise = match values.text("advertise") {
        "auto" => host.addresses.clone(),
        _ => values.list("advertise", mistakes)?,
    };
    let unusable = advertise
        .iter()
        .filter(|ip| ip.is_unspecified() || ip.is_multicast());
    unusable.for_each(|ip| mistakes.push(format!("advertise {ip} is no address of a host")));
    if advertise.is_empty() {
        mistakes.push("advertise names no address, and the host has none: say --advertise IP");
    }
    Some(advertise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_variables_are_known_to_every_program() {
        for setting in SETTINGS {
            let name = setting.env();
            let known = name.strip_prefix("SPILLWAY_").unwrap();
            assert!(spillway_settings::NAMES.contains(&known), "{name}");
        }
    }

    #[test]
    fn a_wrong_level_is_a_mistake_like_the_others() {
        let said = check(&["--log", "spillway=inof", "--max-sessions", "0"]).unwrap_err();
        let said = said.to_string();
        assert!(
            said.contains("2 mistakes") && said.contains("log 'spillway=inof': 'inof' is none"),
            "{said}"
        );
    }

    fn check(args: &[&str]) -> Result<Config, Mistakes> {
        let command = spillway_settings::command(clap::Command::new("test"), SETTINGS);
        let matches = command.get_matches_from([&["test"], args].concat());
        let host = Host {
            name: "host".into(),
            cores: vec![0, 1],
            addresses: vec!["192.0.2.1".parse().unwrap(), "127.0.0.1".parse().unwrap()],
        };
        Config::check(&Values::gather(&matches, SETTINGS).unwrap(), &host)
    }

    #[test]
    fn the_defaults_use_all_cores_and_addresses() {
        let config = check(&[]).unwrap();
        assert_eq!(config.cores, [0, 1]);
        assert_eq!(config.advertise.len(), 2);
        assert_eq!((config.udp_port, &*config.node), (7882, "host"));
    }

    #[test]
    fn what_clients_could_not_use_is_no_host_of_turn() {
        let secret = ["--turn-secret", "0123456789abcdef"];
        for host in [
            "rtc.example.com",
            "localhost",
            "192.0.2.1",
            "2001:db8::1",
            "[2001:db8::1]",
            "x.",
        ] {
            let config = check(&[&secret[..], &["--turn-host", host]].concat()).unwrap();
            assert_eq!(config.turn.unwrap().host.as_deref(), Some(host));
        }
        let label = "a".repeat(64);
        for host in [
            "foo bar",
            "a..b",
            "-a",
            "a-",
            "rtc.example.com:3478",
            "a/b",
            "[::",
            &label,
        ] {
            let refused = check(&[&secret[..], &["--turn-host", host]].concat());
            let text = refused.unwrap_err().to_string();
            let said =
                format!("turn-host '{host}' is neither an IP address nor a host name (from flag");
            assert!(text.contains(&said), "{text}");
        }
    }

    #[test]
    fn all_mistakes_are_reported_with_value_and_limit() {
        let flags = [
            "--shards",
            "3",
            "--cores",
            "0,7",
            "--advertise",
            "0.0.0.0",
            "--steer",
            "x",
        ];
        let more = [
            "--control",
            "tcp",
            "--max-sessions",
            "0",
            "--udp-port",
            "70000",
            "--io",
            "epoll",
            "--egress",
            "raw",
            "--aead",
            "fast",
            "--turn-peers",
            "foo",
        ];
        let text = check(&[&flags[..], &more].concat())
            .unwrap_err()
            .to_string();
        for part in [
            "11 mistakes",
            "turn-peers 'foo' is neither cluster, public nor a list of IP:port",
            "io 'epoll': is none of mmsg, uring and auto",
            "egress 'raw': is neither stack nor packet",
            "aead 'fast': is neither auto nor library",
            "cores 7 is not one",
            "shards 3 is more than the 2 cores there are (from flag --shards)",
            "advertise 0.0.0.0 is no address of a host",
            "steer 'x': is neither hash nor cpu",
            "control 'tcp': is neither unix:PATH nor IP:PORT",
            "max-sessions 0 is outside 1..=1000000",
            "udp-port '70000'",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
