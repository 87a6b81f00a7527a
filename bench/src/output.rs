//! Lines to the standard output.

use std::io::{ErrorKind, Write as _};

/// Writes a line to stdout. False if that fails; a closed pipe is not a failure.
pub fn say(line: &str) -> bool {
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => true,
        Err(error) => error.kind() == ErrorKind::BrokenPipe,
    }
}
