//! One table of settings, three ways to give each: flag = environment variable = TOML key.
//!
//! A program describes what it can be told as a `&[Setting]`; this crate turns the table into clap
//! flags, reads the environment and the file, and answers "what is the value, and who said so".
//! Parsing never stops at the first mistake: all are collected in [`Mistakes`] and shown together.
//! What the values mean is the program's business, not this crate's.

mod environment; // variables that begin as ours do
mod file; // the configuration file
mod log; // what may be logged
mod mistakes; // everything that is wrong, reported at once
mod secret; // values that nobody is shown
mod source; // who gave a value
mod values; // the gathered values and their typed views

pub use environment::NAMES;
pub use log::check_log;
pub use mistakes::Mistakes;
pub use secret::secret;
pub use source::Source;
pub use values::{Given, Values};

use clap::{Arg, ArgAction, ArgMatches, Command};

/// One thing a program can be told.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Flag and TOML key, kebab-case; the environment variable is derived by [`Setting::env`].
    pub name: &'static str,
    /// What holds when nobody says anything; empty when there is no default.
    pub default: &'static str,
    /// One line for `--help`, with the unit.
    pub help: &'static str,
}

impl Setting {
    /// `udp-port` is `SPILLWAY_UDP_PORT`.
    pub fn env(&self) -> String {
        let upper = self.name.to_ascii_uppercase().replace('-', "_");
        format!("SPILLWAY_{upper}")
    }

    /// Whether the value is shown to nobody. Such a value may be in a file: `@/path` names it.
    pub fn is_secret(&self) -> bool {
        secret::is_secret(self.name)
    }
}

/// Adds `--config FILE`, `--check` and a flag for each setting of `table` to `command`.
///
/// Values stay text here: a wrong one is reported by [`Values`] together with all others.
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

/// Whether the settings are only to be checked.
pub fn is_check(matches: &ArgMatches) -> bool {
    matches.get_flag("check")
}

/// The one of `names` that differs in a few letters at most.
fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const LETTERS: usize = 3;
    let closest = names.map(|name| (distance(text, name), name)).min();
    closest
        .filter(|(distance, _)| *distance <= LETTERS)
        .map(|(_, name)| name)
}

/// Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replace = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
