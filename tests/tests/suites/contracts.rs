//! The contracts of a server's interfaces: names, tokens, JSON, paths, the command line, settings,
//! metrics, and test suites that depend on the host. Each row is one input; a kind groups rows.

mod fixtures; // servers and results of the rows
mod cli; // outputs that are closed, URLs, JSON
mod host; // suites that fail for the host
mod metrics; // two formats of both planes
mod names; // rooms and identities
mod paths; // paths of reverse proxies
mod settings; // mistakes, warnings, files
mod signaling_client; // a scripted signaling client
mod texts; // JSON
mod tokens; // claims
mod turn; // TURN usernames

use serde_json::json;

use fixtures::{Rows, TestServers};

#[tokio::test(flavor = "multi_thread")]
async fn every_row_holds() -> anyhow::Result<()> {
    let mut servers = TestServers::set().await?;
    let mut rows = Rows::default();
    names::rows(&servers, &mut rows).await?;
    tokens::rows(&servers, &mut rows).await?;
    texts::rows(&servers, &mut rows).await?;
    turn::rows(&mut servers, &mut rows).await?;
    paths::rows(&servers, &mut rows).await?;
    cli::rows(&servers, &mut rows).await?;
    settings::rows(&mut rows)?;
    metrics::rows(&servers, &mut rows)?;
    host::rows(&mut rows)?;
    for broken in &rows.broken {
        println!("{broken}");
    }
    let total: usize = rows.by_kind.values().sum();
    let figures = json!({
        "rows": total, "kinds": rows.by_kind.len(), "broken": rows.broken.len(), "by_kind": rows.by_kind,
    });
    // `scripts/test` looks for a line that starts with the suite's name.
    println!("\n{{\"suite\":\"contracts\",{}", &figures.to_string()[1..]);
    anyhow::ensure!(
        rows.broken.is_empty(),
        "{} of {total} rows do not hold",
        rows.broken.len()
    );
    Ok(())
}
