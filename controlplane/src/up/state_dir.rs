//! The state directory of `up`: credentials, the control socket, the data plane's log, and the URL
//! of a running `up`.

use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::auth::ApiKey;
use crate::config::Config;
use crate::entropy;
use crate::limits::SOCKET_PATH_BYTES;

const CREDENTIALS: &str = "credentials.json";
const UP: &str = "up.json";
const SOCKET: &str = "dataplane.sock";
const LOG: &str = "dataplane.log";
const STARTED: &str = "dataplane.json";

/// A directory that only its owner can read.
#[derive(Debug, Clone)]
pub struct StateDir(PathBuf);

/// Credentials that `up` generated at its first start. They are kept, so that tokens stay valid.
#[derive(Clone, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it
pub struct Credentials {
    pub api_key: String,
    pub api_secret: String,
    pub admin_token: String,
    /// `None` in files of earlier versions.
    #[serde(default)]
    pub turn_secret: Option<String>,
}

/// `up.json`: URL and credentials of a running `up`.
#[derive(Clone, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it
pub struct UpFile {
    pub url: String,
    pub pid: u32,
    pub admin_token: String,
    pub api_key: String,
    pub api_secret: String,
    /// The current TURN secrets, comma-separated; `None` in files of earlier versions.
    #[serde(default)]
    pub turn_secret: Option<String>,
}

/// Settings that the data plane was started with. An `up` that takes it over compares them with its
/// own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StartSettings {
    pub(super) arguments: Vec<String>,
    /// Ids of the TURN secrets. The secrets themselves are not written.
    pub(super) turn_secret_ids: Vec<String>,
}

impl StartSettings {
    /// The differences to `other`, as text for the log.
    pub(super) fn differs_from(&self, other: &Self) -> String {
        let pairs = |started: &Self| -> Vec<String> {
            started
                .arguments
                .chunks(2)
                .map(|pair| pair.join(" "))
                .collect()
        };
        let (was, wanted) = (pairs(self), pairs(other));
        let gone = was
            .iter()
            .filter(|pair| !wanted.contains(pair))
            .map(|pair| format!("it has {pair}"));
        let new = wanted
            .iter()
            .filter(|pair| !was.contains(pair))
            .map(|pair| format!("it lacks {pair}"));
        let secrets = (self.turn_secret_ids != other.turn_secret_ids)
            .then(|| "another turn-secret".to_owned());
        gone.chain(new)
            .chain(secrets)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl Credentials {
    /// The API keys of the configuration; without any, the generated key.
    pub fn keys(&self, configured: &[ApiKey]) -> Vec<ApiKey> {
        if !configured.is_empty() {
            return configured.to_vec();
        }
        vec![ApiKey {
            key: self.api_key.clone(),
            secret: self.api_secret.clone(),
        }]
    }
}

impl UpFile {
    pub(super) fn new(url: &str, credentials: &Credentials) -> Self {
        Self {
            url: url.to_owned(),
            pid: std::process::id(),
            admin_token: credentials.admin_token.clone(),
            api_key: credentials.api_key.clone(),
            api_secret: credentials.api_secret.clone(),
            turn_secret: credentials.turn_secret.clone(),
        }
    }
}

impl StateDir {
    /// Opens the directory at `path`; creates it if it is missing. Fails if other users can read
    /// it.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(path)
            .with_context(|| format!("cannot make state-dir {}", path.display()))?;
        let absolute = path
            .canonicalize()
            .with_context(|| format!("cannot find state-dir {}", path.display()))?;
        check_owner_and_mode(path, &absolute)?;
        Ok(Self(absolute))
    }

    /// A directory to read from, which may be missing.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Path of the data plane's control socket.
    pub fn control_socket(&self) -> anyhow::Result<PathBuf> {
        let path = self.0.join(SOCKET);
        let bytes = path.as_os_str().as_bytes().len();
        if bytes >= SOCKET_PATH_BYTES {
            let limit = SOCKET_PATH_BYTES - 1;
            bail!(
                "{} has {bytes} bytes, a unix socket's path at most {limit}: choose a shorter state-dir",
                path.display()
            );
        }
        Ok(path)
    }

    /// Path of the data plane's log.
    pub fn child_log(&self) -> PathBuf {
        self.0.join(LOG)
    }

    /// The generated credentials, overridden by the configuration. Generates them at the first
    /// start.
    pub fn credentials(&self, config: &Config) -> anyhow::Result<Credentials> {
        let kept: Option<Credentials> = self.read(CREDENTIALS)?;
        let is_whole = kept.as_ref().is_some_and(|kept| kept.turn_secret.is_some());
        let mut credentials = kept.unwrap_or_else(|| Credentials {
            api_key: format!("API{}", entropy::alphanumeric(12)),
            api_secret: entropy::secret(43),
            admin_token: entropy::secret(43),
            turn_secret: None,
        });
        if !is_whole {
            credentials.turn_secret = Some(entropy::secret(43));
            self.write(CREDENTIALS, &credentials)?;
        }
        if let Some(key) = config.keys.first() {
            credentials.api_key.clone_from(&key.key);
            credentials.api_secret.clone_from(&key.secret);
        }
        if !config.turn.secrets.is_empty() {
            credentials.turn_secret = Some(config.turn.secrets.join(","));
        }
        if let Some(token) = &config.admin_token {
            credentials.admin_token.clone_from(token);
        }
        Ok(credentials)
    }

    /// The generated credentials; `None` if no `up` has run in this directory.
    pub fn kept_credentials(&self) -> anyhow::Result<Option<Credentials>> {
        self.read(CREDENTIALS)
    }

    /// The running `up`; `None` if none is running, unless it was killed.
    pub fn up(&self) -> anyhow::Result<Option<UpFile>> {
        self.read(UP)
    }

    /// Settings of the latest start of the data plane.
    pub(super) fn child_started(&self) -> anyhow::Result<Option<StartSettings>> {
        self.read(STARTED)
    }

    pub(super) fn write_child_started(&self, started: &StartSettings) -> anyhow::Result<()> {
        self.write(STARTED, started)
    }

    pub(super) fn write_up(&self, up: &UpFile) -> anyhow::Result<()> {
        self.write(UP, up)
    }

    /// Removes `up.json`, unless a later `up` has written it.
    pub(super) fn remove_up(&self) {
        if let Ok(Some(up)) = self.up()
            && up.pid == std::process::id()
        {
            // An error means that the file is gone.
            let _ = fs::remove_file(self.0.join(UP));
        }
    }

    /// Fails if another `up` is running here: two control planes would compete for the sessions of
    /// one data plane.
    pub(super) fn refuse_second_up(&self) -> anyhow::Result<()> {
        let Some(up) = self.up()? else {
            return Ok(());
        };
        let process = fs::read(format!("/proc/{}/cmdline", up.pid)).unwrap_or_default();
        let ours = process.split(|byte| *byte == 0).any(|word| word == b"up");
        if up.pid != std::process::id() && ours {
            let (pid, url, dir) = (up.pid, &up.url, self.0.display());
            bail!(
                "spillway up is already running in {dir}: process {pid}, {url}; stop it or choose another state-dir"
            );
        }
        Ok(())
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, name: &str) -> anyhow::Result<Option<T>> {
        let path = self.0.join(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        serde_json::from_slice(&bytes).map(Some).with_context(|| {
            format!(
                "{} is damaged: remove it to have it made anew",
                path.display()
            )
        })
    }

    /// Writes a file atomically. Only its owner can read it.
    fn write<T: Serialize>(&self, name: &str, value: &T) -> anyhow::Result<()> {
        let path = self.0.join(name);
        let draft = self.0.join(format!("{name}.{}", std::process::id()));
        let bytes = serde_json::to_vec_pretty(value)?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options
            .open(&draft)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&draft, &path));
        written.with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Fails if other users can read the directory, or own it or a symbolic link to it: the directory
/// has all secrets.
fn check_owner_and_mode(path: &Path, absolute: &Path) -> anyhow::Result<()> {
    let us = rustix::process::geteuid().as_raw();
    let link = fs::symlink_metadata(path);
    let link = link.with_context(|| format!("cannot look at state-dir {}", path.display()))?;
    if link.is_symlink() && link.uid() != us {
        let (shown, owner) = (path.display(), link.uid());
        bail!(
            "state-dir {shown} is a symbolic link of user {owner}, and this is user {us}: name a directory of your own"
        );
    }
    let there = fs::metadata(absolute);
    let there =
        there.with_context(|| format!("cannot look at state-dir {}", absolute.display()))?;
    let shown = absolute.display();
    if there.uid() != us {
        let owner = there.uid();
        bail!(
            "state-dir {shown} belongs to user {owner}, and this is user {us}: name a directory of your own"
        );
    }
    let mode = there.mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!(
            "state-dir {shown} has mode {mode:o}, with which others get at its keys, 700 is wanted: chmod 700 {shown}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn config(args: &[&str]) -> Config {
        let command = clap::Command::new("up");
        let command = spillway_settings::command(command, crate::config::SETTINGS);
        let matches = command.get_matches_from([&["up"], args].concat());
        Config::gather(&matches, crate::config::Role::Up).unwrap()
    }

    #[test]
    fn credentials_are_made_once_and_only_the_owner_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join("a/b")).unwrap();
        assert!(state.kept_credentials().unwrap().is_none());
        let made = state.credentials(&config(&[])).unwrap();
        let again = state.credentials(&config(&[])).unwrap();
        assert_eq!(made.api_secret, again.api_secret);
        assert_eq!(made.admin_token, again.admin_token);
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(state.0.join(CREDENTIALS)), 0o600);
        assert_eq!(mode(state.0.clone()), 0o700);
        let chosen = state
            .credentials(&config(&["--keys", "K:0123456789abcdef"]))
            .unwrap();
        assert_eq!(chosen.api_key, "K");
        assert_eq!(
            state.kept_credentials().unwrap().unwrap().api_key,
            made.api_key
        );
    }

    #[test]
    fn the_word_of_a_dead_up_is_no_obstacle_and_ours_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join("state")).unwrap();
        let credentials = state.credentials(&config(&[])).unwrap();
        let mut up = UpFile::new("http://127.0.0.1:1", &credentials);
        state.write_up(&up).unwrap();
        state.refuse_second_up().unwrap();
        state.remove_up();
        assert!(state.up().unwrap().is_none());
        up.pid = 0x3fff_ffff;
        state.write_up(&up).unwrap();
        state.refuse_second_up().unwrap();
        state.remove_up();
        assert!(state.up().unwrap().is_some(), "not ours");
    }

    #[test]
    fn a_state_dir_that_others_can_enter_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        StateDir::create(&path).unwrap();
        for mode in [0o755, 0o750, 0o701, 0o770, 0o707] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let said = StateDir::create(&path).unwrap_err().to_string();
            assert!(said.contains(&format!("mode {mode:o}")), "{said}");
            assert!(said.contains("chmod 700"), "{said}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        StateDir::create(&path).unwrap();
        // A symbolic link of the same user is permitted.
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        StateDir::create(&link).unwrap();
    }

    #[test]
    fn a_state_dir_of_somebody_else_is_refused() {
        let us = rustix::process::geteuid().as_raw();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        StateDir::create(&path).unwrap();
        if us != 0 {
            // Only root can change owners, so the test uses an existing directory.
            let said = check_owner_and_mode(Path::new("/"), Path::new("/")).unwrap_err();
            assert!(said.to_string().contains("belongs to user 0"), "{said}");
            return;
        }
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        let said = StateDir::create(&path).unwrap_err().to_string();
        assert!(said.contains("belongs to user 65534"), "{said}");
        let (ours, link) = (dir.path().join("ours"), dir.path().join("link"));
        StateDir::create(&ours).unwrap();
        std::os::unix::fs::symlink(&ours, &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(65_534), None).unwrap();
        let said = StateDir::create(&link).unwrap_err().to_string();
        assert!(said.contains("symbolic link of user 65534"), "{said}");
    }

    #[test]
    fn a_state_dir_too_deep_for_a_socket_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join("x".repeat(100))).unwrap();
        let said = state.control_socket().unwrap_err().to_string();
        assert!(said.contains("choose a shorter state-dir"), "{said}");
    }

    #[test]
    fn what_a_data_plane_was_started_with_is_told_from_what_is_wanted() {
        let started = |arguments: &[&str], id: &str| StartSettings {
            arguments: arguments.iter().map(ToString::to_string).collect(),
            turn_secret_ids: vec![id.to_owned()],
        };
        let was = started(&["--udp-port", "7882", "--shards", "2"], "aa");
        assert_eq!(was.differs_from(&was.clone()), "");
        let wanted = started(
            &["--udp-port", "7882", "--shards", "4", "--tls-key", "k"],
            "bb",
        );
        assert_eq!(
            was.differs_from(&wanted),
            "it has --shards 2, it lacks --shards 4, it lacks --tls-key k, another turn-secret"
        );
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join("state")).unwrap();
        assert!(state.child_started().unwrap().is_none());
        state.write_child_started(&was).unwrap();
        assert_eq!(state.child_started().unwrap(), Some(was));
    }
}
