//! `turn credential` creates a TURN credential, `turn ls` lists TURN allocations.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use serde_json::json;
use spillway_settings::secret;

use super::client::Target;
use super::show::{print_table, table};
use super::token::seconds;
use crate::http::AllocationView;
use crate::ids::{Identity, RoomName};
use crate::terminal::{print_json, print_line};
use crate::turn::{self, Credential};
use crate::up::StateDir;
use crate::{clock, limits};

/// Create a TURN credential
#[derive(Debug, clap::Args)]
pub(super) struct Mint {
    /// User of the credential; the TURN server applies its quotas to each user
    #[arg(long, default_value = "cli", conflicts_with = "identity")]
    user: String,
    /// Room of the identity; an identity in a room is one user of the TURN server, even if it joins several times
    #[arg(long, requires = "identity")]
    room: Option<RoomName>,
    /// Identity in the room
    #[arg(long, requires = "room")]
    identity: Option<Identity>,
    /// Lifetime of the credential for new allocations: a number and s, m, h or d
    #[arg(long, default_value = "5m", value_parser = seconds)]
    ttl: u64,
    /// The TURN server's secret, or @/path of a file with it [default: of the local `up`]
    #[arg(long, env = "SPILLWAY_TURN_SECRET", value_parser = secret, hide_env_values = true)]
    secret: Option<String>,
    /// State directory of the local `up`
    #[arg(long, env = "SPILLWAY_STATE_DIR", default_value = ".spillway")]
    state_dir: PathBuf,
    /// Print JSON instead of lines
    #[arg(long)]
    json: bool,
}

/// List the allocations of the TURN server
#[derive(Debug, clap::Args)]
pub(super) struct Ls {
    #[command(flatten)]
    target: Target,
}

impl Mint {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let limit = limits::TURN_USER_BYTES;
        if self.user.len() > limit {
            bail!(
                "--user has {} bytes, the TURN server accepts at most {limit}",
                self.user.len()
            );
        }
        let day = *limits::TURN_TTL_SECONDS.end();
        if self.ttl > day {
            bail!(
                "--ttl is {} s, the TURN server accepts at most {day}",
                self.ttl
            );
        }
        let secret = self.secret()?;
        let expiry = clock::unix_seconds() + self.ttl;
        let user = match (&self.room, &self.identity) {
            (Some(room), Some(identity)) => turn::user(secret.as_bytes(), room, identity),
            (None, _) | (_, None) => self.user,
        };
        let Credential { username, password } = Credential::mint(secret.as_bytes(), &user, expiry);
        if self.json {
            let minted = json!({"username": username, "password": password, "expires": expiry});
            print_json(&minted)
        } else {
            print_line(&format!("username  {username}\npassword  {password}"))
        }
    }

    /// The secret that signs: the first one, if there are two.
    fn secret(&self) -> anyhow::Result<String> {
        let given = self.secret.as_deref().unwrap_or_default();
        if let Some(secret) = given.split(',').map(str::trim).find(|one| !one.is_empty()) {
            let (bytes, least) = (secret.len(), limits::TURN_SECRET_BYTES);
            if bytes < least {
                bail!("--secret has {bytes} bytes, the TURN server requires at least {least}");
            }
            return Ok(secret.to_owned());
        }
        let state = StateDir::at(&self.state_dir);
        // A running `up` may use another secret than the generated one.
        let running = state.up()?.and_then(|up| up.turn_secret);
        let secret = match running {
            Some(secrets) => secrets.split(',').next().map(str::to_owned),
            None => state.kept_credentials()?.and_then(|kept| kept.turn_secret),
        };
        secret.with_context(|| {
            let dir = self.state_dir.display();
            format!("no `spillway up` ever ran in {dir}: give its --state-dir, or --secret")
        })
    }
}

impl Ls {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let mut answer = self.target.get("/v1/admin/turn/allocations")?;
        let allocations = answer["allocations"].take();
        if self.target.json {
            return print_json(&allocations);
        }
        let allocations: Vec<AllocationView> = serde_json::from_value(allocations)?;
        let mut shown = table(&[
            "client",
            "over",
            "user",
            "relayed",
            "peers",
            "to peers",
            "to client",
            "ends in",
            "node",
            "shard",
        ]);
        for one in &allocations {
            // The username without its expiry.
            let user = one
                .username
                .split_once(':')
                .map_or(&*one.username, |(_, user)| user);
            shown.add_row([
                one.client.clone(),
                one.transport.clone(),
                user.escape_default().to_string(),
                one.relayed.join(" "),
                one.permissions.to_string(),
                bytes(one.to_peer_bytes),
                bytes(one.to_client_bytes),
                format!("{} s", one.expires_in_s),
                one.node.clone(),
                one.shard.to_string(),
            ]);
        }
        print_table(&mut shown, &[4, 5, 6, 7, 9])
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    #[test]
    fn the_secret_may_be_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "0123456789abcdef\nfedcba9876543210\n").unwrap();
        let secret = |given: &str| {
            let command = Mint::augment_args(Command::new("credential"));
            let matches = command.get_matches_from(["credential", "--secret", given]);
            Mint::from_arg_matches(&matches).unwrap().secret()
        };
        for given in [
            format!("@{}", file.path().display()),
            "0123456789abcdef,fedcba9876543210".to_owned(),
        ] {
            assert_eq!(secret(&given).unwrap(), "0123456789abcdef");
        }
        assert!(secret("short").is_err());
    }
}
