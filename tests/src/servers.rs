//! Signaling servers with a common data plane and Redis, and a load balancer before them.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::clock::TimeLimit;
use crate::node::{Node, binary, free_tcp_port};

/// `spillway serve`, as a process.
pub struct SignalingServer {
    child: Option<Child>,
    /// URL of the signaling server.
    pub url: String,
}

/// An HAProxy with the configuration docs/haproxy.cfg.
pub struct Balancer {
    child: Child,
    /// URL of the proxy's listener.
    pub url: String,
    _dir: tempfile::TempDir,
}

/// API key of all servers.
pub const KEY: (&str, &str) = ("K", "secret-secret-secret");
const START_LIMIT: Duration = Duration::from_secs(10);

impl SignalingServer {
    /// Starts a server with `store`, and the data plane `media`.
    pub async fn start(media: &Node, store: &str) -> anyhow::Result<Self> {
        Self::start_with(media, store, &[]).await
    }

    /// [`Self::start`] with additional `flags`.
    pub async fn start_with(media: &Node, store: &str, flags: &[&str]) -> anyhow::Result<Self> {
        let listen = format!("127.0.0.1:{}", free_tcp_port()?);
        Self::start_at(&listen, media, store, flags).await
    }

    /// [`Self::start_with`], listening on `listen`.
    pub async fn start_at(
        listen: &str,
        media: &Node,
        store: &str,
        flags: &[&str],
    ) -> anyhow::Result<Self> {
        let child = Command::new(binary("spillway"))
            .args(["serve", "--listen", listen, "--store", store])
            .args(["--keys", &format!("{}:{}", KEY.0, KEY.1), "--log", "warn"])
            .args(["--dataplane-control", &media.control_url()])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start spillway serve: is target/release built?")?;
        let server = Self {
            child: Some(child),
            url: format!("http://{listen}"),
        };
        let limit_left = TimeLimit::new(START_LIMIT);
        while server.ready().await.is_none_or(|(code, _)| code != 200) {
            anyhow::ensure!(
                !limit_left.is_over(),
                "the server at {} is not ready",
                server.url
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(server)
    }

    /// Status code and body of `/readyz`.
    pub async fn ready(&self) -> Option<(u16, Value)> {
        get(format!("{}/readyz", self.url)).await
    }

    /// True if `/healthz` answers.
    pub async fn healthy(&self) -> bool {
        get(format!("{}/healthz", self.url))
            .await
            .is_some_and(|(code, _)| code == 200)
    }

    /// Ends the server with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only if the process has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for SignalingServer {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn get(url: String) -> Option<(u16, Value)> {
    let ask = move || {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(2)))
            .build()
            .into();
        let mut answer = agent.get(&url).call().ok()?;
        let text = answer.body_mut().read_to_string().ok()?;
        let value = serde_json::from_str(&text).unwrap_or(Value::Null);
        Some((answer.status().as_u16(), value))
    };
    tokio::task::spawn_blocking(ask).await.ok()?
}

impl Balancer {
    /// Starts a proxy before `servers`.
    pub async fn start(servers: &[SignalingServer]) -> anyhow::Result<Self> {
        let manifest = env!("CARGO_MANIFEST_DIR");
        let example = std::fs::read_to_string(format!("{manifest}/../docs/haproxy.cfg"))?;
        let listen = format!("127.0.0.1:{}", free_tcp_port()?);
        let mut config = String::new();
        let mut servers = servers
            .iter()
            .map(|server| server.url.trim_start_matches("http://"));
        for line in example.lines() {
            let mut words: Vec<&str> = line.split_ascii_whitespace().collect();
            match &mut words[..] {
                ["bind", address] => *address = &listen,
                ["server", _, address] => match servers.next() {
                    Some(server) => *address = server,
                    None => continue,
                },
                ["maxconn", limit] => *limit = "2000",
                _ => {}
            }
            config += &words.join(" ");
            config.push('\n');
        }
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("haproxy.cfg");
        std::fs::write(&path, config)?;
        let child = Command::new("haproxy")
            .args(["-db".as_ref(), "-f".as_ref(), path.as_os_str()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start haproxy: is it installed?")?;
        let balancer = Self {
            child,
            url: format!("http://{listen}"),
            _dir: dir,
        };
        let limit_left = TimeLimit::new(START_LIMIT);
        while get(format!("{}/healthz", balancer.url)).await.is_none() {
            anyhow::ensure!(!limit_left.is_over(), "haproxy does not serve");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(balancer)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // Both fail only if the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
