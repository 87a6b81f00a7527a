//! From a configuration to running threads.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};

use crate::candidates::Candidates;
use crate::config::{Config, Host};
use crate::control::{self, Control};
use crate::ice::IceKey;
use crate::io::engine::EngineKind;
use crate::io::{clock, udp};
use crate::key::ShardId;
use crate::mesh::Mesh;
use crate::peer::PeerFactory;
use crate::rlimit;
use crate::shard::{Shard, run};

/// Memory an executor registers with the kernel; shards keep their packets elsewhere.
const EXECUTOR_IO_BYTES: usize = 64 << 10;
/// Entries of an executor's ring: a few waits and timers.
const EXECUTOR_RING: usize = 64;

/// Runs the data plane until it is told to stop.
pub fn run(config: &Config) -> anyhow::Result<()> {
    rlimit::raise_files(config.cores.len())?;
    let locked_memory = rlimit::raise_locked_memory(config.cores.len());
    let (port, sockets, warnings) = udp::bind_all(
        config.udp_port,
        &config.cores,
        config.steering,
        config.socket_buffer_bytes,
    )
    .with_context(|| format!("cannot bind udp port {}", config.udp_port))?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let (engine, refused) = config.io.probe().context("io uring cannot be had")?;
    if let Some(refused) = refused {
        tracing::info!(%refused, "io auto takes mmsg");
    }
    let candidates = Candidates::new(&config.advertise, port);
    let addresses: Vec<String> = candidates
        .as_slice()
        .iter()
        .map(ToString::to_string)
        .collect();
    let ice_key = IceKey::random();
    let factory = PeerFactory::new(ice_key.clone(), candidates.as_slice().to_vec())?;
    let mesh = Mesh::new(config.cores.len())?;
    let mut shards = Vec::new();
    for ((index, core), sockets) in (0..).zip(&config.cores).zip(sockets) {
        let id = ShardId(index);
        let state = (Arc::clone(&mesh), ice_key.clone(), candidates.clone());
        let spawned = spawn(id, *core, state, (sockets, engine));
        shards.push(spawned.map_err(|error| match &locked_memory {
            Err(too_low) => error.context(too_low.to_string()),
            Ok(()) => error,
        })?);
    }
    tracing::info!(node = config.node, %engine, cores = ?config.cores, addresses = addresses.join(" "), "ready");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let control = Control::new(config.clone(), addresses, factory, mesh);
    runtime.block_on(control::run::run(control, config))?;
    Ok(())
}

/// What the configuration is checked against.
pub fn host() -> anyhow::Result<Host> {
    let allowed =
        rustix::thread::sched_getaffinity(None).context("cannot read the cpu affinity")?;
    let cores = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let interfaces = if_addrs::get_if_addrs().context("cannot read the host's addresses")?;
    let mut addresses: Vec<IpAddr> = interfaces
        .iter()
        .map(|interface| interface.ip())
        .filter(is_usable)
        .collect();
    addresses.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    addresses.dedup();
    Ok(Host {
        name,
        cores: cores.map(|cpu| cpu as u32).collect(),
        addresses,
    })
}

fn is_usable(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    }
}

fn spawn(
    id: ShardId,
    core: u32,
    (mesh, ice_key, candidates): (Arc<Mesh>, IceKey, Candidates),
    (sockets, engine): (udp::MediaSockets, EngineKind),
) -> anyhow::Result<ExecutorJoinHandle<()>> {
    let placement = Placement::Fixed(core as usize);
    LocalExecutorBuilder::new(placement)
        .name(&format!("shard-{id}"))
        .io_memory(EXECUTOR_IO_BYTES)
        .ring_depth(EXECUTOR_RING)
        .spawn(move || async move {
            let _guard = EndWithShard;
            let shard = Shard::new(id, mesh, ice_key, candidates, clock::now());
            if let Err(error) = run::run(shard, sockets, engine).await {
                // Without this shard a part of all clients reaches nobody: better to end and be
                // started again than to limp.
                tracing::error!(shard = id.0, %error, "shard failed");
                std::process::exit(1);
            }
        })
        .map_err(|error| anyhow::anyhow!("cannot start shard {id} on core {core}: {error}"))
}

/// Ends the process when its shard panics: without it a part of all clients reaches nobody, and a
/// process that ends is started again.
struct EndWithShard;

impl Drop for EndWithShard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::exit(1);
        }
    }
}
