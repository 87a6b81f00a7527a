//! Where the value of a setting comes from.

use std::fmt;
use std::path::PathBuf;

/// Source of a setting's value; later variants override earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The default of the setting's table.
    Default,
    /// A key of the configuration file, in this line.
    File(PathBuf, usize),
    /// The environment variable with this name.
    Environment(String),
    /// A command line flag.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => write!(f, "default"),
            Source::File(path, line) => write!(f, "file {}, line {line}", path.display()),
            Source::Environment(name) => write!(f, "environment {name}"),
            Source::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}
