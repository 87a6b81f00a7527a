//! `spillway token create`: signs a token. No server is needed.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use serde_json::json;
use spillway_settings::secret;

use crate::auth::{ApiKey, Claims, Keys, VideoGrant};
use crate::clock;
use crate::history::Source;
use crate::ids::{Identity, RoomName};
use crate::terminal::{print_json, print_line};
use crate::up::StateDir;

/// Create a token for a room and an identity
#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// Room that the token is valid for
    #[arg(long)]
    room: RoomName,
    /// Identity of the participant
    #[arg(long)]
    identity: Identity,
    /// Display name of the participant
    #[arg(long, default_value = "")]
    name: String,
    /// Lifetime of the token: a number and s, m, h or d
    #[arg(long, default_value = "6h", value_parser = seconds)]
    ttl: u64,
    /// The participant may not publish
    #[arg(long)]
    no_publish: bool,
    /// Sources that the participant may publish: camera, microphone, screen, screen_audio, other [default: all]
    #[arg(long, value_delimiter = ',', value_name = "SOURCES", value_parser = source, conflicts_with = "no_publish")]
    publish_sources: Vec<String>,
    /// The participant may not subscribe
    #[arg(long)]
    no_subscribe: bool,
    /// Print JSON instead of the bare token
    #[arg(long)]
    json: bool,
    /// KEY:SECRET to sign with, or @/path of a file with it [default: the pair of the local `up`]
    #[arg(long, env = "SPILLWAY_KEYS", value_parser = secret, hide_env_values = true)]
    keys: Option<String>,
    /// State directory of the local `up`
    #[arg(long, env = "SPILLWAY_STATE_DIR", default_value = ".spillway")]
    state_dir: PathBuf,
}

impl Create {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let keys = self.keys()?;
        let expires = clock::unix_seconds() + self.ttl;
        let token = keys.sign(Claims {
            iss: String::new(),
            sub: self.identity.to_string(),
            name: self.name,
            nbf: None,
            exp: expires,
            video: VideoGrant {
                room: self.room.to_string(),
                room_join: true,
                can_publish: self.no_publish.then_some(false),
                can_publish_sources: Some(self.publish_sources).filter(|named| !named.is_empty()),
                can_subscribe: self.no_subscribe.then_some(false),
                ..VideoGrant::default()
            },
        });
        if self.json {
            let (room, identity) = (&self.room, &self.identity);
            print_json(
                &json!({"token": token, "room": room, "identity": identity, "expires": expires}),
            )
        } else {
            print_line(&token)
        }
    }

    fn keys(&self) -> anyhow::Result<Keys> {
        let given = self.keys.iter().flat_map(|keys| keys.split(','));
        let given = given.map(str::trim).filter(|pair| !pair.is_empty());
        let given: Result<Vec<ApiKey>, _> = given.map(str::parse).collect();
        // The error must not quote the value, which may be a secret.
        if let Some(keys) = Keys::new(given.map_err(|error| anyhow!("--keys: {error}"))?) {
            return Ok(keys);
        }
        let dir = StateDir::at(&self.state_dir);
        // The keys of a running `up` may differ from the generated ones, because its configuration
        // overrides them.
        let pair = match dir.up()? {
            Some(up) => Some((up.api_key, up.api_secret)),
            None => dir
                .kept_credentials()?
                .map(|kept| (kept.api_key, kept.api_secret)),
        };
        let Some((key, secret)) = pair else {
            let dir = self.state_dir.display();
            bail!(
                "no key to sign with: give --keys KEY:SECRET, or --state-dir of a `spillway up` (none in {dir})"
            );
        };
        Keys::new(vec![ApiKey { key, secret }]).context("no key to sign with")
    }
}

fn source(text: &str) -> Result<String, String> {
    let known = Source::from_claim(text).map(|source| source.as_str().to_owned());
    let wanted = "camera, microphone, screen, screen_audio or other";
    known.ok_or_else(|| format!("'{text}' is none of {wanted}"))
}

/// Parses a duration such as `90s`, `15m`, `6h` or `7d` into seconds.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let wanted = || format!("'{text}' is not a number and s, m, h or d");
    let unit = text.chars().last().ok_or_else(wanted)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wanted()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wanted())?;
    match number.checked_mul(seconds) {
        Some(total @ 1..=31_536_000) => Ok(total),
        Some(_) | None => Err(format!("'{text}' is outside 1s..=365d")),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    #[test]
    fn a_life_has_a_unit_and_a_limit() {
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("6h"), Ok(21_600));
        assert_eq!(seconds("7d"), Ok(604_800));
        for wrong in ["", "6", "h", "-1h", "1.5h", "6ä"] {
            assert!(
                seconds(wrong).unwrap_err().contains("is not a number"),
                "{wrong}"
            );
        }
        assert!(seconds("366d").unwrap_err().contains("365d"));
        assert!(seconds("0s").is_err());
        assert!(seconds("99999999999999999d").is_err());
    }

    #[test]
    fn keys_may_be_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "A:0123456789abcdef\nB:fedcba9876543210\n").unwrap();
        let keys = |given: &str| {
            let command = Create::augment_args(Command::new("create"));
            let args = [
                "create",
                "--room",
                "r",
                "--identity",
                "ann",
                "--keys",
                given,
            ];
            let matches = command.try_get_matches_from(args);
            let matches = matches.map_err(|error| anyhow!("{error}"))?;
            Create::from_arg_matches(&matches)?.keys()
        };
        let given = keys(&format!("@{}", file.path().display())).unwrap();
        assert_eq!(given.first().secret, "0123456789abcdef");
        let given = keys("A:0123456789abcdef,B:fedcba9876543210").unwrap();
        assert_eq!(given.first().key, "A");
        let gone = keys("@/nowhere/keys").unwrap_err().to_string();
        assert!(gone.contains("cannot read /nowhere/keys"), "{gone}");
        let short = keys("A:hush").unwrap_err().to_string();
        assert!(short.contains("--keys: has a secret of 4"), "{short}");
        assert!(!short.contains("hush"), "{short}");
    }
}
