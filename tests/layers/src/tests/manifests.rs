//! Packages, their crates, and what they depend on.

use super::read;

const WORKSPACE: (&str, &str) = (
    "Cargo.toml",
    "[workspace.dependencies]\nlow = { path = 'low', version = '1' }\nhigh = { path = 'high' }\nserde = '1'\n\
     nick = { path = 'high', package = 'high' }\n",
);
const LOW_LIB: (&str, &str) = ("low/src/lib.rs", "pub struct Low;\n");
const HIGH: (&str, &str) = (
    "high/Cargo.toml",
    "[package]\nname = 'high'\n[dependencies]\nlow.workspace = true\n",
);
const HIGH_LIB: (&str, &str) = (
    "high/src/lib.rs",
    "pub mod inner { pub struct In; }\npub use low::Low;\n",
);

fn found(manifest: &str, files: &[(&str, &str)]) -> Vec<String> {
    let low = ("low/Cargo.toml", manifest);
    read(
        ".: low < high",
        &[&[WORKSPACE, HIGH, HIGH_LIB, LOW_LIB, low], files].concat(),
    )
    .findings
}

#[test]
fn a_package_depends_on_lower_ones() {
    assert_eq!(
        found(
            "[package]\nname = 'low'\n[dependencies]\nserde.workspace = true\nmissing = { path = '../gone' }\n",
            &[]
        ),
        [""; 0]
    );
}

#[test]
fn every_way_to_depend_on_a_higher_one_is_found() {
    for (line, dependency) in [
        (4, "[dependencies]\nhigh.workspace = true\n"),
        (4, "[dependencies]\nhigh = { path = '../high' }\n"),
        (
            4,
            "[dependencies]\nother = { path = '../high', package = 'high' }\n",
        ),
        (
            4,
            "[dependencies]\nnick = { workspace = true, features = [] }\n",
        ),
        (4, "[build-dependencies]\nhigh.workspace = true\n"),
        (
            4,
            "[target.'cfg(unix)'.dependencies]\nhigh.workspace = true\n",
        ),
        (
            5,
            "[target.'cfg(unix)'.build-dependencies]\nserde = '1'\nhigh.workspace = true\n",
        ),
    ] {
        let found = found(&format!("[package]\nname = 'low'\n{dependency}"), &[]);
        let up =
            format!("low/Cargo.toml:{line}: imports high of high/Cargo.toml: in ., low < high");
        assert_eq!(found[0], up, "{dependency}");
        assert!(found[1].contains("a circle of 2 files"), "{found:?}");
    }
}

#[test]
fn what_tests_depend_on_is_exempt() {
    for dependency in [
        "[dev-dependencies]\nhigh.workspace = true\n",
        "[target.'cfg(unix)'.dev-dependencies]\nhigh.workspace = true\n",
    ] {
        assert_eq!(
            found(&format!("[package]\nname = 'low'\n{dependency}"), &[]),
            [""; 0]
        );
    }
}

#[test]
fn every_crate_of_a_package_is_read() {
    let manifest = "[package]\nname = 'low'\n[[bin]]\nname = 'odd'\npath = 'targets/odd.rs'\n[dev-dependencies]\nhigh.workspace = true\n";
    for path in [
        "low/src/main.rs",
        "low/src/bin/tool.rs",
        "low/src/bin/tool/main.rs",
        "low/build.rs",
        "low/tests/suite.rs",
        "low/tests/suite/main.rs",
        "low/benches/speed.rs",
        "low/examples/show/main.rs",
        "low/targets/odd.rs",
    ] {
        let found = found(manifest, &[(path, "use high::inner::In;\n")]);
        assert_eq!(
            found,
            [format!(
                "{path}:1: imports In of high/src/lib.rs: in ., low < high"
            )]
        );
    }
}

#[test]
fn libraries_have_names_of_their_own() {
    let other = |name: &str, manifest: &str| {
        let low = ("low/Cargo.toml", manifest);
        let high = (
            "high/Cargo.toml",
            "[package]\nname = 'high'\n[lib]\nname = 'high_up'\npath = 'start.rs'\n",
        );
        let start = ("high/start.rs", "pub struct High;\n");
        let text = format!("use {name}::High;\n");
        let files = [WORKSPACE, low, high, start, ("low/src/lib.rs", &text)];
        read(".: low < high", &files)
            .findings
            .into_iter()
            .filter(|finding| finding.contains(".rs"))
            .collect::<Vec<_>>()
    };
    let up = ["low/src/lib.rs:1: imports High of high/start.rs: in ., low < high"];
    assert_eq!(
        other(
            "high_up",
            "[package]\nname = 'low'\n[dependencies]\nhigh.workspace = true\n"
        ),
        up
    );
    assert_eq!(
        other(
            "nick",
            "[package]\nname = 'low'\n[dependencies]\nnick.workspace = true\n"
        ),
        up
    );
    assert_eq!(
        other(
            "::nick",
            "[package]\nname = 'low'\n[dependencies]\nnick.workspace = true\n"
        ),
        up
    );
    // Code can use only the dependencies of its own package.
    assert_eq!(other("high_up", "[package]\nname = 'low'\n"), [""; 0]);
}

#[test]
fn a_module_from_another_folder_is_an_import() {
    let files = [
        (
            "low/build.rs",
            "#[path = \"../high/script.rs\"]\nmod script;\n",
        ),
        ("high/script.rs", ""),
    ];
    assert_eq!(
        found("[package]\nname = 'low'\n", &files),
        ["low/build.rs:2: imports the module of high/script.rs: in ., low < high"]
    );
}

#[test]
fn what_a_package_hands_on_is_of_the_one_that_defines_it() {
    let top = (
        "top/Cargo.toml",
        "[package]\nname = 'top'\n[dependencies]\nhigh.workspace = true\n",
    );
    let lib = ("top/src/lib.rs", "use high::Low;\n");
    let low = ("low/Cargo.toml", "[package]\nname = 'low'\n");
    let files = [WORKSPACE, HIGH, HIGH_LIB, LOW_LIB, low, top, lib];
    let found = read(".: high < top < low", &files).findings;
    assert!(
        found.contains(
            &"top/src/lib.rs:1: imports Low of low/src/lib.rs: in ., top < low".to_owned()
        ),
        "{found:?}"
    );
}

#[test]
fn a_manifest_that_cannot_be_read_is_named() {
    let sources = [
        ("ARCHITECTURE.md", super::architecture(".: a")),
        ("a/Cargo.toml", "[package".to_owned()),
    ];
    let error = crate::report(&sources.into_iter().collect()).unwrap_err();
    assert_eq!(error.to_string(), "a/Cargo.toml");
}
