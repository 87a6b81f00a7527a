//! The results of test suites must not depend on the host, and scripts say what the host lacks.

use std::os::unix::fs::PermissionsExt as _;
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

    let dir = folder_with(&TOOLS)?;
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
    cargo_is_checked(rows)
}

/// A build without cargo, or with an old one, says what to install.
fn cargo_is_checked(rows: &mut Rows) -> anyhow::Result<()> {
    for (row, version, is_accepted, wanted) in [
        (
            "no cargo",
            None,
            false,
            "cargo is not installed; the build needs Rust 1.",
        ),
        ("old", Some("cargo 1.9.0 (abc)"), false, "cargo 1.9.0"),
        (
            "old",
            Some("cargo 1.75.0 (abc)"),
            false,
            "is too old; the build needs Rust 1.",
        ),
        ("new", Some("cargo 1.100.0 (abc)"), true, ""),
        ("nightly", Some("cargo 1.100.0-nightly (abc)"), true, ""),
        ("next major", Some("cargo 2.0.0"), true, ""),
    ] {
        let dir = folder_with(&["bash", "sed", "sort", "head", "sh"])?;
        if let Some(version) = version {
            let path = dir.path().join("cargo");
            std::fs::write(&path, format!("#!/bin/sh\necho '{version}'\n"))?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        }
        let check = Command::new("bash")
            .args(["-c", ". scripts/toolchain.sh; require_cargo"])
            .current_dir(ROOT)
            .env("PATH", dir.path())
            .env("CARGO_HOME", dir.path())
            .output()?;
        let said = String::from_utf8_lossy(&check.stderr).into_owned();
        let kind = "cargo is checked";
        rows.same(kind, row, (check.status.success(), is_accepted));
        rows.says(kind, row, (&said, wanted));
    }
    Ok(())
}

/// A folder with these programs of the host, for PATH.
fn folder_with(tools: &[&str]) -> anyhow::Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    for tool in tools {
        let found = Command::new("sh")
            .args(["-c", "command -v \"$0\"", tool])
            .output()?;
        let path = String::from_utf8(found.stdout)?;
        std::os::unix::fs::symlink(path.trim(), dir.path().join(tool))?;
    }
    Ok(dir)
}
