//! Files that import each other.

use super::package;

#[test]
fn two_files_that_import_each_other_are_a_circle() {
    let files = [
        ("src/lib.rs", "mod a;\nmod b;\n"),
        ("src/a.rs", "\nuse crate::b::{B, C};\npub struct A;\n"),
        (
            "src/b.rs",
            "pub struct B;\npub struct C;\nfn f(_: super::a::A) {}\n",
        ),
    ];
    let report = package(".: src", &files);
    assert_eq!(
        report.findings,
        [
            "src/a.rs:2: a circle of 2 files: src/a.rs:2 imports B, C of src/b.rs; src/b.rs:3 imports A of src/a.rs"
        ]
    );
    assert_eq!(
        report.line(),
        r#"{"suite":"layers","files":3,"imports":3,"upward":0,"circles":1}"#
    );
}

#[test]
fn a_part_that_needs_the_module_which_needs_the_part_is_one() {
    let files = [
        ("src/lib.rs", "mod room;\n"),
        (
            "src/room/mod.rs",
            "mod lane;\npub struct Room { lane: lane::Lane }\n",
        ),
        ("src/room/lane.rs", "use super::Room;\npub struct Lane;\n"),
    ];
    assert_eq!(
        package(".: src", &files).findings,
        [
            "src/room/lane.rs:1: a circle of 2 files: src/room/lane.rs:1 imports Room of src/room/mod.rs; \
          src/room/mod.rs:2 imports Lane of src/room/lane.rs"
        ]
    );
}

#[test]
fn of_a_large_group_the_shortest_way_round_is_shown() {
    let files = [
        ("src/lib.rs", "mod a;\nmod b;\nmod c;\nmod d;\n"),
        ("src/a.rs", "use crate::b::B;\npub struct A;\n"),
        ("src/b.rs", "use crate::c::C;\npub struct B;\n"),
        ("src/c.rs", "use crate::{a::A, d::D};\npub struct C;\n"),
        ("src/d.rs", "use crate::c::C;\npub struct D;\n"),
    ];
    assert_eq!(
        package(".: src", &files).findings,
        [
            "src/c.rs:1: a circle of 4 files: src/c.rs:1 imports D of src/d.rs; src/d.rs:1 imports C of src/c.rs \
          (and 2 more: src/a.rs, src/b.rs)"
        ]
    );
}

#[test]
fn separate_groups_are_separate_circles() {
    let files = [
        ("src/lib.rs", "mod a;\nmod b;\nmod c;\nmod d;\n"),
        ("src/a.rs", "use crate::b::B;\npub struct A;\n"),
        ("src/b.rs", "use crate::{a::A, c::C};\npub struct B;\n"),
        ("src/c.rs", "use crate::d::D;\npub struct C;\n"),
        ("src/d.rs", "use crate::c::C;\npub struct D;\n"),
    ];
    assert_eq!(package(".: src", &files).findings.len(), 2);
}

#[test]
fn a_chain_is_none() {
    let files = [
        ("src/lib.rs", "mod a;\nmod b;\nmod c;\n"),
        ("src/a.rs", "use crate::b::B;\nuse crate::c::C;\n"),
        ("src/b.rs", "use crate::c::C;\npub struct B;\n"),
        ("src/c.rs", "pub struct C;\n"),
    ];
    assert_eq!(package(".: src", &files).findings, [""; 0]);
}
