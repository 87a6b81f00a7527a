//! The results of test suites must not depend on the host.

use std::process::Command;

use anyhow::Context;

use super::fixtures::Rows;

/// Root folder of the checkout.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Programs that `lint` needs before it looks for git.
const TOOLS: [&str; 4] = ["bash", "dirname", "sed", "sh"];

pub(super) fn rows(rows: &mut Rows) -> anyhow::Result<()> {
    let check = Command::new("node")
        .arg("tests/browser/rig/still.check.js")
        .current_dir(ROOT)
        .output()
        .context("cannot start server")?;
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    rows.same(
        "browsers wait for the network",
        "still.js",
        ((check.status.success(), said), (true, String::new())),
    );

    let dir = tempfile::tempdir()?;
    for tool in TOOLS {
        let found = Command::new("sh")
            .args(["-c", "command -v \"$0\"", tool])
            .output()?;
        let path = String::from_utf8(found.stdout)?;
        std::os::unix::fs::symlink(path.trim(), dir.path().join(tool))?;
    }
    let lint = Command::new("bash")
        .args([
            "-c",
            "eval \"$(sed '/^main /d' \"$0\")\"; lint",
            "scripts/test",
        ])
        .current_dir(ROOT)
        .env("PATH", dir.path())
        .output()?;
    let said = String::from_utf8_lossy(&lint.stdout).into_owned();
    rows.same(
        "lint fails without git",
        "no git",
        (lint.status.success(), false),
    );
    rows.says(
        "lint fails without git",
        "no git",
        (&said, "git is missing"),
    );
    Ok(())
}
