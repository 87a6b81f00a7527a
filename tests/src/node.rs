//! A data plane process on free ports. It ends with the test.

use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use spillway_wire::dataplane as proto;
use spillway_wire::dataplane::data_plane_client::DataPlaneClient;
use tonic::transport::{Channel, Endpoint};

use crate::clock::TimeLimit;

/// A running data plane.
pub struct Node {
    child: Child,
    metrics: String,
    control: String,
    /// Client of the node's control API.
    pub client: DataPlaneClient<Channel>,
}

const START_LIMIT: Duration = Duration::from_secs(10);

impl Node {
    /// Starts a data plane with `shards` shards, or one per core if there are fewer cores.
    pub async fn start(shards: usize, flags: &[&str]) -> anyhow::Result<Self> {
        let control = format!("127.0.0.1:{}", free_tcp_port()?);
        let metrics = format!("127.0.0.1:{}", free_tcp_port()?);
        let cores = std::thread::available_parallelism()?.get();
        let advertise = ["--advertise", "127.0.0.1"];
        let advertise = advertise
            .into_iter()
            .filter(|_| !flags.contains(&advertise[0]));
        let child = Command::new(binary("spillway-dataplane"))
            .args([
                "--control",
                &control,
                "--metrics",
                &metrics,
                "--udp-port",
                "0",
            ])
            .args(advertise)
            .args(["--log", "warn"])
            .args(["--shards", &shards.min(cores).to_string()])
            .args(flags)
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the data plane: is target/release built?")?;
        let limit_left = TimeLimit::new(START_LIMIT);
        loop {
            match Endpoint::from_shared(format!("http://{control}"))?
                .connect()
                .await
            {
                Ok(channel) => {
                    let client = DataPlaneClient::new(channel);
                    return Ok(Self {
                        child,
                        metrics,
                        control,
                        client,
                    });
                }
                Err(error) if limit_left.is_over() => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Control address for a control plane.
    pub fn control_url(&self) -> String {
        format!("http://{}", self.control)
    }

    /// URL of the metrics.
    pub fn metrics_url(&self) -> String {
        format!("http://{}/metrics", self.metrics)
    }

    /// Address of the node's media port.
    pub async fn media_addr(&mut self) -> anyhow::Result<std::net::SocketAddr> {
        Ok(self
            .node()
            .await?
            .addresses
            .first()
            .context("no media address")?
            .parse()?)
    }

    /// Reads the description of the data plane.
    pub async fn node(&mut self) -> anyhow::Result<proto::Node> {
        Ok(self
            .client
            .get_node(proto::GetNodeRequest {})
            .await?
            .into_inner())
    }

    /// The session with this name; `None` if there is none.
    pub async fn session(&mut self, name: &str) -> anyhow::Result<Option<proto::Session>> {
        let state = self
            .client
            .get_state(proto::GetStateRequest::default())
            .await?
            .into_inner();
        Ok(state
            .sessions
            .into_iter()
            .find(|session| session.session == name))
    }

    /// A counter, summed over all shards. `label` selects a value of its labels. Values are at most
    /// one report interval old.
    pub fn counter(&self, name: &str, label: &str) -> anyhow::Result<f64> {
        let url = format!("http://{}/metrics", self.metrics);
        let text = ureq::get(&url).call()?.into_body().read_to_string()?;
        let prefix = format!("spillway_dataplane_{name}{{");
        let lines = text
            .lines()
            .filter(|line| line.starts_with(&prefix) && line.contains(label));
        Ok(lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }

    /// CPU time of all threads so far.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        let mut ns = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let schedstat = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let running = schedstat.split(' ').next().context("no running time")?;
            ns += running.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(ns))
    }

    /// Resident memory of the process, in bytes.
    pub fn rss_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .context("no VmRSS")?;
        let kib: u64 = line
            .split_whitespace()
            .nth(1)
            .context("no number")?
            .parse()?;
        Ok(kib * 1024)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Path of `program` in this build.
pub fn binary(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().expect("a test has an executable");
    path.pop(); // target/release/deps
    path.pop();
    path.join(name)
}

/// A TCP port without a listener.
pub fn free_tcp_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A socket whose address belongs to no session.
pub fn unknown_socket() -> anyhow::Result<UdpSocket> {
    Ok(UdpSocket::bind("127.0.0.1:0")?)
}
