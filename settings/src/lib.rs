//! Settings from one table, each given as a flag, an environment variable or a TOML key.
//!
//! A program describes its settings as a `&[Setting]`. This crate makes clap flags of the table,
//! reads the environment and the file, and returns each value with its source. All wrong settings
//! are collected in [`Mistakes`] and reported together. The program defines what the values mean.

mod setting; // one setting of the table
mod nearest; // closest known name
mod environment; // environment variables
mod file; // the configuration file
mod log; // log filters, and the start of the log
mod mistakes; // list of all wrong settings
mod secret; // values that are masked in output
mod source; // where a value comes from
mod values; // the gathered values and their typed views

pub use environment::NAMES;
pub use log::{check_log, start_log};
pub use mistakes::Mistakes;
pub use secret::secret;
pub use setting::Setting;
pub use source::Source;
pub use values::{Given, Values};

use clap::{Arg, ArgAction, ArgMatches, Command};

/// Adds `--config FILE`, `--check` and a flag for each setting of `table` to `command`.
///
/// Values remain text: [`Values`] reports all wrong values together.
pub fn command(command: Command, table: &[Setting]) -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .env("SPILLWAY_CONFIG")
        .help("TOML file with any of the settings below as keys");
    let check = Arg::new("check")
        .long("check")
        .action(ArgAction::SetTrue)
        .help("Check the settings, show them, and exit");
    table
        .iter()
        .fold(command.arg(config).arg(check), |command, setting| {
            let help = if setting.default.is_empty() {
                format!("{} [env: {}]", setting.help, setting.env())
            } else {
                let (default, env) = (setting.default, setting.env());
                format!("{} [default: {default}] [env: {env}]", setting.help)
            };
            let flag = Arg::new(setting.name)
                .long(setting.name)
                .value_name("VALUE")
                .allow_hyphen_values(true)
                .help(help);
            command.arg(flag)
        })
}

/// True with `--check`: the settings are only checked.
pub fn is_check(matches: &ArgMatches) -> bool {
    matches.get_flag("check")
}
