//! Test code is exempt; other code is not.

use super::package;

/// Number of findings for a file `low` with this text, which must not import `high`.
fn findings(low: &str) -> usize {
    let files = [
        ("src/lib.rs", "mod low;\nmod high;\n"),
        ("src/low.rs", low),
        ("src/low/tests.rs", "use crate::high::H;\n"),
        ("src/low/drill.rs", "use crate::high::H;\n"),
        ("src/high.rs", "pub struct H;\n"),
    ];
    package("src: low < high < lib", &files).findings.len()
}

#[test]
fn tests_are_exempt() {
    for low in [
        "#[cfg(test)] use crate::high::H;",
        "#[cfg(test)] mod drill;",
        "#[cfg(test)] mod inner { use crate::high::H; }",
        "#[cfg(all(test, unix))] use crate::high::H;",
        "#[cfg(all(unix, any(test, all(test, windows))))] use crate::high::H;",
        "#[cfg(not(not(test)))] use crate::high::H;",
        "#[cfg(test)] fn f(_: crate::high::H) {}",
        "struct S; impl S { #[cfg(test)] fn f(_: crate::high::H) {} }",
        "trait T { #[cfg(test)] fn f(_: crate::high::H); }",
        "struct S { #[cfg(test)] h: crate::high::H }",
        "enum E { #[cfg(test)] H(crate::high::H) }",
        "fn f() { #[cfg(test)] let h = crate::high::H; }",
        "fn f() { #[cfg(test)] crate::high::f(); }",
        "fn f() { #[cfg(test)] assert!(crate::high::f()); }",
        "fn f() { S { #[cfg(test)] h: crate::high::H } }",
        "fn f() { match 1 { #[cfg(test)] 1 => crate::high::f(), _ => {} } }",
        "fn f() { #[cfg(test)] use crate::high; high::f(); }",
        "mod tests;",
    ] {
        assert_eq!(findings(low), 0, "{low}");
    }
}

#[test]
fn nothing_else_is() {
    for low in [
        "use crate::high::H;",
        "#[cfg(not(test))] use crate::high::H;",
        "#[cfg(any(test, unix))] use crate::high::H;",
        "#[cfg(unix)] use crate::high::H;",
        "#[cfg_attr(test, derive(Debug))] struct S(crate::high::H);",
        "mod drill;",
        "#[test] fn f() { crate::high::f() }",
    ] {
        assert_eq!(findings(low), 1, "{low}");
    }
}

#[test]
fn a_name_of_tests_alone_needs_no_place() {
    let files = [
        ("src/lib.rs", "#[cfg(test)] mod rig;\nmod a;\n"),
        ("src/rig.rs", ""),
        ("src/a.rs", "#![cfg(test)]\nuse crate::rig;"),
    ];
    assert_eq!(package("src: lib", &files).findings, [""; 0]);
}
