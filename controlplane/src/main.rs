//! `spillway`: signaling, rooms, the page and the CLI. What each command does is in `cli`.

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
