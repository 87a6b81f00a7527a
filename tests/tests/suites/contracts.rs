//! What the edges of a server promise: identifiers, tokens, JSON, paths, the command line, settings, metrics, and the suites
//! themselves. Each row is one input; a kind is what its rows have in common.

mod stage; // servers and results of the rows
mod cli; // outputs that are closed, URLs, JSON
mod host; // suites that fail for the host
mod metrics; // two formats of both planes
mod names; // rooms and identities
mod paths; // paths of reverse proxies
mod settings; // mistakes, warnings, files
mod talk; // a scripted signaling client
mod texts; // JSON
mod tokens; // claims
mod turn; // TURN usernames

use serde_json::json;

use stage::{Rows, Stage};

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
