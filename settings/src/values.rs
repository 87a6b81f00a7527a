//! The values of all settings, and their conversion to types.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

use clap::ArgMatches;

use crate::environment::{is_link, unread};
use crate::file::ConfigFile;
use crate::secret::{is_secret, secret};
use crate::{Mistakes, Setting, Source};

/// Values that the caller sets, with their sources.
#[derive(Debug, Clone, Default)]
pub struct Given(BTreeMap<&'static str, (String, Source)>);

impl Given {
    /// Sets the value of `name`.
    pub fn add(&mut self, name: &'static str, value: (String, Source)) {
        self.0.insert(name, value);
    }
}

/// The value of each setting of a table, with its source.
#[derive(Debug, Clone)]
pub struct Values {
    table: &'static [Setting],
    /// Mistakes in the file.
    file_mistakes: Mistakes,
    by_name: BTreeMap<&'static str, (String, Source)>,
    /// Warnings about environment variables that no program reads.
    warnings: Vec<String>,
}

impl Values {
    /// Reads flags and file from `matches`, and the environment of the process.
    ///
    /// Fails if the file is not TOML. Unknown keys and unsupported types are kept for
    /// [`mistakes`](Self::mistakes), so that they are reported together with wrong values.
    pub fn gather(matches: &ArgMatches, table: &'static [Setting]) -> Result<Self, Mistakes> {
        Self::gather_with(matches, table, &Given::default())
    }

    /// Like [`Self::gather`], with values that the caller sets.
    pub fn gather_with(
        matches: &ArgMatches,
        table: &'static [Setting],
        given: &Given,
    ) -> Result<Self, Mistakes> {
        let config: Option<&String> = matches.get_one("config");
        let file = match config {
            Some(path) => ConfigFile::read(Path::new(path), table)?,
            None => ConfigFile::default(),
        };
        let mut values = Self::merge(
            table,
            &file,
            &|name| std::env::var(name).ok(),
            &|name| matches.get_one::<String>(name).cloned(),
            given,
        )?;
        let text = |variable: std::ffi::OsString| variable.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        values.warnings = unread(variables, table);
        Ok(values)
    }

    fn merge(
        table: &'static [Setting],
        file: &ConfigFile,
        environment: &dyn Fn(&str) -> Option<String>,
        flag: &dyn Fn(&str) -> Option<String>,
        given: &Given,
    ) -> Result<Self, Mistakes> {
        let mut mistakes = Mistakes::new();
        let mut by_name = BTreeMap::new();
        for setting in table {
            let from_file = file.get(setting.name).and_then(|entry| match &entry.value {
                Ok(text) => Some((text.clone(), Source::File(file.path.clone(), entry.line))),
                Err(shape) => {
                    mistakes.push(format!(
                        "{} is a {shape}, but a string, number, boolean or array of these is wanted (from {})",
                        setting.name,
                        Source::File(file.path.clone(), entry.line)
                    ));
                    None
                }
            });
            // An orchestrator's variable with this name has the address of a service.
            let environment = |name: &str| {
                environment(name).filter(|text| !(name.ends_with("_PORT") && is_link(text)))
            };
            let from_environment =
                environment(&setting.env()).map(|v| (v, Source::Environment(setting.env())));
            let from_flag = flag(setting.name).map(|v| (v, Source::Flag(setting.name)));
            let from_elsewhere = given.0.get(setting.name).cloned();
            let (text, source) = from_flag
                .or(from_elsewhere)
                .or(from_environment)
                .or(from_file)
                .unwrap_or_else(|| (setting.default.to_owned(), Source::Default));
            let value = match setting.is_secret().then(|| secret(&text)) {
                None => (text, source),
                Some(Ok(secret)) => (secret, source),
                Some(Err(why)) => {
                    mistakes.push(format!("{}: {why} (from {source})", setting.name));
                    (String::new(), source)
                }
            };
            by_name.insert(setting.name, value);
        }
        file.unknown(table, &mut mistakes);
        Ok(Self {
            table,
            file_mistakes: mistakes,
            by_name,
            warnings: Vec::new(),
        })
    }

    /// Warnings about environment variables that look like settings but are none.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Resets `name` to its default.
    pub fn forget(&mut self, name: &'static str) {
        let defaults = self.table.iter().filter(|setting| setting.name == name);
        for setting in defaults {
            let value = (setting.default.to_owned(), Source::Default);
            self.by_name.insert(name, value);
        }
    }

    /// The mistakes in the file. Checks of values add theirs.
    pub fn mistakes(&self) -> Mistakes {
        self.file_mistakes.clone()
    }

    /// The value as text. Panics if `name` is not in the table.
    pub fn text(&self, name: &str) -> &str {
        &self.entry(name).0
    }

    /// The source of the value. Panics if `name` is not in the table.
    pub fn source(&self, name: &str) -> &Source {
        &self.entry(name).1
    }

    /// Parses the value as a `T`, or adds a mistake.
    pub fn parse<T>(&self, name: &str, mistakes: &mut Mistakes) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        self.parse_text(name, self.text(name), mistakes)
    }

    /// Parses the value as a `T` within `range`, or adds a mistake.
    pub fn parse_within<T>(
        &self,
        name: &str,
        range: RangeInclusive<T>,
        mistakes: &mut Mistakes,
    ) -> Option<T>
    where
        T: FromStr<Err: Display> + PartialOrd + Display,
    {
        let text = self.text(name);
        let Ok(value) = text.parse::<T>() else {
            let (low, high, source) = (range.start(), range.end(), self.source(name));
            mistakes.push(format!(
                "{name} '{text}' is not a number in {low}..={high} (from {source})"
            ));
            return None;
        };
        if range.contains(&value) {
            return Some(value);
        }
        let (low, high, source) = (range.start(), range.end(), self.source(name));
        mistakes.push(format!(
            "{name} {value} is outside {low}..={high} (from {source})"
        ));
        None
    }

    /// Parses the items of a comma-separated value (in TOML also an array). Empty text has no
    /// items.
    pub fn list<T>(&self, name: &str, mistakes: &mut Mistakes) -> Option<Vec<T>>
    where
        T: FromStr<Err: Display>,
    {
        let items: Vec<_> = self
            .text(name)
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| self.parse_text(name, item, mistakes))
            .collect();
        items.into_iter().collect()
    }

    /// Sets the default that applies on this host, for [`print_effective`](Self::print_effective).
    pub fn set_default(&mut self, name: &'static str, value: impl ToString) {
        if *self.source(name) == Source::Default {
            let settled = (value.to_string(), Source::Default);
            self.by_name.insert(name, settled);
        }
    }

    /// A table with each setting's effective value and source. Secrets are masked.
    pub fn print_effective(&self) -> String {
        let width = self.table.iter().map(|s| s.name.len()).max().unwrap_or(0);
        let mut out = String::new();
        for setting in self.table {
            let (value, source) = self.entry(setting.name);
            let shown = match value.as_str() {
                "" => "\"\"",
                _ if is_secret(setting.name) && *source != Source::Default => "(secret)",
                value => value,
            };
            writeln!(out, "{:width$} = {shown}  # {source}", setting.name)
                .expect("writing to a string cannot fail");
        }
        out
    }

    fn parse_text<T>(&self, name: &str, text: &str, mistakes: &mut Mistakes) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let shown = if is_secret(name) { "(secret)" } else { text };
                mistakes.push(format!(
                    "{name} '{shown}': {error} (from {})",
                    self.source(name)
                ));
                None
            }
        }
    }

    fn entry(&self, name: &str) -> &(String, Source) {
        self.by_name
            .get(name)
            .unwrap_or_else(|| panic!("setting {name} is not in the table"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Setting] = &[
        Setting {
            name: "udp-port",
            default: "7882",
            help: "",
        },
        Setting {
            name: "advertise",
            default: "",
            help: "",
        },
        Setting {
            name: "api-secret",
            default: "",
            help: "",
        },
    ];

    fn values(
        file: &str,
        env: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Values, Mistakes> {
        let find = |from: &[(&str, &str)], name: &str| {
            from.iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        };
        Values::merge(
            TABLE,
            &ConfigFile::parse(file, Path::new("a.toml")).unwrap(),
            &|name| find(env, name),
            &|name| find(flags, name),
            &Given::default(),
        )
    }

    #[test]
    fn secrets_may_be_in_files_and_other_settings_are_what_they_say() {
        let path = std::env::temp_dir().join(format!("spillway-secret-{}", std::process::id()));
        std::fs::write(&path, "first\n\n  second \n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        let named = format!("@{}", path.display());
        let flags = [("api-secret", &*named), ("advertise", &*named)];
        let read = values("", &[], &flags);
        std::fs::remove_file(&path).unwrap();
        let read = read.unwrap();
        assert_eq!(read.text("api-secret"), "first,second");
        assert_eq!(read.text("advertise"), named, "no secret");
        assert!(!read.print_effective().contains("second"));
        let gone = values("", &[], &flags).unwrap().mistakes().to_string();
        assert!(gone.contains("api-secret: cannot read"), "{gone}");
        assert!(gone.contains("from flag --api-secret"), "{gone}");
    }

    #[test]
    fn what_was_given_otherwise_wins_over_the_file_and_the_flag_over_it() {
        let mut given = Given::default();
        let source = Source::Environment("SPILLWAY_API_SECRET".to_owned());
        given.add("api-secret", ("kept".to_owned(), source.clone()));
        let file = ConfigFile::parse("api-secret = 'filed'", Path::new("a.toml")).unwrap();
        let merge = |flag: Option<&str>| {
            let flag = |name: &str| flag.filter(|_| name == "api-secret").map(str::to_owned);
            Values::merge(TABLE, &file, &|_| None, &flag, &given).unwrap()
        };
        assert_eq!(merge(None).text("api-secret"), "kept");
        assert_eq!(merge(None).source("api-secret"), &source);
        assert_eq!(merge(Some("flagged")).text("api-secret"), "flagged");
    }

    #[test]
    fn a_flag_wins_over_environment_file_and_default() {
        let env = [("SPILLWAY_UDP_PORT", "2")];
        let mut none = Mistakes::new();
        let port = |v: Values, m: &mut Mistakes| v.parse::<u16>("udp-port", m);
        let file = "udp-port = 1";
        assert_eq!(port(values("", &[], &[]).unwrap(), &mut none), Some(7882));
        assert_eq!(port(values(file, &[], &[]).unwrap(), &mut none), Some(1));
        assert_eq!(port(values(file, &env, &[]).unwrap(), &mut none), Some(2));
        let all = values(file, &env, &[("udp-port", "3")]).unwrap();
        assert_eq!(*all.source("udp-port"), Source::Flag("udp-port"));
        assert_eq!(port(all, &mut none), Some(3));
        assert!(none.is_empty());
    }

    #[test]
    fn the_address_of_a_service_is_no_port() {
        let env = [("SPILLWAY_UDP_PORT", "tcp://10.0.0.1:7882")];
        let values = values("", &env, &[]).unwrap();
        assert_eq!(
            (values.text("udp-port"), values.source("udp-port")),
            ("7882", &Source::Default)
        );
    }

    #[test]
    fn all_unknown_keys_and_shapes_are_reported_together() {
        let mistakes = values("udp-prot = 1\nzzzzzzzzzz = 2\n[advertise]\na = 1", &[], &[])
            .unwrap()
            .mistakes();
        let text = mistakes.to_string();
        assert!(text.contains("3 mistakes"), "{text}");
        assert!(
            text.contains("'udp-prot' in a.toml, line 1, did you mean 'udp-port'?"),
            "{text}"
        );
        assert!(
            text.contains("'zzzzzzzzzz' in a.toml, line 2\n")
                || text.ends_with("'zzzzzzzzzz' in a.toml, line 2"),
            "{text}"
        );
        assert!(text.contains("advertise is a table"), "{text}");
    }

    #[test]
    fn mistakes_name_value_limit_and_source() {
        let v = values(
            "",
            &[("SPILLWAY_UDP_PORT", "0")],
            &[("advertise", "10.0.0.1,x")],
        )
        .unwrap();
        let mut mistakes = Mistakes::new();
        assert_eq!(
            v.parse_within::<u16>("udp-port", 1..=65535, &mut mistakes),
            None
        );
        assert_eq!(v.list::<std::net::IpAddr>("advertise", &mut mistakes), None);
        let text = mistakes.to_string();
        assert!(
            text.contains("udp-port 0 is outside 1..=65535 (from environment SPILLWAY_UDP_PORT)"),
            "{text}"
        );
        assert!(
            text.contains("advertise 'x': invalid IP address syntax (from flag --advertise)"),
            "{text}"
        );
    }

    #[test]
    fn arrays_are_lists_and_secrets_are_masked() {
        let v = values(
            "advertise = ['10.0.0.1', '::1']\napi-secret = 'hush'",
            &[],
            &[],
        )
        .unwrap();
        let mut none = Mistakes::new();
        let list: Vec<std::net::IpAddr> = v.list("advertise", &mut none).unwrap();
        assert_eq!(list.len(), 2);
        let shown = v.print_effective();
        let mut settled = v.clone();
        settled.set_default("advertise", "never, it was given");
        settled.set_default("udp-port", 9);
        assert!(
            settled
                .print_effective()
                .contains("udp-port   = 9  # default")
        );
        assert!(settled.print_effective().contains("10.0.0.1,::1"));
        assert!(!shown.contains("hush"), "{shown}");
        assert!(
            shown.contains("api-secret = (secret)  # file a.toml, line 2"),
            "{shown}"
        );
    }
}
