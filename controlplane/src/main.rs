//! The program `spillway`: signaling, rooms, the page and the command line. [`cli`] has the
//! commands.

/// TLS handshakes fragment the heap around long-lived sockets; mimalloc returns that memory to the
/// system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::process::ExitCode;

use spillway_controlplane::cli;

/// Exit code of clap for a wrong command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let is_json = std::env::args_os().any(|argument| argument == "--json");
    let matches = match cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) if is_json && error.use_stderr() => {
            let message = error.to_string();
            let message = message.trim_start_matches("error: ").trim_end();
            cli::print_error(&serde_json::json!({"code": "usage", "message": message}).to_string());
            return ExitCode::from(USAGE);
        }
        Err(error) => error.exit(),
    };
    match cli::run(&matches) {
        Err(error) if cli::report(&error, is_json) => ExitCode::FAILURE,
        Ok(()) | Err(_) => ExitCode::SUCCESS,
    }
}
