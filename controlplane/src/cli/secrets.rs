//! Hides secrets from other users: flags are visible in `ps`, and environment variables in `/proc`
//! and in child processes. The process executes itself again without them, and reads them from a
//! pipe at standard input. Its process id stays the same.
//!
//! Flags are visible for a moment before that. A file (`@/path`) is never visible.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use spillway_settings::{Given, Setting, Source};

/// Environment variable: the secrets are at standard input.
const MARK: &str = "SPILLWAY_SECRETS_ON_STDIN";
/// Number of bytes that a pipe accepts before they are read.
const PIPE_BYTES: usize = 64 * 1024;

/// Secrets by name of the setting; true if the secret came from a flag.
type Found = BTreeMap<String, (String, bool)>;

/// Removes the secrets of `table` from the command line and the environment. If it finds any, it
/// executes the process again; that process returns the secrets.
pub(super) fn hide(table: &'static [Setting]) -> anyhow::Result<Given> {
    if std::env::var_os(MARK).is_some() {
        return handed_over(table);
    }
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let (arguments, mut found) = without_secrets(arguments.collect(), table);
    let mut command = match std::env::current_exe() {
        Ok(path) => Command::new(path),
        // Continue without hiding: serving is more important.
        Err(_) => return Ok(Given::default()),
    };
    for setting in table.iter().filter(|setting| setting.is_secret()) {
        let given = std::env::var(setting.env()).ok();
        if let Some(value) = given.filter(|value| is_to_hide(setting, value)) {
            command.env_remove(setting.env());
            let (name, is_flag) = (setting.name.to_owned(), false);
            found.entry(name).or_insert((value, is_flag));
        }
    }
    let written = serde_json::to_vec(&found).context("secrets are plain text")?;
    if found.is_empty() || written.len() > PIPE_BYTES {
        return Ok(Given::default());
    }
    let (reader, mut writer) = std::io::pipe().context("cannot make a pipe for secrets")?;
    writer
        .write_all(&written)
        .context("cannot hand secrets over")?;
    drop(writer);
    command
        .arg0(program)
        .args(arguments)
        .env(MARK, "1")
        .stdin(Stdio::from(reader));
    // `exec` returns only on failure. Signal handlers and stdin may have changed by then, so the
    // process must end.
    let error = command.exec();
    let names: Vec<_> = found.into_keys().collect();
    Err(error).with_context(|| {
        format!(
            "cannot execute this program anew without the secrets it was given ({}): put each into a file and give \
             @/path of it",
            names.join(", ")
        )
    })
}

fn handed_over(table: &'static [Setting]) -> anyhow::Result<Given> {
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    read.with_context(|| format!("{MARK} is set, but there are no secrets at the standard input"))?;
    let found: Found = serde_json::from_str(&text).with_context(|| {
        format!("{MARK} is set, but what is at the standard input is no secret")
    })?;
    let mut given = Given::default();
    for setting in table {
        if let Some((value, is_flag)) = found.get(setting.name) {
            let source = match is_flag {
                true => Source::Flag(setting.name),
                false => Source::Environment(setting.env()),
            };
            given.add(setting.name, (value.clone(), source));
        }
    }
    Ok(given)
}

/// Splits the arguments into those without secrets, and the secrets.
fn without_secrets(arguments: Vec<OsString>, table: &'static [Setting]) -> (Vec<OsString>, Found) {
    let (mut kept, mut found) = (Vec::new(), Found::new());
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy().into_owned();
        let flag = text.strip_prefix("--").unwrap_or_default();
        let (name, inline) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let Some(setting) = table.iter().find(|setting| setting.name == name) else {
            kept.push(argument);
            continue;
        };
        // The flag of every setting takes a value, in the same or in the next argument.
        let separate = match &inline {
            Some(_) => None,
            None => arguments.next(),
        };
        let value = inline.or_else(|| Some(separate.as_ref()?.to_string_lossy().into_owned()));
        match value.filter(|value| setting.is_secret() && is_to_hide(setting, value)) {
            Some(value) => {
                found.insert(setting.name.to_owned(), (value, true));
            }
            None => kept.extend([argument].into_iter().chain(separate)),
        }
    }
    (kept, found)
}

/// True if the value is secret: not the path of a file, nor a store URL without a password.
fn is_to_hide(setting: &Setting, value: &str) -> bool {
    let is_public_store = setting.name == "store" && !value.contains('@');
    !value.is_empty() && !value.starts_with('@') && !is_public_store
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SETTINGS;

    fn split(arguments: &[&str]) -> (Vec<String>, Found) {
        let arguments = arguments.iter().map(OsString::from).collect();
        let (kept, found) = without_secrets(arguments, SETTINGS);
        let text = |argument: OsString| argument.into_string().unwrap();
        (kept.into_iter().map(text).collect(), found)
    }

    #[test]
    fn secrets_leave_the_command_line_in_both_notations() {
        let (kept, found) = split(&[
            "serve",
            "--listen",
            "127.0.0.1:1",
            "--keys",
            "K:secret",
            "--admin-token=token",
            "--store",
            "redis://:pass@host",
            "--log",
            "--keys",
            "--turn-secret",
            "s",
        ]);
        // `--keys` after `--log` is the value of `--log`.
        assert_eq!(
            kept,
            ["serve", "--listen", "127.0.0.1:1", "--log", "--keys"]
        );
        let names: Vec<_> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["admin-token", "keys", "store", "turn-secret"]);
        assert_eq!(found["keys"], ("K:secret".to_owned(), true));
    }

    #[test]
    fn names_of_files_and_what_is_no_secret_stay() {
        let arguments = [
            "up",
            "--keys",
            "@/run/keys",
            "--store=memory",
            "--store",
            "redis://host",
            "--tls-key",
            "key.pem",
            "--keys",
        ];
        let (kept, found) = split(&arguments);
        assert_eq!(kept, arguments);
        assert!(found.is_empty());
    }
}
