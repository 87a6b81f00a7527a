//! Starts the threads of a data plane from its configuration.

mod bind; // UDP sockets of all shards
mod relay; // TURN servers
mod streams; // TCP and TLS listeners

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use spillway_wire::turn::secret_id;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{self, Config, Host};
use crate::control::{self, AdvertisedAddresses, Control};
use crate::event_loop::run;
use crate::ice::candidates::Candidates;
use crate::ice::credentials::IceKey;
use crate::io::clock;
use crate::io::egress::{EgressKind, EgressStart};
use crate::io::engine::EngineStart;
use crate::io::entropy::Entropy;
use crate::io::rlimit;
use crate::io::udp::ShardSockets;
use crate::key::ShardId;
use crate::mesh::mailbox::Mesh;
use crate::peer::build::PeerFactory;
use crate::shard::state::{Ice, Setup, Shard};

use relay::RelayStart;
use streams::StreamStart;

/// Memory that an executor registers with the kernel; packets of shards are not stored there.
const EXECUTOR_IO_BYTES: usize = 64 << 10;
/// Entries of an executor's ring: a few waits and timers.
const EXECUTOR_RING: usize = 64;

/// Number of ports to try when a port must be free for UDP and TCP.
const PORT_TRIES: u32 = 16;

/// Runs the data plane until a stop signal.
pub fn run(config: &Config) -> anyhow::Result<()> {
    rlimit::raise_files(config.cores.len())?;
    rlimit::take_all_files();
    let locked_memory = rlimit::raise_locked_memory(config.cores.len());
    let (port, sockets) = bind::bind(config, "udp-port", config.udp_port)?;
    let start = engine_start(config)?;
    let candidates = Candidates::new(&config.advertise, port);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _context = runtime.enter(); // signals are caught in the runtime
    // Without TLS no other code catches SIGHUP, which requests a reload of certificates and would end the process.
    let _hangup = signal(SignalKind::hangup()).context("cannot catch SIGHUP")?;
    let mut streams = StreamStart::new(config.cores.len());
    if config.ice_tcp {
        streams.bind_ice(config.udp_port, port)?;
    }
    let mut advertised = AdvertisedAddresses {
        addresses: candidates
            .as_slice()
            .iter()
            .map(ToString::to_string)
            .collect(),
        turn_urls: Vec::new(),
        turn_secret_ids: Vec::new(),
    };
    let relay = start_relay(config, &candidates, &mut streams, &mut advertised)?;
    let ice_key = IceKey::generate(&mut Entropy::System);
    let reached_at = candidates.as_slice().to_vec();
    let factory = PeerFactory::new(ice_key.clone(), reached_at, streams.has_ice(), config.aead)?;
    let mesh = Mesh::new(config.cores.len())?;
    let mut turn_services = match relay {
        Some(relay) => relay.turn_services()?.map(Some).collect(),
        None => Vec::new(),
    };
    turn_services.resize_with(config.cores.len(), || None);
    let parts = sockets.into_iter().zip(streams.build()?).zip(turn_services);
    let mut shards = Vec::new();
    for (index, ((media, streams), turn)) in (0..).zip(parts) {
        let ice = Ice {
            key: ice_key.clone(),
            candidates: candidates.clone(),
        };
        let setup = Setup {
            id: ShardId(index),
            mesh: Arc::clone(&mesh),
            ice,
            streams,
            entropy: Entropy::System,
        };
        let (turn_service, turn) = turn.unzip();
        let mut shard = Shard::new(setup, clock::now());
        shard.egress.turn = turn_service.map(Box::new);
        shards.push((shard, ShardSockets { media, turn }));
    }
    let _threads = spawn_all(config, shards, &start, &locked_memory)?;
    tracing::info!(
        node = config.node, engine = %start.kind, egress = %config.egress, aead = %config.aead.sealer(), cores = ?config.cores, addresses = advertised.addresses.join(" "),
        turn = advertised.turn_urls.join(" "), "ready"
    );
    let control = Control::new(
        config.clone(),
        advertised,
        factory,
        mesh,
        Entropy::System,
        clock::now(),
    );
    runtime.block_on(control::run::run(control, config))?;
    Ok(())
}

/// I/O engine and egress, as far as the kernel supports them.
fn engine_start(config: &Config) -> anyhow::Result<EngineStart> {
    let (kind, refused) = config.io.probe().context("io_uring is not available")?;
    if let Some(refused) = refused {
        tracing::info!(%refused, "io auto takes mmsg");
    }
    let egress = match config.egress {
        EgressKind::Stack => None,
        EgressKind::Packet => Some(EgressStart::new(config.socket_buffer_bytes)?),
    };
    Ok(EngineStart { kind, egress })
}

/// The TURN servers, if enabled, with their URLs and listeners.
fn start_relay<'a>(
    config: &'a Config,
    candidates: &'a Candidates,
    streams: &mut StreamStart,
    advertised: &mut AdvertisedAddresses,
) -> anyhow::Result<Option<RelayStart<'a>>> {
    let Some(turn) = &config.turn else {
        return Ok(None);
    };
    let relay = bind_relay(config, turn, candidates, streams)?;
    advertised.turn_urls = relay.urls(streams.bind_tls(turn)?);
    let ids = turn.secrets.iter().map(|secret| secret_id(secret));
    advertised.turn_secret_ids = ids.collect();
    Ok(Some(relay))
}

/// Binds the TURN port for UDP and TCP. If any port is allowed, searches for one that is free for both.
fn bind_relay<'a>(
    config: &Config,
    turn: &'a config::Turn,
    candidates: &'a Candidates,
    streams: &mut StreamStart,
) -> anyhow::Result<RelayStart<'a>> {
    let mut tries = 0;
    loop {
        let relay = RelayStart::bind(config, turn, candidates)?;
        match streams.bind_turn(relay.port()) {
            Ok(()) => return Ok(relay),
            Err(_taken) if turn.port == 0 && tries < PORT_TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Facts about the host that the configuration is checked against.
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

/// Starts each shard on its core. If the kernel refuses, the error also says whether the limit of locked memory is too
/// low.
fn spawn_all(
    config: &Config,
    shards: Vec<(Shard, ShardSockets)>,
    engine: &EngineStart,
    locked_memory: &Result<(), rlimit::TooLow>,
) -> anyhow::Result<Vec<ExecutorJoinHandle<()>>> {
    let spawn = |((shard, sockets), core): ((Shard, ShardSockets), &u32)| {
        let spawned = spawn(shard, *core, sockets, engine.clone());
        spawned.map_err(|error| match locked_memory {
            Err(too_low) => error.context(too_low.to_string()),
            Ok(()) => error,
        })
    };
    shards.into_iter().zip(&config.cores).map(spawn).collect()
}

fn spawn(
    shard: Shard,
    core: u32,
    sockets: ShardSockets,
    engine: EngineStart,
) -> anyhow::Result<ExecutorJoinHandle<()>> {
    let id = shard.id;
    let placement = Placement::Fixed(core as usize);
    LocalExecutorBuilder::new(placement)
        .name(&format!("shard-{id}"))
        .io_memory(EXECUTOR_IO_BYTES)
        .ring_depth(EXECUTOR_RING)
        .spawn(move || async move {
            let _guard = EndWithShard;
            if let Err(error) = run::run(shard, sockets, engine).await {
                // A failed shard makes some clients unreachable. The process ends, so that it is started again.
                tracing::error!(shard = id.0, %error, "shard failed");
                std::process::exit(1);
            }
        })
        .map_err(|error| anyhow::anyhow!("cannot start shard {id} on core {core}: {error}"))
}

/// Ends the process when its shard panics: a missing shard makes some clients unreachable, and an ended process is
/// started again.
struct EndWithShard;

impl Drop for EndWithShard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::exit(1);
        }
    }
}
