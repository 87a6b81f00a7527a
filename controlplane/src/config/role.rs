//! The command whose settings are read (`up` or `serve`), and settings that may be empty.

use std::str::FromStr;

use spillway_settings::{Mistakes, Values};

/// The command whose settings are read. Some defaults depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `spillway up`: server and data plane together.
    Up,
    /// `spillway serve`: signaling for a data plane that runs elsewhere.
    Serve,
}

/// Parses a setting that may be empty: `Some(None)` if it is empty, `None` after a mistake.
pub(super) fn optional<T>(values: &Values, name: &str, mistakes: &mut Mistakes) -> Option<Option<T>>
where
    T: FromStr<Err: std::fmt::Display>,
{
    if values.text(name).is_empty() {
        return Some(None);
    }
    values.parse(name, mistakes).map(Some)
}
