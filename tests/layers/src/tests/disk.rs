//! Reads sources from files, and skips vendored ones.

use std::path::PathBuf;

use crate::{Sources, report};

/// A temporary folder, removed when dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn vendored_and_built_files_are_passed_over() {
    let folder =
        Folder(std::env::temp_dir().join(format!("spillway-layers-{}", std::process::id())));
    for (path, text) in [
        ("ARCHITECTURE.md", super::architecture(".: a").as_str()),
        ("a/Cargo.toml", "[package]\nname = 'a'\n"),
        ("a/src/lib.rs", "pub struct A;\n"),
        ("third_party/b/src/lib.rs", "fn ( {"),
        ("third_party/b/Cargo.toml", "not TOML"),
        ("target/c.js", "import './d.js';"),
        ("web/node_modules/c.js", "import './d.js';"),
        (".git/c.js", ""),
        ("docs/image.png", "\u{fffd}"),
    ] {
        let path = folder.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let report = report(&Sources::of_directory(&folder.0).unwrap()).unwrap();
    assert_eq!(report.findings, [""; 0]);
    assert_eq!(
        report.line(),
        r#"{"suite":"layers","files":1,"imports":0,"upward":0,"circles":0}"#
    );
    let gone = Sources::of_directory(&folder.0.join("gone")).unwrap_err();
    assert!(gone.to_string().starts_with("cannot read "), "{gone:#}");
}
