//! A master, a replica and sentinels, all with passwords. And an address that can be switched to
//! another server.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream};

use crate::clock::TimeLimit;
use crate::redis::Server;

/// Password of the Redis servers.
pub const PASSWORD: &str = "of-the-servers";
/// Password of the sentinels.
const SENTINEL_PASSWORD: &str = "of-the-sentinels";
const FORM_LIMIT: Duration = Duration::from_secs(30);

/// A master, a replica and the sentinels that monitor them.
pub struct SentinelSetup {
    /// The first master, and its replica.
    pub servers: Vec<Server>,
    sentinels: Vec<Sentinel>,
}

struct Sentinel {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl SentinelSetup {
    /// Starts all processes. Waits until the sentinels can fail over.
    pub async fn start() -> anyhow::Result<Self> {
        let auth = ["--requirepass", PASSWORD, "--masterauth", PASSWORD];
        let mut flags = auth.to_vec();
        flags.extend(["--repl-diskless-sync-delay", "0"]);
        let master = Server::start(&flags).await?;
        let port = master.port.to_string();
        flags.extend(["--replicaof", "127.0.0.1", &port]);
        let replica = Server::start(&flags).await?;
        let mut watched = Self {
            servers: vec![master, replica],
            sentinels: Vec::new(),
        };
        watched.in_step(1).await?;
        for _ in 0..3 {
            let sentinel = Sentinel::start(&port)?;
            watched.sentinels.push(sentinel);
        }
        watched.formed().await?;
        Ok(watched)
    }

    /// URL of the sentinels for `--store`.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self
            .sentinels
            .iter()
            .map(|sentinel| format!("127.0.0.1:{}", sentinel.port))
            .collect();
        let hosts = hosts.join(",");
        format!("redis+sentinel://:{PASSWORD}@{hosts}/m?sentinel-password={SENTINEL_PASSWORD}")
    }

    /// Runs a command on a server.
    pub fn cli(&self, server: usize, args: &[&str]) -> anyhow::Result<String> {
        let mut all = vec!["-a", PASSWORD, "--no-auth-warning"];
        all.extend(args);
        self.servers[server].cli(&all)
    }

    /// Runs a command on a sentinel.
    pub fn ask(&self, args: &[&str]) -> anyhow::Result<String> {
        self.sentinels[0].cli(args)
    }

    /// Waits until `server` is synchronized with its master.
    pub async fn in_step(&self, server: usize) -> anyhow::Result<()> {
        let limit_left = TimeLimit::new(FORM_LIMIT);
        loop {
            let view = self
                .cli(server, &["info", "replication"])
                .unwrap_or_default();
            if view.contains("master_link_status:up") {
                return Ok(());
            }
            anyhow::ensure!(!limit_left.is_over(), "the replica is not in step");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until `server` is a master.
    pub async fn leads(&self, server: usize, limit: Duration) -> anyhow::Result<()> {
        let limit_left = TimeLimit::new(limit);
        while !self
            .cli(server, &["info", "replication"])
            .unwrap_or_default()
            .contains("role:master")
        {
            anyhow::ensure!(!limit_left.is_over(), "nobody was made master");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits until every sentinel knows the other sentinels and the replica.
    async fn formed(&self) -> anyhow::Result<()> {
        let limit_left = TimeLimit::new(FORM_LIMIT);
        loop {
            let all_know = self.sentinels.iter().all(|sentinel| {
                let view = sentinel.cli(&["info", "sentinel"]).unwrap_or_default();
                view.contains("slaves=1,sentinels=3")
            });
            if all_know {
                return Ok(());
            }
            anyhow::ensure!(
                !limit_left.is_over(),
                "the sentinels do not find each other"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Sentinel {
    fn start(master: &str) -> anyhow::Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("sentinel.conf");
        let lines = [
            format!("port {port}"),
            "bind 127.0.0.1".into(),
            format!("dir {}", dir.path().display()),
            format!("requirepass {SENTINEL_PASSWORD}"),
            format!("sentinel sentinel-pass {SENTINEL_PASSWORD}"),
            format!("sentinel monitor m 127.0.0.1 {master} 2"),
            format!("sentinel auth-pass m {PASSWORD}"),
            "sentinel down-after-milliseconds m 1000".into(),
            "sentinel failover-timeout m 3000".into(),
        ];
        std::fs::write(&path, lines.join("\n") + "\n")?;
        let child = Command::new("redis-server")
            .args([path.as_os_str(), "--sentinel".as_ref()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start a sentinel: is redis-server installed?")?;
        Ok(Self {
            child,
            port,
            _dir: dir,
        })
    }

    fn cli(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string(), "-a", SENTINEL_PASSWORD])
            .arg("--no-auth-warning")
            .args(args)
            .output()?;
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        // Both fail only if the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A TCP proxy. New connections go to its current target; open connections keep theirs.
pub struct Address {
    /// TCP port on the loopback address.
    pub port: u16,
    target: Arc<AtomicU16>,
    task: tokio::task::JoinHandle<()>,
}

impl Address {
    /// Starts a proxy to port `target` on loopback.
    pub async fn of(target: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let target = Arc::new(AtomicU16::new(target));
        let to = Arc::clone(&target);
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let port = to.load(Ordering::Relaxed);
                tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                        // Either side may close the connection.
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Ok(Self { port, target, task })
    }

    /// From now on, new connections go to `target`.
    pub fn point_at(&self, target: u16) {
        self.target.store(target, Ordering::Relaxed);
    }

    /// URL of the server: redis://127.0.0.1:port.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        self.task.abort();
    }
}
