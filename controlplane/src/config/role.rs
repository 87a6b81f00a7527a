//! The command that is configured (`up` or `serve`), and its optional settings.

use std::str::FromStr;

use spillway_settings::{Mistakes, Values};

/// The command that is configured; some defaults depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `spillway up`: server and data plane together.
    Up,
    /// Signaling for a data plane that runs elsewhere.
    Serve,
}

/// `Some(None)` for nothing given, `None` for a mistake.
pub(super) fn optional<T>(values: &Values, name: &str, mistakes: &mut Mistakes) -> Option<Option<T>>
where
    T: FromStr<Err: std::fmt::Display>,
{
    if values.text(name).is_empty() {
        return Some(None);
    }
    values.parse(name, mistakes).map(Some)
}
