//! Client of the admin API. Each error tells the user what to do next.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustls::crypto::aws_lc_rs;
use serde_json::Value;
use spillway_settings::secret;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::url::ServerUrl;
use crate::terminal::Refused;
use crate::tls;
use crate::up::StateDir;

const PATIENCE: Duration = Duration::from_secs(15);

/// Options of commands that use the admin API.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// The control plane, http://host:port or https://host:port, with its public-path if it has one [default: the local `up`]
    #[arg(long, env = "SPILLWAY_URL")]
    url: Option<String>,
    /// Admin token, or @/path of a file with it [default: of the local `up`]
    #[arg(long, env = "SPILLWAY_ADMIN_TOKEN", value_parser = secret, hide_env_values = true)]
    admin_token: Option<String>,
    /// CA certificates (PEM) for an https:// control plane [default: the system's]
    #[arg(long, env = "SPILLWAY_CA")]
    ca: Option<PathBuf>,
    /// State directory of the local `up`
    #[arg(long, env = "SPILLWAY_STATE_DIR", default_value = ".spillway")]
    state_dir: PathBuf,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

impl Target {
    /// Sends `GET path` and returns the JSON of the response.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        let (url, token) = self.find()?;
        let answer = self.ask(&url, &token, path);
        match url.path.is_empty() {
            true => answer,
            // A wrong path in the URL looks like an unknown route.
            false => answer.with_context(|| {
                let (origin, path) = (&url.origin, &url.path);
                format!("--url has the path {path}: type --url {origin}, unless the server's public-path is {path}/")
            }),
        }
    }

    fn ask(&self, url: &ServerUrl, token: &str, path: &str) -> anyhow::Result<Value> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .tls_config(self.tls(url)?)
            .build()
            .into();
        let target = url.of(path);
        let bearer = format!("Bearer {token}");
        let answer = agent.get(&target).header("authorization", &bearer).call();
        let mut answer = answer.map_err(|error| unanswered(url, error))?;
        let status = answer.status();
        let body: Value = answer.body_mut().read_json().with_context(|| {
            format!("{target} answered {status} and no JSON: is that a spillway?")
        })?;
        if status.is_success() {
            return Ok(body);
        }
        let said = body["message"].as_str().unwrap_or("no reason given");
        let message = match status.as_u16() {
            401 => format!(
                "{} refused the admin token: give --admin-token, or --state-dir of its `up`",
                url.origin
            ),
            400 | 403 | 404 => said.to_owned(),
            503 => format!("{said}; the control plane reconnects by itself, try again"),
            _ => format!("{target} answered {status}: {said}"),
        };
        let code = body["code"].as_str().unwrap_or("failed").to_owned();
        Err(Refused { code, message }.into())
    }

    /// TLS settings: the CA certificates of `--ca`, or those of the system.
    fn tls(&self, url: &ServerUrl) -> anyhow::Result<TlsConfig> {
        let roots = match &self.ca {
            _ if !url.is_https() => Vec::new(),
            Some(path) => tls::authorities(path)?.certificates,
            None => rustls_native_certs::load_native_certs().certs,
        };
        let roots: Vec<_> = roots
            .iter()
            .map(|der| Certificate::from_der(der).to_owned())
            .collect();
        Ok(TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
            .root_certs(RootCerts::new_with_certs(&roots))
            .build())
    }

    fn find(&self) -> anyhow::Result<(ServerUrl, String)> {
        let given = self.url.as_deref().map(str::parse).transpose()?;
        if let (Some(url), Some(token)) = (&given, &self.admin_token) {
            return Ok((ServerUrl::clone(url), token.clone()));
        }
        let up = StateDir::at(&self.state_dir).up()?;
        let Some(up) = up else {
            let dir = self.state_dir.display();
            bail!(
                "no running `spillway up` in {dir}: start one, give its --state-dir, or give --url and --admin-token"
            );
        };
        let url = match given {
            Some(url) => url,
            None => up.url.parse()?,
        };
        let token = self.admin_token.clone().unwrap_or(up.admin_token);
        Ok((url, token))
    }
}

fn unanswered(url: &ServerUrl, error: ureq::Error) -> anyhow::Error {
    let (origin, other) = (&url.origin, url.other_scheme());
    let said = match tls_error(&error) {
        Some(rustls::Error::InvalidCertificate(_)) => {
            format!(
                "{origin} is not trusted: give --ca, and --url with the name its certificate is for"
            )
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            format!("{origin} does not use TLS: type --url {other}")
        }
        _ if !url.is_https() && is_no_http(&error) => {
            format!("{origin} does not answer with HTTP: if it uses TLS, type --url {other}")
        }
        _ => format!(
            "no answer from {origin}: is it running? start one with `spillway up`, or give --url"
        ),
    };
    anyhow::Error::new(error).context(said)
}

/// Finds the TLS error, which the library puts inside an IO error.
fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Io(io) => io.get_ref()?.downcast_ref(),
        ureq::Error::Rustls(error) => Some(error),
        _ => None,
    }
}

/// True if the server accepted the connection and then sent no HTTP response.
fn is_no_http(error: &ureq::Error) -> bool {
    use std::io::ErrorKind;
    match error {
        ureq::Error::Io(io) => matches!(
            io.kind(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
        ureq::Error::Protocol(_) | ureq::Error::Http(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    #[test]
    fn the_admin_token_may_be_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "a-token-of-some-length\n").unwrap();
        let named = format!("@{}", file.path().display());
        let command = Target::augment_args(Command::new("ls"));
        let args = ["ls", "--url", "http://localhost:1", "--admin-token", &named];
        let matches = command.get_matches_from(args);
        let (_, token) = Target::from_arg_matches(&matches).unwrap().find().unwrap();
        assert_eq!(token, "a-token-of-some-length");
    }
}
