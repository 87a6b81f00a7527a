//! Output of commands: results to stdout, errors to stderr, as text or as one line of JSON. A
//! closed stdout is not an error.

use std::io::{self, Write as _};

use serde::Serialize;
use serde_json::json;

/// Writing to stdout failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// The reader has closed it, for example `head`.
    #[error("the reader of stdout has closed it")]
    Closed,
    /// Another error, for example a full disk.
    #[error("cannot write to the standard output: {0}")]
    Failed(io::Error),
}

/// An error that the server returned.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refused {
    /// Error code of the server.
    pub(crate) code: String,
    /// Description of the error, for people.
    pub(crate) message: String,
}

/// Prints `text` and a newline to stdout.
pub(crate) fn print_line(text: &str) -> anyhow::Result<()> {
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

/// Prints `value` as one line of JSON to stdout.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print_line(&serde_json::to_string(value)?)
}

/// Prints the error of a command. False if there is nothing to report, because the reader has
/// closed stdout.
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
            print_error(&json!({"code": code, "message": said}).to_string());
        }
        false => print_error(&format!("spillway: {said}")),
    }
    true
}

/// Prints to stderr, which may be closed.
pub fn print_error(text: &str) {
    // There is no other place to report a failed write to stderr.
    let _ = writeln!(io::stderr(), "{text}");
}
