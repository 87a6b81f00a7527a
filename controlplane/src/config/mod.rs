//! The settings of the control plane. Each setting is a flag, an environment variable and a TOML
//! key. All mistakes are reported together.

mod role; // `up` or `serve`
mod address; // control address of a data plane
mod signaling; // limits of participants and rooms
mod source; // limit of connections per source
mod public_path; // path under which a reverse proxy serves
mod table; // names, defaults and help texts
mod turn; // settings of TURN

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::ArgMatches;
use spillway_settings::{Given, Mistakes, Source, Values, check_log};

pub use address::{ControlAddress, NoControlAddress};
pub use public_path::{NoPublicPath, PublicPath};
pub use role::Role;
use role::optional;
pub use signaling::SignalingLimits;
use signaling::signaling_limits;
pub use source::SourceLimit;
pub use table::SETTINGS;
pub use turn::TurnConfig;

use crate::auth::ApiKey;
use crate::limits;
use crate::store::redis::{self, RedisServers};
use crate::tls::CertificateFiles;

/// The checked settings of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address of HTTP and WebSocket (setting `listen`).
    pub listen: SocketAddr,
    /// Certificate and key for `listen`; `None`: no TLS.
    pub tls: Option<CertificateFiles>,
    /// API keys, which sign tokens.
    pub keys: Vec<ApiKey>,
    /// Bearer token of the admin API; `None` disables the API.
    pub admin_token: Option<String>,
    /// Directory for keys, sockets and logs of `up`.
    pub state_dir: PathBuf,
    /// True: every client can get a demo token.
    pub demo_tokens: bool,
    /// Host names of this server, checked while demo tokens are enabled.
    pub allowed_hosts: Vec<String>,
    /// Path under which a reverse proxy serves this server.
    pub public_path: PublicPath,
    /// Control address of the data plane; `None`: `up` starts its own data plane.
    pub dataplane_control: Option<ControlAddress>,
    /// Settings of the data plane that `up` starts.
    pub dataplane: DataplaneConfig,
    /// Settings of TURN and TURN credentials.
    pub turn: TurnConfig,
    /// Where rooms are stored.
    pub store: StoreConfig,
    /// Limits of participants and rooms.
    pub limits: SignalingLimits,
    /// Maximum number of open connections per source.
    pub per_source: SourceLimit,
    /// Time over which a stopping server closes its sockets.
    pub drain: Duration,
    /// Log filter in the syntax of `tracing`.
    pub log: String,
    /// Warnings to log at start.
    pub warnings: Vec<String>,
    /// Table of the effective settings with their sources; secrets are masked.
    pub effective: String,
}

/// Settings of the data plane that `up` starts.
#[derive(Debug, Clone)]
pub struct DataplaneConfig {
    /// Path of the program; `None`: beside this program.
    pub bin: Option<PathBuf>,
    /// Number of shards; `None`: one per core.
    pub shards: Option<u16>,
    /// UDP and TCP port for media; 0: any free port.
    pub udp_port: u16,
    /// IP addresses in ICE candidates; empty: the addresses of the host.
    pub advertise: Vec<IpAddr>,
    /// Name of the node; empty: the name of the host.
    pub node: String,
}

/// Where rooms are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// In this process; they end with it.
    Memory,
    /// On Redis servers, shared with other servers.
    Redis(RedisServers),
}

impl Config {
    /// Reads and checks all settings from flags, environment and file.
    pub fn gather(matches: &ArgMatches, role: Role) -> Result<Self, Mistakes> {
        Self::gather_with(matches, role, &Given::default())
    }

    /// Like [`Self::gather`], with settings that the caller sets.
    pub fn gather_with(matches: &ArgMatches, role: Role, given: &Given) -> Result<Self, Mistakes> {
        Self::check(Values::gather_with(matches, SETTINGS, given)?, role)
    }

    /// Checks that the certificate files of the settings can be used.
    pub fn check_files(&self) -> anyhow::Result<()> {
        if let Some(files) = &self.tls {
            files
                .names()
                .context("tls is impossible (settings tls-certificate and tls-key)")?;
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            files
                .load(&provider)
                .context("tls is impossible (settings tls-certificate and tls-key)")?;
        }
        Ok(())
    }

    fn check(mut values: Values, role: Role) -> Result<Self, Mistakes> {
        let mut mistakes = values.mistakes();
        if role == Role::Serve {
            leave_to_up(&mut values, &mut mistakes);
        }
        let config = Self::read(&values, role, &mut mistakes);
        if role == Role::Serve {
            for name in ["keys", "dataplane-control"] {
                if values.text(name).is_empty() {
                    mistakes.push(format!("{name} is missing: serve cannot do without it"));
                }
            }
        }
        mistakes.into_result(config)
    }

    fn read(values: &Values, role: Role, mistakes: &mut Mistakes) -> Option<Self> {
        // Read everything before the first `?`, so that all mistakes are found.
        let listen = values.parse("listen", mistakes);
        let tls = certificate_files(values, ("tls-certificate", "tls-key"), mistakes);
        let keys = values.list("keys", mistakes);
        let demo_tokens = optional(values, "demo-tokens", mistakes);
        let allowed_hosts = allowed_hosts(values, mistakes);
        let public_path = values.parse("public-path", mistakes);
        let dataplane_control = optional(values, "dataplane-control", mistakes);
        let dataplane = dataplane(values, mistakes);
        let turn = turn::check(values, role, mistakes);
        let store = store(values, mistakes);
        let drain = values.parse_within("drain-seconds", limits::DRAIN_SECONDS, mistakes);
        let limits = signaling_limits(values, mistakes);
        let per_source = optional(values, "max-connections-per-source", mistakes);
        let admin_token = match values.text("admin-token") {
            "" => None,
            token if token.len() < limits::SECRET_BYTES => {
                let (length, limit) = (token.len(), limits::SECRET_BYTES);
                let source = values.source("admin-token");
                mistakes.push(format!("admin-token has {length} characters, at least {limit} are required (from {source})"));
                None
            }
            token => Some(token.to_owned()),
        };
        if let Err(why) = check_log(values.text("log")) {
            let (text, source) = (values.text("log"), values.source("log"));
            mistakes.push(format!("log '{text}': {why} (from {source})"));
        }
        let demo_tokens = demo_tokens?.unwrap_or(role == Role::Up);
        let mut effective = values.clone();
        effective.set_default("demo-tokens", demo_tokens);
        for (name, means) in [
            ("keys", "(made and kept in the state directory)"),
            ("admin-token", "(made and kept in the state directory)"),
            ("turn-secret", "(made and kept in the state directory)"),
            ("dataplane-control", "(the data plane that up runs)"),
            ("dataplane-bin", "(beside this program)"),
            ("shards", "(one per core)"),
            ("advertise", "(the addresses of the host)"),
            ("node", "(the name of the host)"),
        ] {
            if role == Role::Up && values.text(name).is_empty() {
                effective.set_default(name, means);
            }
        }
        Some(Self {
            listen: listen?,
            tls: tls?,
            keys: keys?,
            admin_token,
            state_dir: PathBuf::from(values.text("state-dir")),
            demo_tokens,
            allowed_hosts: allowed_hosts?,
            public_path: public_path?,
            dataplane_control: dataplane_control?,
            dataplane: dataplane?,
            turn: turn?,
            store: store?,
            drain: Duration::from_secs(drain?),
            limits: limits?,
            per_source: per_source?.unwrap_or_default(),
            log: values.text("log").to_owned(),
            warnings: values.warnings().to_vec(),
            effective: effective.print_effective(),
        })
    }
}

/// Reports settings that only `up` uses. In the environment they are ignored, because the data
/// plane has settings with the same names.
fn leave_to_up(values: &mut Values, mistakes: &mut Mistakes) {
    for name in table::up_alone() {
        let source = values.source(name).clone();
        match source {
            Source::Default => continue,
            Source::Environment(_) => {}
            Source::File(..) | Source::Flag(_) => mistakes.push(format!(
                "{name} has no effect on serve, which runs no data plane: it is a setting of up, or of the data plane (from {source})"
            )),
        }
        values.forget(name);
    }
}

/// Names in the setting `allowed-hosts`, and the host in TURN URLs, which also names this server.
fn allowed_hosts(values: &Values, mistakes: &mut Mistakes) -> Option<Vec<String>> {
    let mut names: Vec<String> = values.list("allowed-hosts", mistakes)?;
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let source = values.source("allowed-hosts");
    for name in &names {
        let rest = name.strip_prefix("*.").unwrap_or(name);
        if rest.contains('*') {
            mistakes.push(format!(
                "allowed-hosts '{name}': '*' stands for the first label alone, as in *.example.com (from {source})"
            ));
        } else if rest.is_empty() || !rest.chars().all(is_host) {
            mistakes.push(format!(
                "allowed-hosts '{name}' is no name of a host without scheme and port (from {source})"
            ));
        }
    }
    names.extend(Some(values.text("turn-host").to_owned()).filter(|name| !name.is_empty()));
    Some(names)
}

fn dataplane(values: &Values, mistakes: &mut Mistakes) -> Option<DataplaneConfig> {
    let shards = match values.text("shards") {
        "" => Some(None),
        _ => values
            .parse_within("shards", limits::SHARDS, mistakes)
            .map(Some),
    };
    let udp_port = values.parse_within("udp-port", 0..=u16::MAX, mistakes);
    let advertise = values.list("advertise", mistakes);
    let bin = path(values, "dataplane-bin");
    Some(DataplaneConfig {
        bin,
        shards: shards?,
        udp_port: udp_port?,
        advertise: advertise?,
        node: values.text("node").to_owned(),
    })
}

fn store(values: &Values, mistakes: &mut Mistakes) -> Option<StoreConfig> {
    let names = ("store-certificate", "store-key");
    let identity = certificate_files(values, names, mistakes)?;
    let text = values.text("store");
    // In a sentinel URL, commas separate hosts, not URLs.
    let are_sentinels = redis::are_sentinels(text);
    let urls: Vec<String> = if are_sentinels {
        vec![text.to_owned()]
    } else {
        text.split(',').map(|url| url.trim().to_owned()).collect()
    };
    let all_are = |scheme: &str| urls.iter().all(|url| url.starts_with(scheme));
    let is_encrypted = all_are("rediss://") || redis::are_encrypted_sentinels(text);
    for name in ["store-ca", names.0] {
        if !is_encrypted && !values.text(name).is_empty() {
            let source = values.source(name);
            mistakes.push(format!(
                "{name} has no effect unless store is rediss:// or rediss+sentinel:// (from {source})"
            ));
        }
    }
    if text == "memory" {
        return Some(StoreConfig::Memory);
    }
    if !is_encrypted && !are_sentinels && !all_are("redis://") {
        let source = values.source("store");
        mistakes.push(format!(
            "store is neither memory nor a list of redis://[user:password@]host[:port], or of rediss://, nor redis+sentinel://host[:port],host[:port]/master (from {source})"
        ));
        return None;
    }
    Some(StoreConfig::Redis(RedisServers {
        urls,
        authorities: path(values, "store-ca"),
        identity,
    }))
}

fn path(values: &Values, name: &str) -> Option<PathBuf> {
    let text = values.text(name);
    (!text.is_empty()).then(|| PathBuf::from(text))
}

/// Certificate and key of two settings; `Some(None)` if both are empty, `None` after a mistake.
fn certificate_files(
    values: &Values,
    (certificate, key): (&str, &str),
    mistakes: &mut Mistakes,
) -> Option<Option<CertificateFiles>> {
    let (lonely, missing) = match (values.text(certificate), values.text(key)) {
        ("", "") => return Some(None),
        ("", _) => (key, certificate),
        (_, "") => (certificate, key),
        (certificate, key) => {
            return Some(Some(CertificateFiles {
                certificate: PathBuf::from(certificate),
                key: PathBuf::from(key),
            }));
        }
    };
    let source = values.source(lonely);
    mistakes.push(format!(
        "{lonely} has no effect without {missing} (from {source})"
    ));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(role: Role, args: &[&str]) -> Result<Config, Mistakes> {
        let command = spillway_settings::command(clap::Command::new("x"), SETTINGS);
        let matches = command.get_matches_from([&["x"], args].concat());
        Config::gather(&matches, role)
    }

    #[test]
    fn a_star_among_the_hosts_is_a_first_label_and_no_more() {
        for wrong in ["*", "*.", "a.*.example", "*example.com", "*.*.example"] {
            let said = config(Role::Up, &["--allowed-hosts", wrong]).unwrap_err();
            let said = said.to_string();
            assert!(said.contains(&format!("allowed-hosts '{wrong}'")), "{said}");
        }
        let right = ["--allowed-hosts", "*.example.com,2ndbox,a_b.example."];
        assert_eq!(config(Role::Up, &right).unwrap().allowed_hosts.len(), 3);
    }

    #[test]
    fn up_needs_nothing_and_serves_demo_tokens() {
        let up = config(Role::Up, &[]).unwrap();
        assert!(up.demo_tokens);
        assert_eq!(up.listen.port(), 7880);
        assert_eq!(up.limits.grace, Duration::from_secs(15));
        let no_demo = config(Role::Up, &["--demo-tokens", "false"]).unwrap();
        assert!(!no_demo.demo_tokens);
    }

    #[test]
    fn all_mistakes_are_reported_together_with_value_and_limit() {
        let args = [
            "--grace-seconds",
            "0",
            "--udp-port",
            "70000",
            "--keys",
            "nocolon",
            "--shards",
            "0",
            "--admin-token",
            "short",
            "--dataplane-control",
            "tcp://x",
        ];
        let text = config(Role::Up, &args).unwrap_err().to_string();
        for part in [
            "6 mistakes",
            "grace-seconds 0 is outside 1..=600 (from flag --grace-seconds)",
            "udp-port '70000'",
            "keys '(secret)'",
            "shards 0 is outside 1..=64",
            "admin-token has 5 characters, at least 16",
            "neither unix:/path nor http://host:port",
        ] {
            assert!(text.contains(part), "{part} not in {text}");
        }
    }

    #[test]
    fn halves_of_certificates_and_files_without_a_use_are_mistakes() {
        let args = ["--tls-key", "key.pem", "--store-key", "store-key.pem"];
        let text = config(Role::Up, &args).unwrap_err().to_string();
        for part in [
            "tls-key has no effect without tls-certificate (from flag --tls-key)",
            "store-key has no effect without store-certificate",
        ] {
            assert!(text.contains(part), "{part} not in {text}");
        }
        let args = ["--store", "redis://10.0.0.5", "--store-ca", "ca.pem"];
        let text = config(Role::Up, &args).unwrap_err().to_string();
        assert!(
            text.contains("store-ca has no effect unless store is rediss://"),
            "{text}"
        );
        let args = ["--store", "redis://10.0.0.5,rediss://10.0.0.6"];
        let text = config(Role::Up, &args).unwrap_err().to_string();
        assert!(text.contains("store is neither memory nor"), "{text}");
    }

    #[test]
    fn tls_is_configured_by_files() {
        let none = config(Role::Up, &[]).unwrap();
        assert_eq!(none.tls, None);
        let args = [
            ["--tls-certificate", "cert.pem"],
            ["--tls-key", "key.pem"],
            ["--store", "rediss://:secret@10.0.0.5:6390"],
            ["--store-ca", "ca.pem"],
        ];
        let config = config(Role::Up, args.as_flattened()).unwrap();
        let files = config.tls.unwrap();
        assert_eq!(files.certificate, PathBuf::from("cert.pem"));
        assert_eq!(files.key, PathBuf::from("key.pem"));
        let StoreConfig::Redis(servers) = config.store else {
            panic!("a store in memory");
        };
        assert_eq!(servers.authorities, Some(PathBuf::from("ca.pem")));
        assert!(config.effective.contains("ca.pem"), "a path is no secret");
        assert!(!config.effective.contains("10.0.0.5"), "a password is one");
    }

    #[test]
    fn serve_refuses_what_only_up_uses() {
        let args = [
            "--keys",
            "K:abcdefghijklmnop",
            "--dataplane-control",
            "unix:/x",
        ];
        assert!(config(Role::Serve, &args).is_ok());
        for name in table::up_alone() {
            assert!(
                SETTINGS.iter().any(|setting| setting.name == name),
                "{name}"
            );
            let flag = format!("--{name}");
            let said = config(Role::Serve, &[&args[..], &[&flag, "1"]].concat()).unwrap_err();
            let said = said.to_string();
            let wanted = format!("{name} has no effect on serve");
            assert!(
                said.contains("1 mistake in") && said.contains(&wanted),
                "{said}"
            );
            assert!(said.contains(&format!("(from flag {flag})")), "{said}");
        }
    }

    #[test]
    fn a_wrong_level_is_a_mistake_like_the_others() {
        let args = ["--log", "inof", "--grace-seconds", "0"];
        let said = config(Role::Up, &args).unwrap_err().to_string();
        assert!(said.contains("2 mistakes"), "{said}");
        assert!(
            said.contains("log 'inof': 'inof' is none of the levels off, error"),
            "{said}"
        );
    }

    #[test]
    fn our_variables_are_known_to_every_program() {
        for setting in SETTINGS {
            let name = setting.env();
            let known = name.strip_prefix("SPILLWAY_").unwrap();
            assert!(spillway_settings::NAMES.contains(&known), "{name}");
        }
    }

    #[test]
    fn serve_says_what_it_cannot_do_without() {
        let text = config(Role::Serve, &[]).unwrap_err().to_string();
        assert!(text.contains("keys is missing"), "{text}");
        assert!(text.contains("dataplane-control is missing"), "{text}");
    }

    #[test]
    fn secrets_are_masked_in_the_effective_configuration() {
        let args = [
            "--keys",
            "K:abcdefghijklmnop",
            "--admin-token",
            "0123456789abcdef",
        ];
        let shown = config(Role::Up, &args).unwrap().effective;
        assert!(!shown.contains("abcdefghijklmnop"), "{shown}");
        assert!(!shown.contains("0123456789abcdef"), "{shown}");
    }
}
