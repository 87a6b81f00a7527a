//! Many participants on signaling servers that share their rooms. No media.

use serde_json::json;

mod options; // what to measure, and where
pub mod files; // what the kernel must allow for so many connections
pub mod rooms; // rooms of the participants
pub mod tally; // what a receiver should have heard
pub mod board; // events that all participants receive
pub mod wire; // one's connection
pub mod crowd; // the participants
pub mod chat; // what they say
pub mod raw; // what Redis delivers by itself
mod storm; // a storm of joins, chat, and the return of all participants
mod large; // one room of thousands beside others

use crate::host::facts::{self, Facts};
pub use options::Options;

/// Measures, and says it as one line of JSON.
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
