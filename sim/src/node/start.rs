//! Starts a node: the real control thread, shards and mesh, with simulated entropy and engines.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use spillway_dataplane::config::{Config, ControlAddr};
use spillway_dataplane::control::{AdvertisedAddresses, Control};
use spillway_dataplane::dtls;
use spillway_dataplane::ice::candidates::Candidates;
use spillway_dataplane::ice::credentials::IceKey;
use spillway_dataplane::io::egress::EgressKind;
use spillway_dataplane::io::engine::EngineChoice;
use spillway_dataplane::io::entropy::Entropy;
use spillway_dataplane::io::udp::Steering;
use spillway_dataplane::key::ShardId;
use spillway_dataplane::mesh::mailbox::Mesh;
use spillway_dataplane::peer::build::PeerFactory;
use spillway_dataplane::shard::state::{Ice, Setup, Shard};
use spillway_dataplane::srtp::AeadChoice;
use spillway_dataplane::stream::{Streams, TlsOptions};

use super::state::Node;
use super::worker::{RECEIVE_BUFFER_BYTES, Worker};
use crate::clock::Time;
use crate::dtls::Seeded;
use crate::rng::Seed;

/// Sessions that the node accepts.
const MAX_SESSIONS: usize = 1_000;
/// Tracks of a session.
const MAX_TRACKS: usize = 32;

impl Node {
    /// Starts a node with `shards` shards at `addr`. `life` counts the starts of the node.
    pub fn start(
        addr: SocketAddr,
        (shards, life): (u16, u32),
        seed: Seed,
        now: Time,
    ) -> anyhow::Result<Self> {
        let entropy =
            |name: &str| Entropy::seeded(seed.number(&format!("{name} of {addr} {life}")));
        let candidates = Candidates::new(&[addr.ip()], addr.port());
        let key = IceKey::generate(&mut entropy("ice key"));
        // The session layer requires a static reference. A run leaves a few bytes behind.
        let seeded = Box::leak(Box::new(Seeded::new(
            seed.stream(&format!("dtls of {addr} {life}")),
        )));
        let crypto = dtls::tapped(seeded, AeadChoice::Library);
        let reached_at = candidates.as_slice().to_vec();
        let factory = PeerFactory::with_crypto(key.clone(), reached_at, false, crypto)?;
        let mesh = Mesh::new(usize::from(shards))?;
        let mut workers = Vec::new();
        for id in 0..shards {
            let setup = Setup {
                id: ShardId(id),
                mesh: Arc::clone(&mesh),
                ice: Ice {
                    key: key.clone(),
                    candidates: candidates.clone(),
                },
                streams: Streams::new(Vec::new(), TlsOptions::default())?,
                entropy: entropy(&format!("shard {id}")),
            };
            workers.push(Worker::new(Shard::new(setup, now.instant()), now));
        }
        let advertised = AdvertisedAddresses {
            addresses: vec![addr.to_string()],
            turn_urls: Vec::new(),
            turn_secret_ids: Vec::new(),
        };
        let control = Control::new(
            config(addr, shards),
            advertised,
            factory,
            Arc::clone(&mesh),
            entropy("control"),
            now.instant(),
        );
        Ok(Self {
            addr,
            seed,
            control,
            mesh,
            workers,
            shard_by_source: BTreeMap::new(),
            pending: Vec::new(),
            watchers: BTreeMap::new(),
            next_tick: now,
        })
    }
}

fn config(addr: SocketAddr, shards: u16) -> Config {
    Config {
        node: addr.to_string(),
        control: ControlAddr::Unix("/nonexistent".into()),
        metrics: None,
        udp_port: addr.port(),
        ice_tcp: false,
        cores: (0..u32::from(shards)).collect(),
        advertise: vec![addr.ip()],
        steering: Steering::Hash,
        io: EngineChoice::Auto,
        egress: EgressKind::Stack,
        aead: AeadChoice::Library,
        socket_buffer_bytes: RECEIVE_BUFFER_BYTES,
        max_sessions: MAX_SESSIONS,
        max_tracks_per_session: MAX_TRACKS,
        turn: None,
        log: "info".to_owned(),
    }
}
