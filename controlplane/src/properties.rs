//! What the properties of this crate share. A property is a test for generated input, in a file
//! `properties.rs` in the folder of the code.

use proptest::test_runner::Config;

/// Configuration of a property with `cases` generated inputs; `PROPTEST_CASES` replaces the number.
/// A failure prints the shortest input found and writes no file: an input that found a bug becomes
/// a test with a name.
pub(crate) fn config(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    }
}
