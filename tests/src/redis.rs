//! Redis servers on free ports, alone or as a cluster. They end with the test.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::clock::TimeLimit;

/// A Redis server that the test started.
pub struct Server {
    child: Option<Child>,
    /// Port on the loopback address.
    pub port: u16,
    flags: Vec<String>,
    dir: tempfile::TempDir,
}

/// Three masters with a replica each.
pub struct Cluster {
    /// All six servers, masters and replicas.
    pub servers: Vec<Server>,
}

const START_LIMIT: Duration = Duration::from_secs(10);
/// Offset of the port of the cluster bus.
const BUS_OFFSET: u16 = 10_000;
const FORM_LIMIT: Duration = Duration::from_secs(30);
/// Time limit for several elections of a master.
const FAILOVER_LIMIT: Duration = Duration::from_secs(60);

impl Server {
    /// Starts a server without persistence.
    pub async fn start(flags: &[&str]) -> anyhow::Result<Self> {
        let mut server = Self {
            child: None,
            port: free_port()?,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            dir: tempfile::tempdir()?,
        };
        server.restart().await?;
        Ok(server)
    }

    /// Restarts the server on the same port, with an empty data set unless `flags` restore one.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--daemonize", "no", "--loglevel", "warning"])
            .args(["--dir".as_ref(), self.dir.path().as_os_str()])
            .args(&self.flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start redis-server: is it installed?")?;
        self.child = Some(child);
        let limit_left = TimeLimit::new(START_LIMIT);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            anyhow::ensure!(!limit_left.is_over(), "redis-server does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Ends the server with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only if the process has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// URL of the server: redis://127.0.0.1:port.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs a command with `redis-cli`.
    pub fn cli(&self, args: &[&str]) -> anyhow::Result<String> {
        cli(self.port, args)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Cluster {
    /// Starts a cluster, and waits until it is formed and the replicas are synchronized.
    pub async fn start() -> anyhow::Result<Self> {
        let mut servers = Vec::new();
        for _ in 0..6 {
            let mut flags = vec!["--cluster-enabled", "yes", "--cluster-node-timeout", "1500"];
            // With one replica, replication need not wait for more replicas.
            flags.extend(["--repl-diskless-sync-delay", "0"]);
            servers.push(Server::start(&flags).await?);
        }
        let addresses = servers
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port));
        let status = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .stdout(Stdio::null())
            .status()?;
        anyhow::ensure!(status.success(), "the cluster was not created: {status}");
        let cluster = Self { servers };
        cluster.formed().await?;
        cluster.in_step().await?;
        Ok(cluster)
    }

    /// Waits until every replica is synchronized. A replica without data cannot become a master.
    async fn in_step(&self) -> anyhow::Result<()> {
        let limit_left = TimeLimit::new(FORM_LIMIT);
        loop {
            let views = self.servers.iter();
            let views =
                views.map(|server| server.cli(&["info", "replication"]).unwrap_or_default());
            let replicas: Vec<String> = views.filter(|view| view.contains("role:slave")).collect();
            let is_up = |view: &String| view.contains("master_link_status:up");
            if replicas.len() * 2 == self.servers.len() && replicas.iter().all(is_up) {
                return Ok(());
            }
            anyhow::ensure!(
                !limit_left.is_over(),
                "a replica is not in step with its master"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// URLs of all servers, for clients.
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(Server::url).collect()
    }

    /// Waits until every running server reports that all slots are served.
    pub async fn formed(&self) -> anyhow::Result<()> {
        let limit_left = TimeLimit::new(FORM_LIMIT);
        loop {
            let running = self.servers.iter().filter(|server| server.child.is_some());
            let all = running.map(|server| server.cli(&["cluster", "info"]).unwrap_or_default());
            if all
                .into_iter()
                .all(|info| info.contains("cluster_state:ok"))
            {
                return Ok(());
            }
            anyhow::ensure!(!limit_left.is_over(), "the cluster does not form");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until a replica has become master instead of `dead`. Other servers report a healthy
    /// cluster until they notice the failure, and a failed election is repeated after seconds.
    pub async fn failed_over(&self, dead: usize) -> anyhow::Result<()> {
        let port = self.servers[dead].port.to_string();
        let limit_left = TimeLimit::new(FAILOVER_LIMIT);
        loop {
            let running = self.servers.iter().filter(|server| server.child.is_some());
            let mut views = running.map(|server| server.cli(&["cluster", "slots"]));
            let is_owner = |view: anyhow::Result<String>| {
                view.map_or(true, |view| view.lines().any(|line| line.trim() == port))
            };
            if !views.any(is_owner) {
                return self.formed().await;
            }
            anyhow::ensure!(!limit_left.is_over(), "nobody takes the place of {port}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until every server, including replicas, reports that the server at `port` has `slot`.
    pub async fn agreed(&self, slot: u16, port: u16) -> anyhow::Result<()> {
        let limit_left = TimeLimit::new(FORM_LIMIT);
        loop {
            let running = self.servers.iter().filter(|server| server.child.is_some());
            let mut views = running.map(|server| server.cli(&["cluster", "slots"]));
            let agrees = |view: anyhow::Result<String>| {
                view.is_ok_and(|view| owner_port(&view, slot) == Some(port))
            };
            if views.all(agrees) {
                return Ok(());
            }
            anyhow::ensure!(
                !limit_left.is_over(),
                "slot {slot} is not everywhere at {port}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Indices of the masters that have slots, with their ids and first slots.
    pub fn masters(&self) -> anyhow::Result<Vec<(usize, String, u16)>> {
        let running = self.servers.iter().find(|server| server.child.is_some());
        let nodes = running
            .context("all servers are dead")?
            .cli(&["cluster", "nodes"])?;
        let mut masters = Vec::new();
        for line in nodes.lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let [id, address, flags, .., slots] = &words[..] else {
                continue;
            };
            if !flags.contains("master") || flags.contains("fail") || words.len() < 9 {
                continue;
            }
            let port = address
                .split(['@', ','])
                .next()
                .and_then(|address| address.rsplit(':').next());
            let port: u16 = port.context("no port")?.parse()?;
            let index = self.servers.iter().position(|server| server.port == port);
            let first = slots
                .split('-')
                .next()
                .unwrap_or(slots)
                .parse()
                .unwrap_or(0);
            masters.push((
                index.context("a unknown_socket in the cluster")?,
                (*id).to_owned(),
                first,
            ));
        }
        Ok(masters)
    }

    /// Moves `slot` with all its keys to another master, like `redis-cli --cluster reshard`.
    /// Returns the port of the new master.
    pub fn migrate(&self, slot: u16) -> anyhow::Result<u16> {
        let masters = self.masters()?;
        let slot_text = slot.to_string();
        let owner = self.servers[masters[0].0].cli(&["cluster", "slots"])?;
        let port = owner_port(&owner, slot).context("nobody has the slot")?;
        let is_owner = |master: &&(usize, String, u16)| self.servers[master.0].port == port;
        let (from, from_id, _) = masters.iter().find(is_owner).context("no owner")?;
        let (to, to_id, _) = masters
            .iter()
            .find(|master| !is_owner(master))
            .context("no other")?;
        let (source, target) = (&self.servers[*from], &self.servers[*to]);
        target.cli(&["cluster", "setslot", &slot_text, "importing", from_id])?;
        source.cli(&["cluster", "setslot", &slot_text, "migrating", to_id])?;
        loop {
            let keys = source.cli(&["cluster", "getkeysinslot", &slot_text, "1"])?;
            let Some(key) = keys.lines().find(|line| !line.is_empty()) else {
                break;
            };
            source.cli(&[
                "migrate",
                "127.0.0.1",
                &target.port.to_string(),
                key,
                "0",
                "5000",
            ])?;
        }
        for (index, _, _) in [
            masters.iter().find(|m| m.0 == *to),
            masters.iter().find(|m| m.0 == *from),
        ]
        .into_iter()
        .flatten()
        .chain(&masters)
        {
            self.servers[*index].cli(&["cluster", "setslot", &slot_text, "node", to_id])?;
        }
        Ok(target.port)
    }
}

/// Port of the master of `slot` in the reply to `redis-cli cluster slots`: first, last, host, port,
/// id, ...
fn owner_port(reply: &str, slot: u16) -> Option<u16> {
    let lines: Vec<&str> = reply.lines().map(str::trim).collect();
    lines.windows(4).find_map(|window| {
        let (first, last): (u16, u16) = (window[0].parse().ok()?, window[1].parse().ok()?);
        let is_here = window[2] == "127.0.0.1" && (first..=last).contains(&slot);
        is_here.then(|| window[3].parse().ok())?
    })
}

fn cli(port: u16, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("redis-cli")
        .args(["-p", &port.to_string()])
        .args(args)
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    anyhow::ensure!(output.status.success(), "redis-cli {args:?}: {text}");
    anyhow::ensure!(
        !text.starts_with("ERR") && !text.starts_with("(error)"),
        "redis-cli {args:?}: {text}"
    );
    Ok(text)
}

/// A free port whose cluster bus port is free, too.
fn free_port() -> anyhow::Result<u16> {
    loop {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let bus = port.checked_add(BUS_OFFSET);
        if bus.is_some_and(|bus| TcpListener::bind(("127.0.0.1", bus)).is_ok()) {
            return Ok(port);
        }
    }
}
