//! The data plane as a child process: starts it, restarts it when it ends, and takes over one that
//! an earlier `up` left running.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use spillway_wire::turn::secret_id;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use super::StateDir;
use super::state_dir::StartSettings;
use crate::clock;
use crate::config::Config;
use crate::limits::{CHILD_LOG_BYTES, RESTART_PAUSE, STABLE_TIME, START_TIME, STOP_TIME};
use crate::tls::CertificateFiles;

/// Number of short-lived starts after which `up` gives up, because the program or its settings are
/// wrong.
const FAILED_STARTS: u32 = 5;

/// A child that has lived this long has valid settings, because wrong settings end it sooner.
const VALID_SETTINGS_TIME: Duration = Duration::from_secs(3);

/// Interval at which a process that is not a child is checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Default address of a data plane's metrics (its setting `metrics`).
const CHILD_METRICS: &str = "127.0.0.1:9464";

/// Keeps one data plane running.
#[derive(Debug)]
pub(super) struct Supervisor {
    bin: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    socket: PathBuf,
    log: PathBuf,
    /// True: the child terminates TLS, and gets SIGHUP to reload its certificate.
    terminates_tls: bool,
    started: StartSettings,
    state: StateDir,
}

/// The process of the data plane.
#[derive(Debug)]
enum Process {
    Child(Child),
    /// A data plane that an earlier `up` started, as a pidfd.
    Adopted(OwnedFd),
}

impl Supervisor {
    /// If the child terminates TLS, the last argument has the certificate and the address it passes
    /// HTTP to.
    pub(super) fn new(
        config: &Config,
        state: &StateDir,
        (socket, behind): (PathBuf, Option<(CertificateFiles, SocketAddr)>),
    ) -> anyhow::Result<Self> {
        let dataplane = &config.dataplane;
        let bin = match &dataplane.bin {
            Some(bin) => bin.clone(),
            None => default_binary()?,
        };
        let mut arguments = vec!["--control".to_owned(), format!("unix:{}", socket.display())];
        arguments.extend(["--udp-port".to_owned(), dataplane.udp_port.to_string()]);
        if let Some(shards) = dataplane.shards {
            arguments.extend(["--shards".to_owned(), shards.to_string()]);
        }
        if !dataplane.advertise.is_empty() {
            let list: Vec<_> = dataplane
                .advertise
                .iter()
                .map(ToString::to_string)
                .collect();
            arguments.extend(["--advertise".to_owned(), list.join(",")]);
        }
        for (name, text) in &config.turn.passed_on {
            arguments.extend([format!("--{name}"), text.clone()]);
        }
        let terminates_tls = behind.is_some();
        if let Some((files, address)) = behind {
            for (name, text) in [
                ("--tls-certificate", files.certificate.display().to_string()),
                ("--tls-key", files.key.display().to_string()),
                ("--http-upstream", reachable(address).to_string()),
            ] {
                arguments.extend([name.to_owned(), text]);
            }
        }
        // In an environment variable, because every user of the host can read arguments.
        let secrets = config.turn.secrets.join(",");
        let mut environment = vec![
            ("SPILLWAY_LOG", config.log.clone()),
            ("SPILLWAY_TURN_SECRET", secrets),
        ];
        if !dataplane.node.is_empty() {
            environment.push(("SPILLWAY_NODE", dataplane.node.clone()));
        }
        let started = StartSettings {
            arguments: arguments.clone(),
            turn_secret_ids: config
                .turn
                .secrets
                .iter()
                .map(|secret| secret_id(secret.as_bytes()))
                .collect(),
        };
        Ok(Self {
            bin,
            arguments,
            environment,
            socket,
            log: state.child_log(),
            terminates_tls,
            started,
            state: state.clone(),
        })
    }

    /// Keeps the data plane running until `ended` becomes true. Then stops it.
    pub(super) async fn run(self, mut ended: watch::Receiver<bool>) -> anyhow::Result<()> {
        let (first_pause, longest_pause) = RESTART_PAUSE;
        let mut pause = first_pause;
        let mut short_lives = 0;
        let mut proven = false;
        let mut hangup = signal(SignalKind::hangup()).context("cannot catch SIGHUP")?;
        loop {
            let started = clock::now();
            let mut process = match self.adopt().await? {
                Some(process) => process,
                None => self.start()?,
            };
            let said = loop {
                tokio::select! {
                    said = process.ended() => break said,
                    _ = ended.wait_for(|ended| *ended) => return process.stop().await,
                    _ = hangup.recv() => if self.terminates_tls {
                        process.signal(Signal::HUP);
                    }
                }
            };
            proven |= started.elapsed() >= VALID_SETTINGS_TIME;
            if started.elapsed() >= STABLE_TIME {
                pause = first_pause;
                short_lives = 0;
            } else {
                short_lives += 1;
            }
            let log = self.log.display();
            if short_lives >= FAILED_STARTS && !proven {
                bail!(
                    "{} ended {short_lives} times at once ({said}): {} (see {log})",
                    self.bin.display(),
                    last_error(&self.log),
                );
            }
            tracing::error!(%said, log = %log, restart_in_ms = pause.as_millis(), "data plane ended");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = ended.wait_for(|ended| *ended) => return Ok(()),
            }
            pause = (pause * 2).min(longest_pause);
        }
    }

    /// Takes over a running data plane on the control socket, with its own settings. A difference
    /// to the current settings is logged; it is an error if the data plane has to terminate TLS.
    async fn adopt(&self) -> anyhow::Result<Option<Process>> {
        let Some((peer, fd)) = self.alive().await else {
            return Ok(None);
        };
        let was = self.state.child_started()?.unwrap_or_default();
        if was != self.started {
            let differs = was.differs_from(&self.started);
            if self.terminates_tls {
                bail!(
                    "the data plane that is alive (process {peer}) was started with other settings ({differs}), and it \
                     would have to terminate TLS: stop it (kill {peer}), which ends its calls, or start with the settings it has"
                );
            }
            tracing::warn!(pid = peer, %differs, "data plane: it was started with other settings and keeps them until it is stopped");
        }
        tracing::info!(pid = peer, "data plane: alive, taken over");
        Ok(Some(Process::Adopted(fd)))
    }

    async fn alive(&self) -> Option<(i32, OwnedFd)> {
        let stream = timeout(START_TIME, UnixStream::connect(&self.socket)).await;
        let peer = stream.ok()?.ok()?.peer_cred().ok()?.pid()?;
        let pid = Pid::from_raw(peer)?;
        let fd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        Some((peer, fd))
    }

    fn start(&self) -> anyhow::Result<Process> {
        let bin = self.bin.display();
        let log = open_log(&self.log)?;
        let mut command = Command::new(&self.bin);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| is_for_child(name)))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(free_metrics_port())
            .stdin(Stdio::null())
            // A file, not a pipe: the data plane can outlive this process, and must still be able
            // to write.
            .stdout(log.try_clone().context("cannot share the log")?)
            .stderr(log)
            // In its own process group: Ctrl-C must not end it before clients are disconnected.
            .process_group(0)
            .kill_on_drop(false);
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {bin} (setting dataplane-bin)"))?;
        self.state.write_child_started(&self.started)?;
        tracing::info!(pid = child.id(), bin = %bin, "data plane: started");
        Ok(Process::Child(child))
    }
}

impl Process {
    /// Waits for the end of the process. Returns the exit status as text.
    async fn ended(&mut self) -> String {
        match self {
            Self::Child(child) => match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => format!("cannot wait for it: {error}"),
            },
            Self::Adopted(fd) => {
                while !has_ended(fd) {
                    tokio::time::sleep(CHECK_INTERVAL).await;
                }
                "gone".to_owned()
            }
        }
    }

    /// Sends SIGTERM, and SIGKILL if the process does not end in time.
    async fn stop(mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM);
        if timeout(STOP_TIME, self.ended()).await.is_err() {
            tracing::warn!("data plane: did not end in time after SIGTERM, killed");
            self.signal(Signal::KILL);
            let killed = timeout(Duration::from_secs(1), self.ended()).await;
            killed.context("the data plane cannot be killed")?;
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        // The process has already ended if this fails.
        let _ = match self {
            Self::Child(child) => child
                .id()
                .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
                .map(|pid| rustix::process::kill_process(pid, signal)),
            Self::Adopted(fd) => Some(rustix::process::pidfd_send_signal(fd, signal)),
        };
    }
}

/// If another data plane on this host uses the default address for metrics, the child takes any
/// free port, unless the address is set.
fn free_metrics_port() -> Option<(&'static str, &'static str)> {
    let chosen = std::env::var_os("SPILLWAY_METRICS").is_some();
    let taken = !chosen && std::net::TcpListener::bind(CHILD_METRICS).is_err();
    taken.then_some(("SPILLWAY_METRICS", "127.0.0.1:0"))
}

/// Names of the data plane's settings (docs/operating/settings.md), without `SPILLWAY_`.
const DATAPLANE_SETTINGS: [&str; 28] = [
    "NODE",
    "CONTROL",
    "METRICS",
    "UDP_PORT",
    "ICE_TCP",
    "TURN_SECRET",
    "TURN_SECRET_GRACE_SECONDS",
    "TURN_REALM",
    "TURN_HOST",
    "TURN_PORT",
    "TURN_TLS_PORT",
    "TLS_CERTIFICATE",
    "TLS_KEY",
    "HTTP_UPSTREAM",
    "TURN_PEERS",
    "TURN_NAT64_PREFIXES",
    "TURN_DENIED",
    "TURN_RELAY_PORTS",
    "SHARDS",
    "CORES",
    "ADVERTISE",
    "STEER",
    "IO",
    "EGRESS",
    "AEAD",
    "SOCKET_BUFFER_BYTES",
    "MAX_SESSIONS",
    "MAX_TRACKS_PER_SESSION",
];

/// True if the child gets this environment variable. It must not get the keys, nor unrelated
/// variables.
fn is_for_child(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    match name.strip_prefix("SPILLWAY_") {
        Some(setting) => DATAPLANE_SETTINGS.contains(&setting),
        None => ["PATH", "LANG", "LANGUAGE"].contains(&name) || name.starts_with("LC_"),
    }
}

/// True if the process has ended: then its pidfd is readable (pidfd_open(2)).
fn has_ended(fd: &OwnedFd) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    !matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(0))
}

fn default_binary() -> anyhow::Result<PathBuf> {
    let us = std::env::current_exe().context("cannot tell where this binary is")?;
    let bin = us.with_file_name("spillway-dataplane");
    if !bin.exists() {
        let bin = bin.display();
        bail!(
            "{bin} is not there: build it (cargo build --release) or name one with dataplane-bin"
        );
    }
    Ok(bin)
}

/// The last error in the child's log.
fn last_error(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    // An error starts with the program's name; the wrong settings follow on separate lines.
    let complaint = text
        .rfind("spillway-dataplane: ")
        .map(|at| text[at..].trim_end());
    complaint.unwrap_or("its log has no error").to_owned()
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    let large = std::fs::metadata(path).is_ok_and(|meta| meta.len() > CHILD_LOG_BYTES);
    let mut options = File::options();
    options.create(true).append(true);
    let file = options
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    if large {
        file.set_len(0).context("cannot start the log anew")?;
    }
    Ok(file)
}

/// The address at which this host reaches a listener on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const OPERATING: &str = include_str!("../../../docs/operating/settings.md");

    #[test]
    fn the_child_is_told_its_own_settings_and_nothing_else() {
        for name in [
            "SPILLWAY_STEER",
            "SPILLWAY_METRICS",
            "PATH",
            "LANG",
            "LC_ALL",
        ] {
            assert!(is_for_child(OsStr::new(name)), "{name}");
        }
        for name in [
            "SPILLWAY_KEYS",
            "SPILLWAY_ADMIN_TOKEN",
            "SPILLWAY_STORE",
            "SPILLWAY_API_SECRET",
            "SPILLWAY_CONFIG",
            "SPILLWAY_SECRETS_ON_STDIN",
            "AWS_SECRET_ACCESS_KEY",
            "HOME",
            "LD_PRELOAD",
            "",
        ] {
            assert!(!is_for_child(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn every_documented_setting_of_the_data_plane_is_passed_on() {
        let table = OPERATING.split("### spillway-dataplane").nth(1).unwrap();
        let table = table.split("### ").next().unwrap();
        let first_cells = table
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
        let names = first_cells.flat_map(|cell| cell.split(", "));
        let upper = |name: &str| {
            name.trim_matches(['`', ' '])
                .to_ascii_uppercase()
                .replace('-', "_")
        };
        // The log filter is passed in another way.
        let documented: BTreeSet<_> = names.map(upper).filter(|name| name != "LOG").collect();
        let known: BTreeSet<_> = DATAPLANE_SETTINGS.map(str::to_owned).into();
        assert_eq!(documented, known);
    }
}
