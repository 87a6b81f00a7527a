//! What the edges of a server promise: identifiers, tokens, JSON, paths, the command line, settings, metrics, and the suites
//! themselves. Each row is one input; a kind is what its rows have in common.

mod cli; // outputs that are closed, URLs, JSON
mod host; // suites that fail for the host
mod metrics; // two formats of both planes
mod names; // rooms and identities
mod paths; // where a proxy shows the server
mod settings; // mistakes, warnings, files
mod talk; // a client that says what it likes
mod texts; // JSON
mod tokens; // claims
mod turn; // usernames of the relay

use std::collections::BTreeMap;

use serde_json::json;
use spillway_tests::node::Node;
use spillway_tests::servers::SignalingServer;

/// Of the servers of this suite.
const ADMIN_TOKEN: &str = "0123456789abcdef";
const TURN_SECRET: &str = "a-secret-of-two-planes";

/// What was tried, and what did not hold.
#[derive(Default)]
struct Rows {
    by_kind: BTreeMap<&'static str, usize>,
    broken: Vec<String>,
}

/// A server and its data plane.
struct Stage {
    media: Node,
    server: SignalingServer,
}

impl Rows {
    /// One row: what is wrong with it, if anything.
    fn add(&mut self, kind: &'static str, row: &str, wrong: Option<String>) {
        *self.by_kind.entry(kind).or_default() += 1;
        if let Some(wrong) = wrong {
            self.broken.push(format!("{kind}: {row}: {wrong}"));
        }
    }

    /// One row that holds if `said` has `wanted` in it.
    fn says(&mut self, kind: &'static str, row: &str, (said, wanted): (&str, &str)) {
        let wrong = (!said.contains(wanted)).then(|| format!("'{wanted}' is not in '{said}'"));
        self.add(kind, row, wrong);
    }

    /// One row that holds if both are the same.
    fn same<T: PartialEq + std::fmt::Debug>(
        &mut self,
        kind: &'static str,
        row: &str,
        (found, wanted): (T, T),
    ) {
        let wrong = (found != wanted).then(|| format!("{found:?}, not {wanted:?}"));
        self.add(kind, row, wrong);
    }
}

impl Stage {
    async fn set() -> anyhow::Result<Self> {
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

#[tokio::test(flavor = "multi_thread")]
async fn every_row_holds() -> anyhow::Result<()> {
    let mut stage = Stage::set().await?;
    let mut rows = Rows::default();
    names::rows(&stage, &mut rows).await?;
    tokens::rows(&stage, &mut rows).await?;
    texts::rows(&stage, &mut rows).await?;
    turn::rows(&mut stage, &mut rows).await?;
    paths::rows(&stage, &mut rows).await?;
    cli::rows(&stage, &mut rows).await?;
    settings::rows(&mut rows)?;
    metrics::rows(&stage, &mut rows)?;
    host::rows(&mut rows)?;
    for broken in &rows.broken {
        println!("{broken}");
    }
    let total: usize = rows.by_kind.values().sum();
    let figures = json!({
        "rows": total, "kinds": rows.by_kind.len(), "broken": rows.broken.len(), "by_kind": rows.by_kind,
    });
    // A line of its own that begins with the suite's name is what `scripts/test` looks for.
    println!("\n{{\"suite\":\"contracts\",{}", &figures.to_string()[1..]);
    anyhow::ensure!(
        rows.broken.is_empty(),
        "{} of {total} rows do not hold",
        rows.broken.len()
    );
    Ok(())
}
