//! Lists the files of `src/page/` that are embedded, and reads the commit.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "../exposition/commit.rs"]
mod commit;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=../exposition/commit.rs");
    println!("cargo:rustc-env=SPILLWAY_BUILD_COMMIT={}", commit::commit());
    let page = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("src/page");
    let mut files = Vec::new();
    add_files(&page, &mut files)?;
    files.sort();
    let mut table = String::from("&[\n");
    for file in files {
        println!("cargo:rerun-if-changed={}", file.display());
        let name = file.strip_prefix(&page)?.to_string_lossy();
        let path = file.display();
        writeln!(table, "    ({name:?}, include_bytes!(r#\"{path}\"#)),")?;
    }
    table.push_str("]\n");
    let out = Path::new(&env::var("OUT_DIR")?).join("page_files.rs");
    fs::write(out, table)?;
    Ok(())
}

/// Adds the files in `folder` and its subfolders that browsers load.
fn add_files(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            add_files(&path, files)?;
        } else if matches!(extension, Some("html" | "js" | "css" | "svg")) {
            files.push(path);
        }
    }
    Ok(())
}
