//! `spillway`: signaling, rooms, the page and the CLI. What each command does is in `cli`.

/// Thousands of handshakes leave holes between what their sockets keep; this allocator gives them back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let matches = spillway_controlplane::cli::command().get_matches();
    match spillway_controlplane::cli::run(&matches) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("spillway: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
