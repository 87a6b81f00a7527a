//! Runs beside the data plane: reads its usage, and sends datagrams for the ceiling benchmark. For lab networks only:
//! every host that reaches the port can make it send.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::process::{self, Pid, Usage};
use super::sender::{Order, Sent};

/// Listening address and watched process.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// IP:PORT to listen on, in a lab network: every host that reaches it can make this host send
    #[arg(long)]
    listen: SocketAddr,
    /// Process to watch; several are summed [default: the one that listens on --control]
    #[arg(long)]
    dataplane_pid: Vec<u32>,
    /// Control API of the data plane, IP:PORT on this host
    #[arg(long)]
    control: Option<SocketAddr>,
}

/// A request to the agent: one JSON object per line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Report hardware and kernel of this host.
    Facts,
    /// Report the usage of the data plane.
    Usage,
    /// Send datagrams to the client.
    Send(Order),
}

/// Answer of the agent to an order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Hardware and kernel of this host.
    Facts(Facts),
    /// Usage of the data plane so far.
    Usage(Usage),
    /// Datagrams that the agent sent.
    Sent(Sent),
    /// Reason why the agent could not execute the order.
    Error(String),
}

/// Serves one client at a time, until the process ends.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let listener = TcpListener::bind(options.listen)?;
    loop {
        let (stream, _) = listener.accept()?;
        // Errors of a client's connection are ignored: the next client connects again.
        let _ = answer(stream, options);
    }
}

fn answer(stream: TcpStream, options: &Options) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let mut out = stream.try_clone()?;
    for line in BufReader::new(stream).lines() {
        let reply = match serde_json::from_str(&line?) {
            Ok(request) => {
                reply(request, options, local).unwrap_or_else(|e| Reply::Error(format!("{e:#}")))
            }
            Err(error) => Reply::Error(format!("not a request: {error}")),
        };
        writeln!(out, "{}", serde_json::to_string(&reply)?)?;
    }
    Ok(())
}

fn reply(request: Request, options: &Options, local: SocketAddr) -> anyhow::Result<Reply> {
    Ok(match request {
        Request::Facts => Reply::Facts(Facts::gather(Some(local.ip()))),
        Request::Usage => Reply::Usage(usage(options)?),
        Request::Send(order) => Reply::Sent(order.carry_out()?),
    })
}

fn usage(options: &Options) -> anyhow::Result<Usage> {
    let pids = &options.dataplane_pid;
    match options.control {
        Some(control) if pids.is_empty() => process::usage(process::listening_on(control)?),
        Some(_) | None => {
            anyhow::ensure!(!pids.is_empty(), "say --dataplane-pid or --control");
            process::sum(pids.iter().map(|pid| Pid(*pid)))
        }
    }
}
