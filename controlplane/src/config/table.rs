//! Names, defaults and help texts of all settings of `spillway up` and `spillway serve`. The parent
//! module checks their values.

use spillway_settings::Setting;

const fn setting(name: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting {
        name,
        default,
        help,
    }
}

/// The settings of `spillway up` and `spillway serve`.
pub const SETTINGS: &[Setting] = &[
    setting(
        "listen",
        "0.0.0.0:7880",
        "IP:port of HTTP and WebSocket, with TLS if there is a certificate",
    ),
    setting(
        "tls-certificate",
        "",
        "PEM file of the certificate and its intermediate CA certificates; read again when it changes, and on SIGHUP",
    ),
    setting("tls-key", "", "PEM file of the certificate's private key"),
    setting(
        "keys",
        "",
        "API keys, KEY:SECRET, comma-separated; if empty, up generates one",
    ),
    setting(
        "admin-token",
        "",
        "bearer token of the admin API; if empty, up generates one and serve has no admin API",
    ),
    setting(
        "state-dir",
        ".spillway",
        "directory of up's keys, sockets and the data plane's log",
    ),
    setting(
        "store",
        "memory",
        "where rooms are kept: memory (of this server), or redis://[user:password@]host[:port], rediss:// with TLS, comma-separated for a cluster; redis+sentinel://host[:port],host[:port]/master, rediss+sentinel:// with TLS",
    ),
    setting(
        "store-ca",
        "",
        "CA certificates (PEM) for a rediss:// store (default: the system's)",
    ),
    setting(
        "store-certificate",
        "",
        "PEM file of the client certificate for a rediss:// store that requires one",
    ),
    setting(
        "store-key",
        "",
        "PEM file of the private key of store-certificate",
    ),
    setting(
        "demo-tokens",
        "",
        "give a token to every client at /v1/demo/token: true or false (default: true for up, false for serve)",
    ),
    setting(
        "allowed-hosts",
        "",
        "names of this server, comma-separated; with demo-tokens, requests for other hosts are refused; *.example.com matches one label",
    ),
    setting(
        "public-path",
        "/",
        "path under which a reverse proxy serves this server, such as /calls/; it answers there and at /",
    ),
    setting(
        "dataplane-control",
        "",
        "control address of the data plane, unix:/path or http://host:port; if empty, up starts its own data plane",
    ),
    setting(
        "dataplane-bin",
        "",
        "data plane program that up starts (default: spillway-dataplane beside this program)",
    ),
    setting(
        "shards",
        "",
        "shards of the data plane that up starts (default: one per core)",
    ),
    setting(
        "udp-port",
        "7882",
        "media port of the data plane that up starts; 0 takes any free port",
    ),
    setting(
        "advertise",
        "",
        "IP addresses in ICE candidates of the data plane that up starts, comma-separated (default: the host's)",
    ),
    setting(
        "node",
        "",
        "name of the node (default: the host's name, or the host in dataplane-control)",
    ),
    setting(
        "turn-secret",
        "",
        "shared secret of TURN credentials, also of the data plane; two, comma-separated, while the first replaces the second; if empty, up generates one and serve issues no credentials",
    ),
    setting(
        "turn-ttl-seconds",
        "300",
        "seconds during which TURN credentials may make allocations",
    ),
    setting(
        "turn-port",
        "0",
        "port of TURN over UDP and TCP of the data plane that up starts, usually 3478; 0 takes any free port",
    ),
    setting(
        "turn-tls-port",
        "",
        "port, usually 443, at which the data plane that up starts serves TURN over TLS and passes HTTP to listen, which then has no TLS; needs tls-certificate and tls-key",
    ),
    setting(
        "turn-host",
        "",
        "host name or IP address in TURN URLs of the data plane that up starts (default: the first advertised address)",
    ),
    setting(
        "turn-peers",
        "",
        "peers that TURN clients may reach: see the data plane's help (default: cluster)",
    ),
    setting(
        "turn-nat64-prefixes",
        "",
        "prefixes of NAT64 translators in the data plane's network, comma-separated: see its help",
    ),
    setting(
        "turn-secret-grace-seconds",
        "",
        "seconds during which the data plane accepts the second turn-secret (default: 86400)",
    ),
    setting(
        "turn-relay-ports",
        "",
        "ports of relayed addresses, FIRST-LAST (default: 32768-65535)",
    ),
    setting(
        "ice-tcp",
        "true",
        "true or false: the data plane that up starts also accepts sessions over TCP at its media port",
    ),
    setting(
        "max-participants-per-room",
        "1000",
        "participants in one room",
    ),
    setting(
        "max-tracks-per-participant",
        "16",
        "tracks that one participant may publish",
    ),
    setting(
        "max-message-bytes",
        "524288",
        "bytes of one signaling message",
    ),
    setting(
        "messages-per-second",
        "50",
        "signaling messages per second and client; twice as many at once",
    ),
    setting(
        "max-connections-per-source",
        "",
        "connections at once from an IPv4 address or an IPv6 /64, 0 for no limit (default: 4096; unlimited from this host)",
    ),
    setting(
        "token-leeway-seconds",
        "60",
        "accepted clock difference between this host and the issuers of tokens, in seconds",
    ),
    setting(
        "resume-allowance-seconds",
        "21600",
        "seconds after its token expired during which a participant may come back without a new one; at most 24 h after its first join",
    ),
    setting(
        "grace-seconds",
        "15",
        "seconds a participant stays in the room without a socket",
    ),
    setting(
        "drain-seconds",
        "0",
        "seconds over which a stopping server closes its sockets; a second signal stops it at once",
    ),
    setting(
        "log",
        "info",
        "log filter: a level, or a list of TARGET=LEVEL",
    ),
];

/// Settings that only `up` uses, because `serve` starts no data plane and has no state directory.
/// TURN settings of this kind are in [`super::turn::PASSED_ON`].
const UP_ALONE: [&str; 5] = [
    "state-dir",
    "dataplane-bin",
    "shards",
    "udp-port",
    "advertise",
];

/// All settings that only `up` uses.
pub(super) fn up_alone() -> impl Iterator<Item = &'static str> {
    UP_ALONE.into_iter().chain(super::turn::PASSED_ON)
}
