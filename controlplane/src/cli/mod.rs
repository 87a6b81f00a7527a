//! The commands of `spillway`: their arguments, and the functions that run them.

mod cost; // traffic and money of a broadcast
mod turn; // TURN credentials and allocations
mod client; // client of the admin API
mod url; // URL of the control plane, from --url
mod secrets; // hides secrets of the command line and the environment
mod show; // tables of rooms and nodes
mod token; // creates tokens

use crate::terminal::print_line;
pub use crate::terminal::{print_error, report};

use clap::{ArgMatches, Args as _, Command, FromArgMatches as _};

use crate::config::{Config, Role, SETTINGS};
use crate::{serve, up};

/// The command line with all subcommands.
pub fn command() -> Command {
    let up_command = Command::new("up").about("Run everything: signaling, the page, a data plane");
    let serve_command =
        Command::new("serve").about("Run signaling for a data plane that runs elsewhere");
    Command::new("spillway")
        .about("WebRTC rooms from 1 to 1,000,000 participants")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(spillway_settings::command(up_command, SETTINGS))
        .subcommand(spillway_settings::command(serve_command, SETTINGS))
        .subcommand(
            group("token", "Tokens, which open rooms")
                .subcommand(token::Create::augment_args(Command::new("create"))),
        )
        .subcommand(
            group("room", "Rooms of a running control plane")
                .subcommand(show::RoomLs::augment_args(Command::new("ls")))
                .subcommand(show::RoomShow::augment_args(Command::new("show"))),
        )
        .subcommand(
            group("node", "Data planes of a running control plane")
                .subcommand(show::NodeLs::augment_args(Command::new("ls"))),
        )
        .subcommand(
            group("turn", "The relay for clients that no datagram reaches")
                .subcommand(turn::Mint::augment_args(Command::new("credential")))
                .subcommand(turn::Ls::augment_args(Command::new("ls"))),
        )
        .subcommand(cost::Cost::augment_args(Command::new("cost")))
}

/// Runs the subcommand in `matches`.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    match subcommand(matches) {
        ("up", matches) => match configure(matches, Role::Up)? {
            Some(config) => runtime()?.block_on(up::run(config)),
            None => Ok(()),
        },
        ("serve", matches) => match configure(matches, Role::Serve)? {
            Some(config) => runtime()?.block_on(serve::run(config)),
            None => Ok(()),
        },
        ("token", matches) => match subcommand(matches) {
            ("create", matches) => token::Create::from_arg_matches(matches)?.run(),
            (other, _) => unreachable!("clap knows no token {other}"),
        },
        ("room", matches) => match subcommand(matches) {
            ("ls", matches) => show::RoomLs::from_arg_matches(matches)?.run(),
            ("show", matches) => show::RoomShow::from_arg_matches(matches)?.run(),
            (other, _) => unreachable!("clap knows no room {other}"),
        },
        ("node", matches) => match subcommand(matches) {
            ("ls", matches) => show::NodeLs::from_arg_matches(matches)?.run(),
            (other, _) => unreachable!("clap knows no node {other}"),
        },
        ("turn", matches) => match subcommand(matches) {
            ("credential", matches) => turn::Mint::from_arg_matches(matches)?.run(),
            ("ls", matches) => turn::Ls::from_arg_matches(matches)?.run(),
            (other, _) => unreachable!("clap knows no turn {other}"),
        },
        ("cost", matches) => cost::Cost::from_arg_matches(matches)?.run(),
        (other, _) => unreachable!("clap knows no {other}"),
    }
}

fn group(name: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .about(about)
        .subcommand_required(true)
        .arg_required_else_help(true)
}

fn subcommand(matches: &ArgMatches) -> (&str, &ArgMatches) {
    matches.subcommand().expect("clap requires a subcommand")
}

/// Reads the configuration and starts the log. `None` if the configuration is only checked
/// (`--check`).
fn configure(matches: &ArgMatches, role: Role) -> anyhow::Result<Option<Config>> {
    let config = Config::gather_with(matches, role, &secrets::hide(SETTINGS)?)?;
    for warning in &config.warnings {
        print_error(&format!("warning: {warning}"));
    }
    if spillway_settings::is_check(matches) {
        config.check_files()?;
        print_line(&format!("{}the configuration is good", config.effective))?;
        return Ok(None);
    }
    spillway_settings::start_log(&config.log)
        .map_err(|error| anyhow::anyhow!("log '{}': {error}", config.log))?;
    print_error(&format!("effective configuration:\n{}", config.effective));
    Ok(Some(config))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}
