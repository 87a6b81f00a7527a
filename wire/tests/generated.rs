//! `src/dataplane/generated.rs` is what the schema compiles to. It is kept, because the compiler of the schema takes
//! longer to build than all of `wire`.
//!
//! After a change of the schema: `UPDATE=1 cargo test -p spillway-wire --test generated`.

#![allow(clippy::unwrap_used)] // in a test a panic is a failure

use std::path::Path;

#[test]
fn the_generated_code_is_that_of_the_schema() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = folder.join("src/dataplane/generated.rs");
    let compiled = compile(&folder.join("proto"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, compiled).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    let differs = kept.lines().zip(compiled.lines()).position(|(a, b)| a != b);
    assert!(
        kept == compiled,
        "{} differs from the schema, first at line {}; \
         run: UPDATE=1 cargo test -p spillway-wire --test generated",
        path.display(),
        differs.unwrap_or_else(|| kept.lines().count().min(compiled.lines().count())) + 1,
    );
}

fn compile(proto: &Path) -> String {
    let out = tempfile::tempdir().unwrap();
    let files = protox::compile(["dataplane.proto"], [proto]).unwrap();
    tonic_prost_build::configure()
        .out_dir(out.path())
        .compile_fds(files)
        .unwrap();
    std::fs::read_to_string(out.path().join("spillway.dataplane.v1.rs")).unwrap()
}
