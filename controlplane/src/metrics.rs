//! Prometheus metrics of the control plane. `docs/operating/metrics.md` documents each metric.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabel {
    r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModeLabel {
    mode: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
    commit: &'static str,
}

type Count = Counter<u64, AtomicU64>;
type Level = Gauge<i64, AtomicI64>;

/// Kind of a frame to a client, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// A frame without a counter.
    Plain,
    /// An `error`, with its code.
    Error(&'static str),
    /// A `joined`, with its mode.
    Joined(&'static str),
}

/// Upper bounds of the buckets of join times, in seconds: not noticeable, acceptable, too slow.
const JOIN_SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Metrics of a shared store. Clones share the counters.
#[derive(Debug, Clone, Default)]
pub struct StoreMetrics {
    /// 1 while all Redis servers answer.
    pub up: Level,
    /// Events that got offsets on this server, because the store was unavailable.
    pub offline_events: Count,
    /// Number of times that an event arrived before an earlier one.
    pub gaps: Count,
    /// Events that were missing and read from the store.
    pub repaired: Count,
    /// Number of histories that started over.
    pub forks: Count,
    /// Number of channels subscribed to again.
    pub resubscribed: Count,
    /// Records that could not be parsed.
    pub poisoned: Count,
    /// Ephemeral messages that could not be sent to other servers.
    pub unpublished: Count,
}

/// Metrics of TLS on the HTTP port. Clones share the counters.
#[derive(Debug, Clone, Default)]
pub struct TlsMetrics {
    ends: Level,
    /// Number of certificates that were replaced without a restart.
    pub reloads: Count,
    /// Number of reloads of the certificate that failed.
    pub reload_failures: Count,
    /// Number of successful handshakes.
    pub handshakes: Count,
    handshake_failures: Family<ReasonLabel, Count>,
}

/// Why this server ended a connection, or did not accept it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// The client sent no byte in time.
    Silent,
    /// A request head was incomplete when its time ended.
    SlowHead,
    /// No further request arrived in time.
    Idle,
    /// The client did not read a response in time.
    SlowReader,
    /// The source has the maximum number of connections.
    TooManyOfSource,
    /// The system call `accept` failed.
    NotAccepted,
}

impl ConnectionEnd {
    /// The value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::SlowHead => "slow_head",
            Self::Idle => "idle",
            Self::SlowReader => "slow_reader",
            Self::TooManyOfSource => "too_many_of_source",
            Self::NotAccepted => "not_accepted",
        }
    }
}

/// Metrics of connections to the HTTP port. Clones share the counters.
#[derive(Debug, Clone, Default)]
pub struct ConnectionMetrics {
    /// Open connections, WebSockets included.
    pub open: Level,
    ended: Family<ReasonLabel, Count>,
}

impl ConnectionMetrics {
    /// Counts a connection that the server ended.
    pub fn count_end(&self, end: ConnectionEnd) {
        let reason = end.as_str();
        self.ended.get_or_create(&ReasonLabel { reason }).inc();
    }

    fn register(&self, registry: &mut Registry) {
        let open = "Open connections, WebSockets included";
        registry.register("connections", open, self.open.clone());
        let ended = "Connections that the server ended or did not accept, by reason";
        registry.register("connections_ended", ended, self.ended.clone());
    }
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Metrics of connections to the HTTP port.
    pub connections: ConnectionMetrics,
    /// Number of open WebSockets.
    pub sockets: Level,
    /// Rooms with a task on this server.
    pub rooms: Level,
    /// Participants that this server serves.
    pub participants: Level,
    /// Nodes that are connected.
    pub nodes_connected: Level,
    /// Number of times a node's data plane ended.
    pub node_deaths: Count,
    /// Number of times a room's queue was full for an event of a node.
    pub room_overflows: Count,
    /// Events appended to rooms' histories.
    pub events: Count,
    /// Number of appends that failed.
    pub store_failures: Count,
    /// Metrics of the shared store.
    pub store: StoreMetrics,
    join_seconds: Histogram,
    messages: Family<TypeLabel, Count>,
    errors: Family<CodeLabel, Count>,
    joins: Family<ModeLabel, Count>,
    closes: Family<CodeLabel, Count>,
}

impl StoreMetrics {
    fn register(&self, registry: &mut Registry) {
        let up = "1 while all servers of a shared store answer";
        registry.register("store_up", up, self.up.clone());
        let counters = [
            (
                "store_island_events",
                "Events that got offsets on this server because the store was unavailable",
                &self.offline_events,
            ),
            (
                "store_gaps",
                "Times an event of the store arrived before an earlier one",
                &self.gaps,
            ),
            (
                "store_repaired",
                "Events that were missing and read from the store",
                &self.repaired,
            ),
            ("store_forks", "Histories that started over", &self.forks),
            (
                "store_resubscribed",
                "Channels subscribed to again",
                &self.resubscribed,
            ),
            (
                "store_poisoned",
                "Records of the store that could not be read",
                &self.poisoned,
            ),
            (
                "store_unpublished",
                "Ephemeral messages that could not be sent to other servers",
                &self.unpublished,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
    }
}

impl spillway_certificate::Observer for TlsMetrics {
    fn ends_at(&self, unix_s: u64) {
        self.ends.set(i64::try_from(unix_s).unwrap_or(i64::MAX));
    }

    fn renewed(&self) {
        self.reloads.inc();
    }

    fn refused(&self) {
        self.reload_failures.inc();
    }
}

impl TlsMetrics {
    /// Counts a handshake that failed.
    pub fn count_refusal(&self, reason: &'static str) {
        let label = ReasonLabel { reason };
        self.handshake_failures.get_or_create(&label).inc();
    }

    fn register(&self, registry: &mut Registry) {
        let ends = "Unix time at which the served certificate expires";
        registry.register(
            "tls_certificate_expires_timestamp_seconds",
            ends,
            self.ends.clone(),
        );
        let counters = [
            (
                "tls_reloads",
                "Certificates that were replaced without a restart",
                &self.reloads,
            ),
            (
                "tls_reload_failures",
                "New certificates that could not be used",
                &self.reload_failures,
            ),
            (
                "tls_handshakes",
                "Successful TLS handshakes",
                &self.handshakes,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "tls_handshake_failures",
            "TLS handshakes that failed, by reason",
            self.handshake_failures.clone(),
        );
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics with the value 0.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("spillway"),
            connections: ConnectionMetrics::default(),
            sockets: Gauge::default(),
            rooms: Gauge::default(),
            participants: Gauge::default(),
            nodes_connected: Gauge::default(),
            node_deaths: Counter::default(),
            room_overflows: Counter::default(),
            events: Counter::default(),
            store_failures: Counter::default(),
            store: StoreMetrics::default(),
            join_seconds: Histogram::new(JOIN_SECONDS),
            messages: Family::default(),
            errors: Family::default(),
            joins: Family::default(),
            closes: Family::default(),
        };
        metrics.register();
        metrics
    }

    /// Also registers the metrics of TLS. Without TLS they are absent, because an expiry of 0 would
    /// look like an expired certificate.
    pub fn with_tls(tls: &TlsMetrics) -> Self {
        let mut metrics = Self::new();
        tls.register(&mut metrics.registry);
        metrics
    }

    /// Counts a message of a client that was accepted.
    pub fn count_message(&self, kind: &'static str) {
        self.messages
            .get_or_create(&TypeLabel { r#type: kind })
            .inc();
    }

    /// Counts a frame to a client.
    pub fn count_frame(&self, label: Label) {
        match label {
            Label::Plain => {}
            Label::Error(code) => self.count_error(code),
            Label::Joined(mode) => self.count_join(mode),
        }
    }

    /// Counts the time from a `join` to its `joined`.
    pub fn count_join_time(&self, took: Duration) {
        self.join_seconds.observe(took.as_secs_f64());
    }

    /// Counts a socket that the server closed with this code.
    pub fn count_close(&self, code: u16) {
        let code = match code {
            1000 => "1000",
            4400 => "4400",
            4401 => "4401",
            4408 => "4408",
            4409 => "4409",
            4413 => "4413",
            4429 => "4429",
            4503 => "4503",
            _ => "other",
        };
        self.closes.get_or_create(&CodeLabel { code }).inc();
    }

    /// All metrics in OpenMetrics format.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing to a string cannot fail");
        out
    }

    fn count_error(&self, code: &'static str) {
        self.errors.get_or_create(&CodeLabel { code }).inc();
    }

    fn count_join(&self, mode: &'static str) {
        self.joins.get_or_create(&ModeLabel { mode }).inc();
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let build = Family::<BuildLabels, Level>::default();
        let labels = BuildLabels {
            version: env!("CARGO_PKG_VERSION"),
            commit: env!("SPILLWAY_BUILD_COMMIT"),
        };
        build.get_or_create(&labels).set(1);
        registry.register("build_info", "Version and commit of the build", build);
        let join = self.join_seconds.clone();
        registry.register(
            "join_seconds",
            "Time from a join until joined is written",
            join,
        );
        self.connections.register(registry);
        registry.register("sockets", "Open WebSockets", self.sockets.clone());
        registry.register("rooms", "Rooms that this server serves", self.rooms.clone());
        let participants = self.participants.clone();
        registry.register(
            "participants",
            "Participants that this server serves",
            participants,
        );
        let connected = self.nodes_connected.clone();
        registry.register("nodes_connected", "Nodes that are connected", connected);
        let deaths = self.node_deaths.clone();
        registry.register("node_deaths", "Times a node's data plane ended", deaths);
        let overflows = self.room_overflows.clone();
        registry.register(
            "room_overflows",
            "Times a room's queue was full for an event of a node",
            overflows,
        );
        let events = self.events.clone();
        registry.register(
            "events",
            "Events appended to the histories of rooms",
            events,
        );
        let failures = self.store_failures.clone();
        registry.register("store_failures", "Appends that failed", failures);
        self.store.register(registry);
        let messages = self.messages.clone();
        registry.register("messages", "Messages of clients, by type", messages);
        let errors = self.errors.clone();
        registry.register("errors", "Errors sent to clients, by code", errors);
        let joins = self.joins.clone();
        registry.register("joins", "Accepted joins, by mode", joins);
        let closes = self.closes.clone();
        registry.register(
            "closes",
            "Sockets closed by the server, by close code",
            closes,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_exposed_with_its_labels() {
        assert!(!Metrics::new().encode().contains("tls"));
        let tls = TlsMetrics::default();
        let metrics = Metrics::with_tls(&tls);
        metrics.sockets.inc();
        metrics.count_message("join");
        metrics.count_frame(Label::Error("too_fast"));
        metrics.count_frame(Label::Joined("resync"));
        metrics.count_close(4408);
        metrics.count_join_time(Duration::from_millis(70));
        metrics.connections.count_end(ConnectionEnd::SlowHead);
        spillway_certificate::Observer::ends_at(&tls, 1_900_000_000);
        tls.count_refusal("not_tls");
        let text = metrics.encode();
        for line in [
            "spillway_tls_certificate_expires_timestamp_seconds 1900000000",
            "spillway_tls_reloads_total 0",
            "spillway_tls_handshake_failures_total{reason=\"not_tls\"} 1",
            "spillway_connections 0",
            "spillway_connections_ended_total{reason=\"slow_head\"} 1",
            "spillway_sockets 1",
            "spillway_messages_total{type=\"join\"} 1",
            "spillway_errors_total{code=\"too_fast\"} 1",
            "spillway_joins_total{mode=\"resync\"} 1",
            "spillway_closes_total{code=\"4408\"} 1",
            "spillway_nodes_connected 0",
            "spillway_join_seconds_bucket{le=\"0.1\"} 1",
            "spillway_join_seconds_count 1",
        ] {
            assert!(text.contains(line), "{line} not in {text}");
        }
    }
}
