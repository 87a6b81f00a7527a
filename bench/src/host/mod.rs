//! The host under test: its hardware, the usage of its data plane, and orders to send, local or remote.

pub mod facts; // hardware and software of a host
pub mod process; // CPU time and memory of a process
pub mod sender; // methods of sending that the ceiling compares
pub mod agent; // agent on the host under test: `spillway-bench host --listen`

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

use self::agent::{Reply, Request};
use self::facts::Facts;
use self::process::Usage;
use self::sender::{Order, Sent};

/// The host of the measured data plane.
pub struct HostUnderTest {
    stream: BufReader<TcpStream>,
}

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Timeout of a request: longer than the longest order.
const REPLY_LIMIT: Duration = Duration::from_secs(90);

impl HostUnderTest {
    /// Connects to `spillway-bench host --listen` on the host under test.
    pub fn connect(target: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&target, CONNECT_LIMIT).with_context(|| {
            format!("no agent listens at {target}: run spillway-bench host --listen {target} there")
        })?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_LIMIT))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Hardware and kernel of the host under test.
    pub fn facts(&mut self) -> anyhow::Result<Facts> {
        match self.ask(&Request::Facts)? {
            Reply::Facts(facts) => Ok(facts),
            other => bail!("asked for facts, got {other:?}"),
        }
    }

    /// Usage of the data plane so far.
    pub fn usage(&mut self) -> anyhow::Result<Usage> {
        match self.ask(&Request::Usage)? {
            Reply::Usage(usage) => Ok(usage),
            other => bail!("asked for usage, got {other:?}"),
        }
    }

    /// Makes the host send datagrams to us. Returns when it has finished.
    pub fn send(&mut self, order: &Order) -> anyhow::Result<Sent> {
        match self.ask(&Request::Send(*order))? {
            Reply::Sent(sent) => Ok(sent),
            other => bail!("asked to send, got {other:?}"),
        }
    }

    fn ask(&mut self, request: &Request) -> anyhow::Result<Reply> {
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        self.stream.get_mut().write_all(line.as_bytes())?;
        line.clear();
        let read = self.stream.read_line(&mut line);
        read.context("no answer of the host under test")?;
        match serde_json::from_str(&line).context("the host under test hung up")? {
            Reply::Error(error) => bail!("the host under test says: {error}"),
            reply => Ok(reply),
        }
    }
}
