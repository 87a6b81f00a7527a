//! Many participants on signaling servers that share their rooms. No media.

use serde_json::json;

mod options; // command line options
pub mod files; // limits of open files and ports
pub mod rooms; // rooms of the participants
pub mod tally; // events that a receiver must get
pub mod board; // events that all participants receive
pub mod wire; // WebSocket connection of a participant
pub mod crowd; // the participants
pub mod chat; // chat messages at a fixed rate
pub mod raw; // delivery rate of Redis alone
mod storm; // a storm of joins, chat, and the return of all participants
mod large; // one room of thousands beside small rooms

use crate::host::facts::{self, Facts};
pub use options::Options;

/// Runs the benchmark. Returns the result as one line of JSON.
pub fn run(options: &Options) -> anyhow::Result<String> {
    files::allow(options.participants())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let measured = async {
        match options.room {
            Some(large) => large::measure(options, large as usize).await,
            None => storm::measure(options).await,
        }
    };
    let mut result = runtime.block_on(measured)?;
    // All connections are closed.
    runtime.shutdown_background();
    result["command"] = json!(facts::command_line());
    result["host"] = serde_json::to_value(Facts::gather(None))?;
    Ok(result.to_string())
}
