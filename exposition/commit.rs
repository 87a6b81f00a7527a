//! The commit of a build, for build scripts (`#[path]`): shown in metrics and by `--version`.

use std::env;
use std::process::Command;

/// The commit of the build: `SPILLWAY_COMMIT`, or `git describe` with `-dirty` after local changes,
/// or `unknown`.
pub(crate) fn commit() -> String {
    println!("cargo:rerun-if-env-changed=SPILLWAY_COMMIT");
    if let Ok(commit) = env::var("SPILLWAY_COMMIT") {
        return commit;
    }
    let describe = [
        "describe",
        "--always",
        "--dirty",
        "--abbrev=12",
        "--exclude=*",
    ];
    let told = Command::new("git").args(describe).output().ok();
    let told = told.filter(|told| told.status.success());
    let told = told.and_then(|told| String::from_utf8(told.stdout).ok());
    told.map_or_else(|| "unknown".to_owned(), |told| told.trim().to_owned())
}
