//! Output of commands: answers to stdout, errors to stderr, as text or as one line of JSON each. A closed stdout is
//! not an error.

use std::io::{self, Write as _};

use serde::Serialize;
use serde_json::json;

/// Only a part of the output could be written to stdout.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// Its reader has gone, as `head` does.
    #[error("the reader of stdout has closed it")]
    Closed,
    /// Such as a full disk.
    #[error("cannot write to the standard output: {0}")]
    Failed(io::Error),
}

/// An error in the words of the server, where it has some.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refused {
    /// For programs: a code of the server.
    pub(crate) code: String,
    /// Description of the error, for people.
    pub(crate) message: String,
}

/// Writes `text` and a line's end.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
    written.map_err(|error| {
        anyhow::Error::new(match error.kind() {
            io::ErrorKind::BrokenPipe => OutputError::Closed,
            _ => OutputError::Failed(error),
        })
    })
}

/// Writes `value` as one line.
pub(crate) fn say_json(value: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string(value)?)
}

/// Prints why a command failed. False if it did not fail: its reader has closed the output.
pub fn report(error: &anyhow::Error, is_json: bool) -> bool {
    if matches!(error.downcast_ref(), Some(OutputError::Closed)) {
        return false;
    }
    let said = format!("{error:#}");
    match is_json {
        true => {
            let refused = error
                .chain()
                .find_map(|cause| cause.downcast_ref::<Refused>());
            let code = refused.map_or("failed", |refused| &refused.code);
            complain(&json!({"code": code, "message": said}).to_string());
        }
        false => complain(&format!("spillway: {said}")),
    }
    true
}

/// Writes to the standard error, which may be closed.
pub fn complain(text: &str) {
    // A failed write to stderr cannot be reported anywhere else.
    let _ = writeln!(io::stderr(), "{text}");
}
