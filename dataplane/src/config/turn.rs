//! Settings of the TURN server.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use spillway_certificate::CertificateFiles;
use spillway_settings::{Mistakes, Values};
use spillway_wire::turn::Nat64Prefix;

use crate::limits::{
    MAX_DENIED_RANGES, MAX_NAT64_PREFIXES, MAX_REALM_BYTES, MAX_TURN_SECRET_GRACE_S,
    MAX_TURN_SECRETS, MIN_TURN_SECRET_BYTES,
};
use crate::turn::Cidr;

/// Checked settings of TURN.
#[derive(Clone, PartialEq, Eq)]
pub struct Turn {
    /// Secrets of TURN credentials.
    pub secrets: Vec<Box<[u8]>>,
    /// Time for which the second secret is valid.
    pub secret_grace: Duration,
    /// Realm of TURN credentials.
    pub realm: String,
    /// Host in TURN URLs; `None` for the first advertised address.
    pub host: Option<String>,
    /// Port of TURN over UDP and TCP; 0 takes any free port.
    pub port: u16,
    /// TURN over TLS; `None` without a certificate.
    pub tls: Option<Tls>,
    /// Peers that TURN clients may reach.
    pub peers: TurnPeers,
    /// Peers that TURN clients must never reach.
    pub denied: Vec<Cidr>,
    /// NAT64 prefixes of the network, in addition to the well-known ones.
    pub nat64: Vec<Nat64Prefix>,
    /// Ports of relayed addresses, inclusive.
    pub relay_ports: RangeInclusive<u16>,
}

/// The TLS port, which TURN shares with HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Port of TURN over TLS; 0 takes any free port.
    pub port: u16,
    /// Certificate and key of TURN over TLS.
    pub files: CertificateFiles,
    /// Address that HTTP connections to the TLS port are passed to; `None`: they are refused.
    pub http: Option<SocketAddr>,
}

/// Peers that TURN clients may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnPeers {
    /// Our own media addresses, and these.
    Cluster(Vec<SocketAddr>),
    /// Every address on the public internet.
    Public,
}

/// Leaves the secrets out of logs.
impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("realm", &self.realm)
            .field("port", &self.port)
            .field("peers", &self.peers)
            .field("relay_ports", &self.relay_ports)
            .finish_non_exhaustive()
    }
}

/// TURN settings of `values`; `Some(None)` without TURN.
pub(super) fn check(values: &Values, m: &mut Mistakes) -> Option<Option<Turn>> {
    let secrets: Vec<String> = values.list("turn-secret", m)?;
    let port = values.parse("turn-port", m);
    let tls = tls(values, m);
    let peers = peers(values, m);
    let denied: Option<Vec<Cidr>> = values.list("turn-denied", m);
    let nat64: Option<Vec<Nat64Prefix>> = values.list("turn-nat64-prefixes", m);
    let secret_grace =
        values.parse_within("turn-secret-grace-seconds", 0..=MAX_TURN_SECRET_GRACE_S, m);
    let relay_ports = relay_ports(values, m);
    let realm = values.text("turn-realm");
    if !(1..=MAX_REALM_BYTES).contains(&realm.len()) {
        let bytes = realm.len();
        m.push(format!(
            "turn-realm of {bytes} bytes is outside 1..={MAX_REALM_BYTES}"
        ));
    }
    let count = secrets.len();
    if count > MAX_TURN_SECRETS {
        m.push(format!(
            "turn-secret has {count} secrets, a rotation needs {MAX_TURN_SECRETS}"
        ));
    }
    // The error must not contain the secret, because it is shown on a terminal.
    for (number, secret) in (1..).zip(&secrets) {
        let bytes = secret.len();
        if bytes < MIN_TURN_SECRET_BYTES {
            m.push(format!(
                "turn-secret {number} has {bytes} bytes, at least {MIN_TURN_SECRET_BYTES} are needed"
            ));
        }
    }
    if let Some(count) = denied.as_ref().map(Vec::len)
        && count > MAX_DENIED_RANGES
    {
        m.push(format!(
            "turn-denied has {count} ranges, the limit is {MAX_DENIED_RANGES}"
        ));
    }
    if let Some(count) = nat64.as_ref().map(Vec::len)
        && count > MAX_NAT64_PREFIXES
    {
        m.push(format!(
            "turn-nat64-prefixes has {count} prefixes, the limit is {MAX_NAT64_PREFIXES}"
        ));
    }
    let host = values.text("turn-host");
    if !host.is_empty() && !is_host(host) {
        let source = values.source("turn-host");
        m.push(format!(
            "turn-host '{host}' is neither an IP address nor a host name (from {source})"
        ));
    }
    let turn = Turn {
        secrets: secrets.iter().map(|s| s.as_bytes().into()).collect(),
        secret_grace: Duration::from_secs(secret_grace?),
        realm: realm.to_owned(),
        host: (!host.is_empty()).then(|| host.to_owned()),
        port: port?,
        tls: tls?,
        peers: peers?,
        denied: denied?,
        nat64: nat64?,
        relay_ports: relay_ports?,
    };
    Some((!turn.secrets.is_empty()).then_some(turn))
}

/// True if the text can be the host of a TURN URI (RFC 7065): an IPv4 address, an IPv6 address with or without
/// brackets, or labels of RFC 1123.
fn is_host(text: &str) -> bool {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if bare.is_some_and(|bare| bare.parse::<Ipv6Addr>().is_ok()) || text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= 253
        && text
            .strip_suffix('.')
            .unwrap_or(text)
            .split('.')
            .all(is_label)
}

/// `Some(None)` without TURN over TLS; `None` after a mistake.
fn tls(values: &Values, m: &mut Mistakes) -> Option<Option<Tls>> {
    let files = ["tls-certificate", "tls-key"].map(|name| values.text(name));
    if values.text("turn-tls-port").is_empty() {
        return Some(None);
    }
    let port = values.parse("turn-tls-port", m);
    let http = match values.text("http-upstream") {
        "" => Some(None),
        _ => values.parse("http-upstream", m).map(Some),
    };
    if files.iter().any(|file| file.is_empty()) {
        m.push("turn-tls-port needs tls-certificate and tls-key");
        return None;
    }
    let [certificate, key] = files.map(PathBuf::from);
    Some(Some(Tls {
        port: port?,
        files: CertificateFiles { certificate, key },
        http: http?,
    }))
}

fn peers(values: &Values, m: &mut Mistakes) -> Option<TurnPeers> {
    match values.text("turn-peers") {
        "public" => Some(TurnPeers::Public),
        "cluster" => Some(TurnPeers::Cluster(Vec::new())),
        text => {
            let peers: Option<Vec<SocketAddr>> = text
                .split(',')
                .map(|peer| peer.trim().parse().ok())
                .collect();
            if peers.is_none() {
                let source = values.source("turn-peers");
                m.push(format!(
                    "turn-peers '{text}' is neither cluster, public nor a list of IP:port, such as 192.0.2.1:7882,[2001:db8::1]:7882 (from {source})"
                ));
            }
            peers.map(TurnPeers::Cluster)
        }
    }
}

fn relay_ports(values: &Values, m: &mut Mistakes) -> Option<RangeInclusive<u16>> {
    let text = values.text("turn-relay-ports");
    let range = text
        .split_once('-')
        .and_then(|(first, last)| Some(first.parse().ok()?..=last.parse().ok()?))
        .filter(|range: &RangeInclusive<u16>| *range.start() > 0 && !range.is_empty());
    if range.is_none() {
        m.push(format!(
            "turn-relay-ports '{text}' is not FIRST-LAST within 1-65535"
        ));
    }
    range
}
