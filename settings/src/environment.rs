//! Environment variables with the prefix `SPILLWAY_`: settings, variables of other programs or of
//! an orchestrator, and probable misspellings of settings.

use std::collections::BTreeSet;

use crate::Setting;
use crate::nearest::nearest;

/// Prefix of all environment variables.
const PREFIX: &str = "SPILLWAY_";

/// Variables that any program or script of the project reads. The tests of each program compare its
/// own settings with this list.
pub const NAMES: &[&str] = &[
    // spillway
    "ADMIN_TOKEN",
    "ADVERTISE",
    "ALLOWED_HOSTS",
    "CA",
    "CONFIG",
    "DATAPLANE_BIN",
    "DATAPLANE_CONTROL",
    "DEMO_TOKENS",
    "DRAIN_SECONDS",
    "GRACE_SECONDS",
    "ICE_TCP",
    "KEYS",
    "LISTEN",
    "LOG",
    "MAX_CONNECTIONS_PER_SOURCE",
    "MAX_MESSAGE_BYTES",
    "MAX_PARTICIPANTS_PER_ROOM",
    "MAX_TRACKS_PER_PARTICIPANT",
    "MESSAGES_PER_SECOND",
    "NODE",
    "PUBLIC_PATH",
    "RESUME_ALLOWANCE_SECONDS",
    "SECRETS_ON_STDIN",
    "SHARDS",
    "STATE_DIR",
    "STORE",
    "STORE_CA",
    "STORE_CERTIFICATE",
    "STORE_KEY",
    "TLS_CERTIFICATE",
    "TLS_KEY",
    "TOKEN_LEEWAY_SECONDS",
    "TURN_HOST",
    "TURN_NAT64_PREFIXES",
    "TURN_PEERS",
    "TURN_PORT",
    "TURN_RELAY_PORTS",
    "TURN_SECRET",
    "TURN_SECRET_GRACE_SECONDS",
    "TURN_TLS_PORT",
    "TURN_TTL_SECONDS",
    "UDP_PORT",
    "URL",
    // spillway-dataplane
    "AEAD",
    "CONTROL",
    "CORES",
    "EGRESS",
    "HTTP_UPSTREAM",
    "IO",
    "MAX_SESSIONS",
    "MAX_TRACKS_PER_SESSION",
    "METRICS",
    "SOCKET_BUFFER_BYTES",
    "STEER",
    "TURN_DENIED",
    "TURN_REALM",
    // spillway-bench
    "API_KEY",
    "API_SECRET",
    "BENCH_COMMAND",
    "BENCH_TURN_SECRET",
    // builds, scripts and tests
    "BIN_DIR",
    "COMMIT",
    "TEST_FEW_DESCRIPTORS",
    "TEST_FLOOD",
    "TEST_LOG",
    "TEST_SECONDS",
];

/// A warning for each variable that no program reads.
pub(crate) fn unread(
    variables: impl Iterator<Item = (String, String)>,
    table: &[Setting],
) -> Vec<String> {
    let is_known = |name: &str| {
        NAMES.contains(&&name[PREFIX.len()..]) || table.iter().any(|setting| setting.env() == name)
    };
    let unknown: BTreeSet<String> = variables
        .filter(|(name, value)| {
            name.starts_with(PREFIX) && !is_known(name) && !is_service_link(name, value)
        })
        .map(|(name, _)| name)
        .collect();
    let sentence = |name: &String| {
        let settings: Vec<_> = table.iter().map(Setting::env).collect();
        let hint = nearest(name, settings.iter().map(String::as_str))
            .map_or_else(String::new, |name| format!(", did you mean {name}?"));
        format!("environment variable {name} is no setting{hint}")
    };
    unknown.iter().map(sentence).collect()
}

/// True for variables that Kubernetes and Docker set for a service whose name starts with
/// `spillway`: `SPILLWAY_SERVICE_HOST`, `SPILLWAY_REDIS_PORT_6379_TCP_ADDR`,
/// `SPILLWAY_TURN_PORT=tcp://10.0.0.1:3478`.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_of_port = || {
        let mut words = name.rsplit('_').peekable();
        words.next_if(|word| ["PROTO", "PORT", "ADDR"].contains(word));
        let protocol = words
            .next()
            .is_some_and(|word| ["TCP", "UDP", "SCTP"].contains(&word));
        let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
        protocol && words.next().is_some_and(is_number) && words.next() == Some("PORT")
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || is_of_port()
        || (name.ends_with("_PORT") && is_link(value))
        || (name.ends_with("_NAME") && value.starts_with('/'))
}

/// True if the value is the address of a service. No setting of a port has such a value.
pub(crate) fn is_link(value: &str) -> bool {
    ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Setting] = &[
        Setting {
            name: "udp-port",
            default: "",
            help: "",
        },
        Setting {
            name: "advertise",
            default: "",
            help: "",
        },
    ];

    fn said(variables: &[(&str, &str)]) -> Vec<String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        unread(variables.iter().map(owned), TABLE)
    }

    #[test]
    fn what_nobody_reads_is_named_with_its_neighbour() {
        let said = said(&[
            ("SPILLWAY_UDP_PROT", "1"),
            ("SPILLWAY_ADVERTISED", "1"),
            ("SPILLWAY_ZZZZZZZZZZ", "1"),
            ("SPILLWAY_", "1"),
        ]);
        let wanted = [
            "environment variable SPILLWAY_ is no setting",
            "environment variable SPILLWAY_ADVERTISED is no setting, did you mean SPILLWAY_ADVERTISE?",
            "environment variable SPILLWAY_UDP_PROT is no setting, did you mean SPILLWAY_UDP_PORT?",
            "environment variable SPILLWAY_ZZZZZZZZZZ is no setting",
        ];
        assert_eq!(said, wanted);
    }

    #[test]
    fn other_programs_and_orchestrators_are_not() {
        let said = said(&[
            ("SPILLWAY_UDP_PORT", "1"),
            ("SPILLWAY_KEYS", "x"),
            ("SPILLWAY_TEST_LOG", "1"),
            ("PATH", "/bin"),
            ("spillway_udp_prot", "1"),
            ("SPILLWAY_SERVICE_HOST", "10.0.0.1"),
            ("SPILLWAY_SERVICE_PORT", "7880"),
            ("SPILLWAY_SERVICE_PORT_HTTP", "7880"),
            ("SPILLWAY_PORT", "tcp://10.0.0.1:7880"),
            ("SPILLWAY_PORT_7880_TCP", "tcp://10.0.0.1:7880"),
            ("SPILLWAY_PORT_7880_TCP_ADDR", "10.0.0.1"),
            ("SPILLWAY_REDIS_MASTER_PORT_6379_UDP_PROTO", "udp"),
            ("SPILLWAY_REDIS_NAME", "/web/redis"),
        ]);
        assert!(said.is_empty(), "{said:?}");
    }
}
