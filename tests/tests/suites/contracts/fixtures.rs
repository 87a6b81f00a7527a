//! Servers that the rows use, and the list of failed rows.

use std::collections::BTreeMap;

use spillway_tests::node::Node;
use spillway_tests::servers::SignalingServer;

/// API key of the servers in this suite.
pub(super) const ADMIN_TOKEN: &str = "0123456789abcdef";
pub(super) const TURN_SECRET: &str = "a-secret-of-two-planes";

/// The rows that were checked, and those that failed.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) by_kind: BTreeMap<&'static str, usize>,
    pub(super) broken: Vec<String>,
}

/// A server and its data plane.
pub(super) struct TestServers {
    pub(super) media: Node,
    pub(super) server: SignalingServer,
}

impl Rows {
    /// Adds a row; `wrong` describes the failure, if any.
    pub(super) fn add(&mut self, kind: &'static str, row: &str, wrong: Option<String>) {
        *self.by_kind.entry(kind).or_default() += 1;
        if let Some(wrong) = wrong {
            self.broken.push(format!("{kind}: {row}: {wrong}"));
        }
    }

    /// A row that passes if `said` contains `wanted`.
    pub(super) fn says(&mut self, kind: &'static str, row: &str, (said, wanted): (&str, &str)) {
        let wrong = (!said.contains(wanted)).then(|| format!("'{wanted}' is not in '{said}'"));
        self.add(kind, row, wrong);
    }

    /// A row that passes if both values are equal.
    pub(super) fn same<T: PartialEq + std::fmt::Debug>(
        &mut self,
        kind: &'static str,
        row: &str,
        (found, wanted): (T, T),
    ) {
        let wrong = (found != wanted).then(|| format!("{found:?}, not {wanted:?}"));
        self.add(kind, row, wrong);
    }
}

impl TestServers {
    pub(super) async fn set() -> anyhow::Result<Self> {
        let media = Node::start(1, &["--turn-secret", TURN_SECRET, "--turn-port", "0"]).await?;
        let flags = [
            ["--admin-token", ADMIN_TOKEN],
            ["--demo-tokens", "true"],
            ["--public-path", "/calls/"],
        ];
        let server = SignalingServer::start_with(&media, "memory", flags.as_flattened()).await?;
        Ok(Self { media, server })
    }
}
