//! Reads the commit for `--version` and the metrics.

#[path = "../exposition/commit.rs"]
mod commit;

fn main() {
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=../exposition/commit.rs");
    println!("cargo:rustc-env=SPILLWAY_BUILD_COMMIT={}", commit::commit());
}
