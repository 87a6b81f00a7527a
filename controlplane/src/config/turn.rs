//! Settings of TURN: secrets, ports and addresses.

use std::net::SocketAddr;

use spillway_settings::{Mistakes, Values};

use super::role::{Role, optional};
use crate::limits;

/// Settings of TURN that the control plane uses or passes on.
#[derive(Clone)]
pub struct TurnConfig {
    /// Shared secrets of TURN credentials. The first one signs. If there is none, `up` generates
    /// one.
    pub secrets: Vec<String>,
    /// Time during which a credential can make allocations, in seconds.
    pub ttl_s: u64,
    /// Port at which the data plane terminates TLS for TURN and HTTP.
    pub tls_port: Option<u16>,
    /// Settings for the data plane that `up` starts. The data plane checks them.
    pub passed_on: Vec<(&'static str, String)>,
}

/// Settings of TURN that `up` passes to its data plane.
pub(super) const PASSED_ON: [&str; 8] = [
    "turn-port",
    "turn-tls-port",
    "turn-host",
    "turn-peers",
    "turn-nat64-prefixes",
    "turn-secret-grace-seconds",
    "turn-relay-ports",
    "ice-tcp",
];

pub(super) fn check(values: &Values, role: Role, m: &mut Mistakes) -> Option<TurnConfig> {
    let secrets: Option<Vec<String>> = values.list("turn-secret", m);
    let ttl_s = values.parse_within("turn-ttl-seconds", limits::TURN_TTL_SECONDS, m);
    let tls_port = optional(values, "turn-tls-port", m);
    let secrets = secrets?;
    let (count, limit) = (secrets.len(), limits::TURN_SECRETS);
    if count > limit {
        m.push(format!(
            "turn-secret has {count} secrets, a rotation needs {limit}"
        ));
    }
    // The secret itself must not appear in a message.
    for (number, secret) in (1..).zip(&secrets) {
        let (bytes, least) = (secret.len(), limits::TURN_SECRET_BYTES);
        if bytes < least {
            m.push(format!(
                "turn-secret {number} has {bytes} bytes, at least {least} are needed"
            ));
        }
    }
    let tls_port = tls_port?.filter(|_| role == Role::Up);
    if tls_port.is_some() && values.text("tls-certificate").is_empty() {
        m.push("turn-tls-port needs tls-certificate and tls-key");
    }
    if tls_port.is_some() && !values.text("dataplane-control").is_empty() {
        m.push("turn-tls-port is of the data plane that up runs: give it to the one of dataplane-control instead, with http-upstream");
    }
    let port_of = |name: &str| {
        values
            .text(name)
            .parse::<u16>()
            .ok()
            .filter(|port| *port != 0)
    };
    let listen = values
        .text("listen")
        .parse::<SocketAddr>()
        .map(|listen| listen.port());
    let listen = listen.ok().filter(|port| *port != 0);
    if role == Role::Up
        && let Some(port) = port_of("turn-tls-port")
    {
        for (name, other) in [("turn-port", port_of("turn-port")), ("listen", listen)] {
            if other == Some(port) {
                m.push(format!(
                    "turn-tls-port {port} is that of {name}: TCP needs one each"
                ));
            }
        }
    }
    let passed_on = PASSED_ON.into_iter().filter_map(|name| {
        let text = values.text(name);
        (!text.is_empty()).then(|| (name, text.to_owned()))
    });
    Some(TurnConfig {
        secrets,
        ttl_s: ttl_s?,
        tls_port,
        passed_on: passed_on.collect(),
    })
}

/// Without the secrets, so that they never appear in logs.
impl std::fmt::Debug for TurnConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TurnConfig")
            .field("ttl_s", &self.ttl_s)
            .field("tls_port", &self.tls_port)
            .field("passed_on", &self.passed_on)
            .finish_non_exhaustive()
    }
}
