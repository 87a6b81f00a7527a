//! The configuration file (TOML): keys, their values as text, and their line numbers.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::nearest::nearest;
use crate::secret::{is_public, mode_of};
use crate::{Mistakes, Setting};

/// A parsed configuration file.
#[derive(Debug, Default)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    entries: Vec<Entry>,
}

/// One key of the configuration file.
#[derive(Debug)]
pub(crate) struct Entry {
    key: String,
    /// Line in the file, counted from 1.
    pub(crate) line: usize,
    /// The value as text like in a flag, or the name of an unsupported TOML type.
    pub(crate) value: Result<String, &'static str>,
}

impl ConfigFile {
    /// Reads the file. It is a mistake if the file has secrets of `table` and other users can read
    /// it.
    pub(crate) fn read(path: &Path, table: &[Setting]) -> Result<Self, Mistakes> {
        let mut mistakes = Mistakes::new();
        let shown = path.display();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                mistakes.push(format!("cannot read {shown}: {error}"));
                return Err(mistakes);
            }
        };
        let file = match Self::parse(&text, path) {
            Ok(file) => file,
            Err(said) => {
                mistakes.push(said);
                return Err(mistakes);
            }
        };
        let is_written = |setting: &&Setting| {
            let text = file
                .get(setting.name)
                .and_then(|entry| entry.value.as_ref().ok());
            setting.is_secret()
                && text.is_some_and(|text| !text.is_empty() && !text.starts_with('@'))
        };
        let secrets = table.iter().filter(is_written).map(|setting| setting.name);
        let secrets: Vec<_> = secrets
            .filter(|name| *name != "store" || file.has_password())
            .collect();
        let mode = mode_of(std::fs::metadata(path).ok());
        if let Some(mode) = mode.filter(|mode| is_public(*mode) && !secrets.is_empty()) {
            let secrets = secrets.join(", ");
            mistakes.push(format!(
                "{shown} can be read by every user of this host (mode {mode:03o}) and has secrets ({secrets}): \
                 chmod o-r {shown}, or give @/path of a file of their own"
            ));
            return Err(mistakes);
        }
        Ok(file)
    }

    /// Parses `text`. The error has the line.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, String> {
        let line_of = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        let table = DeTable::parse(text).map_err(|error| {
            let line = line_of(error.span().map_or(0, |span| span.start));
            format!(
                "{}, line {line}, is not TOML: {}",
                path.display(),
                error.message()
            )
        })?;
        let entry = |(key, value): (Spanned<_>, Spanned<DeValue<'_>>)| Entry {
            line: line_of(key.span().start),
            key: String::from(key.into_inner()),
            value: flatten(value.get_ref()).ok_or(value.get_ref().type_str()),
        };
        Ok(Self {
            path: path.to_owned(),
            entries: table.into_inner().into_iter().map(entry).collect(),
        })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == name)
    }

    /// Adds a mistake for each unknown key.
    pub(crate) fn unknown(&self, table: &[Setting], mistakes: &mut Mistakes) {
        let is_unknown = |entry: &&Entry| table.iter().all(|setting| setting.name != entry.key);
        for entry in self.entries.iter().filter(is_unknown) {
            let names = table.iter().map(|setting| setting.name);
            let hint = nearest(&entry.key, names)
                .map_or_else(String::new, |name| format!(", did you mean '{name}'?"));
            let (key, path, line) = (&entry.key, self.path.display(), entry.line);
            mistakes.push(format!("unknown key '{key}' in {path}, line {line}{hint}"));
        }
    }

    fn has_password(&self) -> bool {
        let store = self
            .get("store")
            .and_then(|entry| entry.value.as_ref().ok());
        store.is_some_and(|store| store.contains('@'))
    }
}

/// Scalars as text, arrays of scalars comma-separated; `None` for other values.
fn flatten(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) => Some(
            i128::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| number.to_string(), |number| number.to_string()),
        ),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Array(items) => {
            let items: Option<Vec<_>> = items
                .iter()
                .map(Spanned::get_ref)
                .map(|item| flatten(item).filter(|_| !item.is_array()))
                .collect();
            items.map(|items| items.join(","))
        }
        DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_toml_has_a_line() {
        for (text, line) in [
            ("a = 1\nb = \n", 2),
            ("a = 1\n\n\nb c\n", 4),
            ("a = 1\nb = 'x\nc = 2\n", 2),
            ("[a\n", 1),
            ("a = 1\n a = 2\n", 2),
        ] {
            let said = ConfigFile::parse(text, Path::new("x.toml")).unwrap_err();
            let wanted = format!("x.toml, line {line}, is not TOML: ");
            assert!(said.starts_with(&wanted), "{text:?}: {said}");
        }
    }

    #[test]
    fn values_are_the_text_of_a_flag() {
        let text = "a = 0x10\nb = ['x', 'y']\nc = true\nd = 1.5\ne = 1_000\n[f]\ng = 1\n";
        let file = ConfigFile::parse(text, Path::new("x.toml")).unwrap();
        let value = |key: &str| file.get(key).unwrap().value.clone();
        for (key, text) in [
            ("a", "16"),
            ("b", "x,y"),
            ("c", "true"),
            ("d", "1.5"),
            ("e", "1000"),
        ] {
            assert_eq!(value(key), Ok(text.to_owned()));
        }
        assert_eq!(value("f"), Err("table"));
        assert_eq!(file.get("f").unwrap().line, 6);
    }

    #[test]
    fn a_file_with_secrets_is_not_for_others() {
        use std::os::unix::fs::PermissionsExt;
        let setting = |name| Setting {
            name,
            default: "",
            help: "",
        };
        let table = ["keys", "store", "port"].map(setting);
        let path = std::env::temp_dir().join(format!("spillway-file-{}.toml", std::process::id()));
        for (text, mode, is_good) in [
            ("keys = 'K:0123456789abcdef'", 0o600, true),
            ("keys = 'K:0123456789abcdef'", 0o640, true),
            ("keys = 'K:0123456789abcdef'", 0o644, false),
            ("keys = '@/run/keys'", 0o644, true),
            ("store = 'redis://:secret@host'", 0o604, false),
            ("store = 'redis://host'", 0o644, true),
            ("port = 1", 0o644, true),
        ] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let read = ConfigFile::read(&path, &table);
            std::fs::remove_file(&path).unwrap();
            let said = read.map(|_| ()).map_err(|mistakes| mistakes.to_string());
            assert_eq!(said.is_ok(), is_good, "{text} {mode:o}: {said:?}");
            assert!(said.is_ok() || said.unwrap_err().contains("chmod o-r"));
        }
    }
}
