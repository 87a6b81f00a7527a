//! Lines to the standard output.

use std::io::{ErrorKind, Write as _};

/// Writes a line to the standard output; false where it cannot be written. A reader that has gone is no error.
pub fn say(line: &str) -> bool {
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => true,
        Err(error) => error.kind() == ErrorKind::BrokenPipe,
    }
}
