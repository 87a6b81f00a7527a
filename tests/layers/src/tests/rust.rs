//! Every kind of import of Rust. `low` must not import `high`, so that each such import is a finding.

use super::{package, try_read};

const LINES: &str = "src: low < high < lib";

/// The module `high`: `high/mod.rs` defines `Own`, and re-exports definitions of its parts.
const HIGH: &[(&str, &str)] = &[
    (
        "src/lib.rs",
        "pub mod low;\npub mod high;\npub use high::Part as Handed;\n",
    ),
    (
        "src/high/mod.rs",
        "mod part;\nmod deep;\npub mod face;\npub use part::{Part, Other as Renamed, part, PART};\npub use deep::*;\npub struct Own;\n",
    ),
    (
        "src/high/part.rs",
        "pub struct Part;\npub struct Other;\npub fn part() {}\npub const PART: u8 = 1;\n",
    ),
    (
        "src/high/deep.rs",
        "pub struct Deep;\npub enum Kind { One }\n",
    ),
    (
        "src/high/face.rs",
        "#[macro_export]\nmacro_rules! shout { () => {} }\nmake! { Made }\npub trait Face {}\n",
    ),
];

/// Findings of `src/low.rs` with this text: line, name and file of each.
fn found(low: &str) -> Vec<String> {
    let report = package(LINES, &[HIGH, &[("src/low.rs", low)]].concat());
    let shown = report.findings.iter().map(|finding| {
        let finding = finding.strip_prefix("src/low.rs:").unwrap_or(finding);
        finding
            .strip_suffix(": in src, low < high")
            .unwrap_or(finding)
            .to_owned()
    });
    shown.collect()
}

fn is_found(low: &str, wanted: &[&str]) {
    assert_eq!(found(low), wanted, "{low}");
}

const OWN: &str = "1: imports Own of src/high/mod.rs";
const PART: &str = "1: imports Part of src/high/part.rs";
const OTHER: &str = "1: imports Other of src/high/part.rs";
const DEEP: &str = "1: imports Deep of src/high/deep.rs";
const KIND: &str = "1: imports Kind of src/high/deep.rs";

#[test]
fn of_use() {
    is_found("use crate::high::Own;", &[OWN]);
    is_found("use super::high::Own;", &[OWN]);
    is_found("use self::super::high::Own;", &[OWN]);
    is_found("use crate::high::Own as Mine;", &[OWN]);
    is_found(
        "use crate::{high::{Own, face::Face}};",
        &["1: imports Face of src/high/face.rs", OWN],
    );
    is_found(
        "use crate::high::{self, Own};",
        &[OWN, "1: imports high of src/high/mod.rs"],
    );
    is_found("fn f() { use crate::high::Own; }", &[OWN]);
    is_found("mod inner { use super::super::high::Own; }", &[OWN]);
    is_found("mod inner { use crate::high::Own; }", &[OWN]);
    is_found(
        "\n\nuse crate::high::Own;\nuse crate::high::Own as Again;",
        &["3: imports Own of src/high/mod.rs"],
    );
    is_found("pub use crate::high::Own;", &[OWN]);
    is_found("use crate::r#high::r#Own;", &[OWN]);
}

#[test]
fn of_what_a_module_hands_on() {
    is_found("use crate::high::Part;", &[PART]);
    is_found("use crate::high::Renamed;", &[OTHER]);
    is_found("use crate::high::Deep;", &[DEEP]);
    is_found("use crate::Handed;", &[PART]);
    is_found("use crate::high::Kind::One;", &[KIND]);
    is_found("use crate::high::Kind::*;", &[KIND]);
    // A macro defines the name, so the file of the module counts.
    is_found(
        "use crate::high::face::Made;",
        &["1: imports Made of src/high/face.rs"],
    );
    is_found(
        "use crate::shout;",
        &["1: imports shout of src/high/face.rs"],
    );
}

#[test]
fn of_modules_by_what_is_taken_through_them() {
    is_found(
        "use crate::high;\nfn f(_: high::Part) {}",
        &["2: imports Part of src/high/part.rs"],
    );
    is_found(
        "use crate::high as h;\nfn f(_: h::Part) {}",
        &["2: imports Part of src/high/part.rs"],
    );
    is_found(
        "use crate::high::{self};\nfn f() { assert!(high::part()); }",
        &["2: imports part of src/high/part.rs"],
    );
    is_found("fn f() { use crate::high; let _ = high::Part; }", &[PART]);
    is_found("use crate::high;", &["1: imports high of src/high/mod.rs"]);
    is_found(
        "use crate::high::*;",
        &["1: imports high of src/high/mod.rs"],
    );
    is_found(
        "use crate::high::*;\nfn f(_: Deep) {}",
        &[
            "1: imports high of src/high/mod.rs",
            "2: imports Deep of src/high/deep.rs",
        ],
    );
}

#[test]
fn of_paths_in_types_and_expressions() {
    is_found("fn f(_: crate::high::Own) {}", &[OWN]);
    is_found(
        "fn f() { crate::high::part(); }",
        &["1: imports part of src/high/part.rs"],
    );
    is_found(
        "fn f() { super::high::part() }",
        &["1: imports part of src/high/part.rs"],
    );
    is_found("struct S { field: Vec<crate::high::Own> }", &[OWN]);
    is_found(
        "impl crate::high::face::Face for S {}",
        &["1: imports Face of src/high/face.rs"],
    );
    is_found(
        "fn f<T: crate::high::face::Face>() {}",
        &["1: imports Face of src/high/face.rs"],
    );
    is_found(
        "type T = <u8 as crate::high::face::Face>::X;",
        &["1: imports Face of src/high/face.rs"],
    );
    is_found(
        "fn f(k: K) { match k { crate::high::Kind::One => {} } }",
        &[KIND],
    );
    is_found(
        "const C: u8 = crate::high::PART + 1;",
        &["1: imports PART of src/high/part.rs"],
    );
    is_found("fn f() { crate::high::Own {}; }", &[OWN]);
    is_found(
        "fn f() { let c = || crate::high::part(); }",
        &["1: imports part of src/high/part.rs"],
    );
    is_found("mod inner { fn f(_: super::super::high::Own) {} }", &[OWN]);
}

#[test]
fn of_macros_and_attributes() {
    is_found(
        "fn f() { assert_eq!(1, crate::high::PART); }",
        &["1: imports PART of src/high/part.rs"],
    );
    is_found(
        "fn f() { vec![{ super::high::part() }]; }",
        &["1: imports part of src/high/part.rs"],
    );
    is_found(
        "fn f() { crate::shout!(); }",
        &["1: imports shout of src/high/face.rs"],
    );
    is_found(
        "macro_rules! m { () => { $crate::high::part() } }",
        &["1: imports part of src/high/part.rs"],
    );
    is_found(
        "macro_rules! m { () => { use crate::high::{Own, Part}; } }",
        &[OWN, PART],
    );
    is_found("#[serde(with = \"crate::high::Own\")]\nstruct S;", &[OWN]);
    is_found(
        "#[arg(value_parser = crate::high::part)]\nstruct S;",
        &["1: imports part of src/high/part.rs"],
    );
    is_found(
        "const T: &str = include_str!(\"high/part.rs\");",
        &["1: imports the text of src/high/part.rs"],
    );
    is_found(
        "fn f() { x!(a.high::Part, a::<T>::high::Part); }",
        &[] as &[&str],
    );
}

#[test]
fn what_is_none() {
    for low in [
        "use std::high::Own;",
        "use high::Own;",
        "pub(in crate::high) struct S;",
        "/// [`crate::high::Own`]\nstruct S;",
        "fn f() { let high = 1; high; \"crate::high::Own\"; }",
        "fn f(own: impl Sized) { own.part(); }",
        "struct Own; fn f(_: Own) {}",
        "mod high { pub struct Own; } fn f(_: high::Own) {}",
        "use round::round; fn f() { round::x(); }",
    ] {
        is_found(low, &[] as &[&str]);
    }
}

#[test]
fn a_module_that_lists_its_parts_knows_nothing_of_them() {
    let parts = |root| {
        let files = [
            ("src/lib.rs", root),
            ("src/a.rs", "use super::Root;\npub struct A;\n"),
        ];
        package("src: a lib", &files).findings
    };
    let up = "src/a.rs:1: imports Root of src/lib.rs: in src, a and lib know nothing of each other";
    assert_eq!(parts("mod a;\npub struct Root;\npub use a::A;\n"), [up]);
    assert_eq!(
        parts("mod a;\npub struct Root;\npub(crate) use self::a::{A as Other};\n"),
        [up]
    );
    // A name that `mod.rs` uses itself counts.
    assert_eq!(
        parts("mod a;\npub struct Root;\npub use a::A;\nfn f(_: A) {}\n").len(),
        3
    );
    assert_eq!(parts("mod a;\npub struct Root;\nuse a::A;\n").len(), 3);
    assert_eq!(
        parts("mod a;\npub struct Root;\nfn f(_: a::A) {}\n").len(),
        3
    );
}

#[test]
fn files_of_modules_are_found_wherever_they_are() {
    let files = [
        (
            "src/lib.rs",
            "mod low;\nmod b { pub mod nested; #[path = \"renamed.rs\"] pub mod other; }\n#[path = \"far/away.rs\"]\nmod c;\n",
        ),
        ("src/low.rs", "mod child;\n"),
        (
            "src/low/child.rs",
            "use crate::{b::nested::N, b::other::O, c::C};\n",
        ),
        ("src/b/nested.rs", "pub struct N;\n"),
        ("src/b/renamed.rs", "pub struct O;\n"),
        ("src/far/away.rs", "pub struct C;\n"),
    ];
    assert_eq!(
        package("src: low < b far < lib", &files).findings,
        [
            "src/low/child.rs:1: imports N of src/b/nested.rs: in src, low < b",
            "src/low/child.rs:1: imports O of src/b/renamed.rs: in src, low < b",
            "src/low/child.rs:1: imports C of src/far/away.rs: in src, low < far",
        ]
    );
}

#[test]
fn sources_that_cannot_be_read_are_named() {
    for (lib, error) in [
        (
            "mod a;\n\nmod gone;\n",
            "src/lib.rs:3: there is no file for module gone: src/gone/mod.rs",
        ),
        ("mod a;\nfn ( {}\n", "src/lib.rs:2: "),
    ] {
        let files = [
            ("Cargo.toml", "[package]\nname = 'p'\n"),
            ("src/lib.rs", lib),
            ("src/a.rs", ""),
        ];
        let got = try_read(&super::architecture(".: src"), &files)
            .unwrap_err()
            .to_string();
        assert!(got.starts_with(error), "{got}");
    }
}
