//! The settings of `spillway up` and `spillway serve`: names, defaults, words of help. What a value may be is
//! checked in the module above.

use spillway_settings::Setting;

const fn setting(name: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting {
        name,
        default,
        help,
    }
}

/// All settings of `spillway up` and `spillway serve`.
pub const SETTINGS: &[Setting] = &[
    setting(
        "listen",
        "0.0.0.0:7880",
        "IP:port of HTTP and WebSocket, with TLS if there is a certificate",
    ),
    setting(
        "tls-certificate",
        "",
        "PEM file of the certificate and those that vouch for it; read again when it changes, and on SIGHUP",
    ),
    setting("tls-key", "", "PEM file of the certificate's key"),
    setting(
        "keys",
        "",
        "API keys, KEY:SECRET, comma-separated; up makes one when empty",
    ),
    setting(
        "admin-token",
        "",
        "bearer token of the admin API; up makes one when empty, serve then has no admin API",
    ),
    setting(
        "state-dir",
        ".spillway",
        "where up keeps its keys, its sockets and the data plane's log",
    ),
    setting(
        "store",
        "memory",
        "where rooms are kept: memory (of this server), or redis://[user:password@]host[:port], rediss:// with TLS, comma-separated for a cluster; redis+sentinel://host[:port],host[:port]/master, rediss+sentinel:// with TLS",
    ),
    setting(
        "store-ca",
        "",
        "PEM file of those who vouch for a rediss:// store (default: those the system trusts)",
    ),
    setting(
        "store-certificate",
        "",
        "PEM file of the certificate shown to a rediss:// store that wants one",
    ),
    setting("store-key", "", "PEM file of the key of store-certificate"),
    setting(
        "demo-tokens",
        "",
        "serve tokens to anybody at /v1/demo/token (true or false; default true for up, else false)",
    ),
    setting(
        "allowed-hosts",
        "",
        "names of this server, comma-separated, for which it answers while it gives demo tokens; *.example.com for one label",
    ),
    setting(
        "public-path",
        "/",
        "path at which a proxy shows this server, such as /calls/; it answers there and at /",
    ),
    setting(
        "dataplane-control",
        "",
        "the data plane's control address, unix:/path or http://host:port; up runs its own",
    ),
    setting(
        "dataplane-bin",
        "",
        "the data plane up runs (default: spillway-dataplane beside this binary)",
    ),
    setting(
        "shards",
        "",
        "shards of the data plane up runs (default: one per core)",
    ),
    setting("udp-port", "7882", "UDP port of the data plane up runs"),
    setting(
        "advertise",
        "",
        "media IPs the data plane up runs tells clients, comma-separated (default: those of the host)",
    ),
    setting(
        "node",
        "",
        "name of the node (default: the host's name, or the host in dataplane-control)",
    ),
    setting(
        "turn-secret",
        "",
        "shared secret of TURN credentials, the data plane's too; two, comma-separated, while the first replaces the second; up makes one when empty, serve hands out none then",
    ),
    setting(
        "turn-ttl-seconds",
        "300",
        "seconds that TURN credentials may make allocations",
    ),
    setting(
        "turn-port",
        "0",
        "port of TURN over UDP and TCP of the data plane up runs, best 3478; 0 for any free one",
    ),
    setting(
        "turn-tls-port",
        "",
        "port, best 443, at which the data plane up runs serves TURN inside TLS, and passes HTTP on to listen, which speaks no TLS then; needs tls-certificate and tls-key",
    ),
    setting(
        "turn-host",
        "",
        "name or IP address in TURN URLs of the data plane up runs (default: the first one advertised)",
    ),
    setting(
        "turn-peers",
        "",
        "whom TURN's clients reach: see the data plane's help (default: cluster)",
    ),
    setting(
        "turn-nat64-prefixes",
        "",
        "prefixes of NAT64 translators in the data plane's network, comma-separated: see its help",
    ),
    setting(
        "turn-secret-grace-seconds",
        "",
        "how long the data plane takes the second turn-secret (default: 86400)",
    ),
    setting(
        "turn-relay-ports",
        "",
        "ports of relayed addresses, FIRST-LAST (default: 32768-65535)",
    ),
    setting(
        "ice-tcp",
        "true",
        "true or false: the data plane up runs is reached over TCP, too, at its media port",
    ),
    setting(
        "max-participants-per-room",
        "1000",
        "participants in one room",
    ),
    setting(
        "max-tracks-per-participant",
        "16",
        "tracks one participant may publish",
    ),
    setting(
        "max-message-bytes",
        "524288",
        "bytes of one signaling message",
    ),
    setting(
        "messages-per-second",
        "50",
        "signaling messages a client may send per second, twice that at once",
    ),
    setting(
        "max-connections-per-source",
        "",
        "connections at once from an IPv4 address or an IPv6 /64, 0 for no limit (default: 4096, none from loopback)",
    ),
    setting(
        "token-leeway-seconds",
        "60",
        "seconds by which the clocks of those who sign tokens may differ from this host's",
    ),
    setting(
        "resume-allowance-seconds",
        "21600",
        "seconds after its token's end in which a participant may come back without another; 24 h after its join at most",
    ),
    setting(
        "grace-seconds",
        "15",
        "seconds a participant stays without its socket",
    ),
    setting(
        "drain-seconds",
        "0",
        "seconds over which a server that was told to stop sends its clients away; told twice, it stops at once",
    ),
    setting(
        "log",
        "info",
        "what is logged: a level, or tracing directives",
    ),
];

/// Settings of the data plane that `up` runs, and of what `up` keeps: `serve` has neither. Those of the relay are in
/// [`super::turn::PASSED_ON`].
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
