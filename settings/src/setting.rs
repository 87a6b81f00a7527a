//! One row of the table of settings.

use crate::secret;

/// A setting of a program: one row of its table.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Flag and TOML key, kebab-case; the environment variable is derived by [`Setting::env`].
    pub name: &'static str,
    /// The default value; empty if there is none.
    pub default: &'static str,
    /// Help text of one line, with the unit.
    pub help: &'static str,
}

impl Setting {
    /// The environment variable of the setting: `udp-port` is `SPILLWAY_UDP_PORT`.
    pub fn env(&self) -> String {
        let upper = self.name.to_ascii_uppercase().replace('-', "_");
        format!("SPILLWAY_{upper}")
    }

    /// True if the value is a secret: it is masked in output, and may be given as a file
    /// (`@/path`).
    pub fn is_secret(&self) -> bool {
        secret::is_secret(self.name)
    }
}
