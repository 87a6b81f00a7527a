//! The stated order, and errors in it.

use super::{architecture, package, try_read};

const A_OF_B: &[(&str, &str)] = &[
    ("src/lib.rs", "mod a;\nmod b;\n"),
    ("src/a.rs", "use crate::b::B;\n"),
    ("src/b.rs", "pub struct B;\n"),
];

#[test]
fn a_higher_layer_imports_from_a_lower_one() {
    let report = package("src: b < a < lib", A_OF_B);
    assert_eq!(report.findings, [""; 0]);
    assert_eq!(
        report.line(),
        r#"{"suite":"layers","files":3,"imports":1,"upward":0,"circles":0}"#
    );
}

#[test]
fn a_lower_layer_that_imports_from_a_higher_one_is_found() {
    let report = package("src: a < b < lib", A_OF_B);
    assert_eq!(
        report.findings,
        ["src/a.rs:1: imports B of src/b.rs: in src, a < b"]
    );
    assert_eq!(
        report.line(),
        r#"{"suite":"layers","files":3,"imports":1,"upward":1,"circles":0}"#
    );
}

#[test]
fn names_on_one_level_know_nothing_of_each_other() {
    let report = package("src: a b < lib", A_OF_B);
    assert_eq!(
        report.findings,
        ["src/a.rs:1: imports B of src/b.rs: in src, a and b know nothing of each other"]
    );
}

#[test]
fn a_name_without_a_place_is_found() {
    let report = package("src: b < lib", A_OF_B);
    assert_eq!(
        report.findings,
        ["src/a.rs:1: a has no place in the layers of src (ARCHITECTURE.md:6)"]
    );
}

#[test]
fn a_place_without_a_name_is_found() {
    let report = package("src: b gone < a < lib", A_OF_B);
    assert_eq!(
        report.findings,
        ["ARCHITECTURE.md:6: src has no gone with sources"]
    );
}

#[test]
fn a_folder_is_a_name_with_all_that_is_in_it() {
    let files = [
        ("src/lib.rs", "mod a;\nmod b;\n"),
        ("src/a/mod.rs", "mod inner;\n"),
        ("src/a/inner.rs", "use crate::b::deep::Deep;\n"),
        ("src/b/mod.rs", "pub mod deep;\n"),
        ("src/b/deep.rs", "pub struct Deep;\n"),
    ];
    assert_eq!(package("src: b < a < lib", &files).findings, [""; 0]);
    assert_eq!(
        package("src: a < b < lib", &files).findings,
        ["src/a/inner.rs:1: imports Deep of src/b/deep.rs: in src, a < b"]
    );
}

#[test]
fn a_folder_without_a_line_has_no_order() {
    assert_eq!(package(".: src", A_OF_B).findings, [""; 0]);
}

#[test]
fn each_line_is_of_its_own_folder() {
    let report = package("src: a < b < lib\n\n.: src", A_OF_B);
    assert_eq!(report.findings.len(), 1);
}

#[test]
fn an_order_that_cannot_be_read_is_an_error() {
    let block = architecture;
    for (document, error) in [
        (
            "# Architecture\n".to_owned(),
            "ARCHITECTURE.md has no block ```layers: no order is stated",
        ),
        (
            "```layers\nsrc: a\n".to_owned(),
            "ARCHITECTURE.md:1: the block that begins here does not end",
        ),
        (
            block("src a < b"),
            "ARCHITECTURE.md:6: 'src a < b' is not `path: name < name`",
        ),
        (
            block("src: a <"),
            "ARCHITECTURE.md:6: 'src: a <' is not `path: name < name`",
        ),
        (
            block("src: a < < b"),
            "ARCHITECTURE.md:6: 'src: a < < b' is not `path: name < name`",
        ),
        (
            block(": a"),
            "ARCHITECTURE.md:6: ': a' is not `path: name < name`",
        ),
        (
            block("src: a < b a"),
            "ARCHITECTURE.md:6: name 'a' stands twice",
        ),
        (
            block("src: a\nsrc: b"),
            "ARCHITECTURE.md:7: folder 'src' stands twice",
        ),
    ] {
        let got = try_read(&document, A_OF_B).unwrap_err();
        assert_eq!(got.to_string(), error);
    }
    let got = crate::report(&crate::Sources::default()).unwrap_err();
    assert_eq!(got.to_string(), "there is no ARCHITECTURE.md");
}
