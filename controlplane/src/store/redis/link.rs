//! Connections to the Redis servers: one command connection to each. The slot of a room selects the
//! server.
//!
//! Commands are scripts that may be repeated. This module follows redirections of a cluster. If a
//! server refuses commands or does not answer, its connection is closed. The next connection goes
//! to the same address, resolved again, or to the master that Sentinel names.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, RedisError, Value};
use tokio::sync::mpsc;

use super::errors::{LinkError, ReplyKind, check_server, link_error, reply_kind};
use super::partition::{Partition, Slot};
use super::pipeline::Pipeline;
use super::protocol_check;
use super::rights;
use super::script::{self, Script};
use super::sentinel::{MonitoredMaster, Sentinels};
use super::server::{Generation, Server};
use super::servers::{ServerKind, Servers};
use super::topology::{Address, Topology};
use crate::limits::{SILENT_STORE_PATIENCE, STORE_PATIENCE};

/// Time to connect to a server.
const CONNECT_TIME: Duration = Duration::from_millis(1_000);
/// Time limit of a reply. It is long, because a busy server must not count as unavailable.
const RESPONSE_TIME: Duration = Duration::from_millis(2_000);
/// Redirections that one command follows.
const REDIRECTS: usize = 6;
/// Pause before a command is repeated while its slot moves between two servers.
const MOVING_PAUSE: Duration = Duration::from_millis(50);
/// First and longest pause between attempts of [`Link::run_patiently`]; doubled each time.
const PATIENT_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(400));

/// Interval at which the rights of the Redis user are checked on an open connection.
const RIGHTS_INTERVAL: Duration = Duration::from_secs(3);

/// Connections to all Redis servers of the store, and the cluster's topology.
#[derive(Debug)]
pub(super) struct Link {
    /// Random id of this signaling server in the store.
    pub(super) server_id: String,
    servers: Arc<Servers>,
    sentinels: Sentinels,
    server_by_address: Mutex<HashMap<Address, Arc<Server>>>,
    topology: Mutex<Option<Arc<Topology>>>,
    /// Held during a topology query, so that other tasks wait for its result.
    topology_query: tokio::sync::Mutex<()>,
    /// Start and reason of the current trouble: some writes fail, or a subscription is missing.
    trouble: Mutex<Option<(Instant, String)>>,
}

impl Link {
    /// A link of `server_id` to these servers.
    pub(super) fn new(servers: Servers, server_id: String) -> Self {
        Self {
            server_id,
            servers: Arc::new(servers),
            sentinels: Sentinels::default(),
            server_by_address: Mutex::default(),
            topology: Mutex::default(),
            topology_query: tokio::sync::Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// Runs `script` on the server of `slot`. Repeats for a short time while no server can run it,
    /// because a master may be failing over.
    pub(super) async fn run_patiently(
        &self,
        slot: Slot,
        script: &Script,
    ) -> Result<Value, LinkError> {
        let (start, mut pause) = (Instant::now(), PATIENT_PAUSE.0);
        loop {
            match self.run(slot, script).await {
                Err(error) if self.may_pass(&error, start) => {
                    tokio::time::sleep(pause).await;
                    pause = PATIENT_PAUSE.1.min(2 * pause);
                }
                outcome => return outcome,
            }
        }
    }

    /// True if `error`, of a call that began at `start`, may pass soon.
    pub(super) fn may_pass(&self, error: &LinkError, start: Instant) -> bool {
        let patience = match error {
            LinkError::Broken(_) => return false,
            LinkError::Unavailable(_) | LinkError::Insecure(_) => SILENT_STORE_PATIENCE,
            // For example a demoted master, soon replaced by another one.
            LinkError::Refused(_) => STORE_PATIENCE,
        };
        let trouble = lock(&self.trouble);
        let since = trouble.as_ref().map_or(start, |(since, _)| *since);
        since.min(start).elapsed() < patience
    }

    /// Runs `script` on the server of `slot`.
    pub(super) async fn run(&self, slot: Slot, script: &Script) -> Result<Value, LinkError> {
        let result = self.try_run(slot, script).await;
        if let Err(error) = &result {
            self.note_trouble(error);
        }
        result
    }

    async fn try_run(&self, slot: Slot, script: &Script) -> Result<Value, LinkError> {
        let (mut asked, mut asking, mut left) = (None, false, false);
        let mut last = None;
        for _ in 0..REDIRECTS {
            let address = match asked.take() {
                Some(address) => address,
                None => self.owner(slot).await?,
            };
            match self.run_at(&address, script, asking).await {
                Ok(value) => return Ok(value),
                Err(Failure::Moved(to)) => {
                    self.forget_topology();
                    (asked, asking) = (to, false);
                }
                Err(Failure::Ask(to)) => (asked, asking) = (Some(to), true),
                Err(Failure::Busy(error)) => {
                    last = Some(error);
                    self.forget_topology();
                    asking = false;
                    tokio::time::sleep(MOVING_PAUSE).await;
                }
                // The address is tried again at once, because another server may have taken it
                // over.
                Err(Failure::Disconnected(error)) if !left => {
                    self.forget_topology();
                    (left, asking, last) = (true, false, Some(error));
                }
                Err(Failure::Disconnected(error) | Failure::Final(error)) => {
                    self.forget_topology();
                    return Err(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| {
            LinkError::Unavailable(format!("slot {} moved {REDIRECTS} times meanwhile", slot.0))
        }))
    }

    /// Publishes to `partition` without waiting for the result. False if too many commands wait, or
    /// without a connection.
    pub(super) fn publish(&self, partition: Partition, message: &str) -> bool {
        let topology = lock(&self.topology).clone();
        let owner = topology
            .as_ref()
            .and_then(|topology| topology.owner(partition.slot()));
        let Some(Some(Ok((_, pipeline)))) = owner.map(|address| self.server(address).current())
        else {
            return false;
        };
        let mut command = redis::cmd("SPUBLISH");
        command.arg(partition.channel()).arg(message);
        pipeline.send(command)
    }

    /// The server of `slot` in the current topology.
    pub(super) async fn owner(&self, slot: Slot) -> Result<Address, LinkError> {
        let topology = self.topology().await?;
        let owner = topology.owner(slot).cloned();
        owner.ok_or_else(|| {
            self.forget_topology();
            LinkError::Unavailable(format!("no server has slot {}", slot.0))
        })
    }

    /// Generation of the current command connection to the server at `address`.
    pub(super) fn generation(&self, address: &Address) -> Generation {
        self.server(address).generation()
    }

    /// Opens a connection to a master. The server's pushes go to `pushes`.
    pub(super) async fn connect(
        &self,
        address: &Address,
        pushes: Option<mpsc::UnboundedSender<PushInfo>>,
    ) -> Result<MultiplexedConnection, LinkError> {
        let mut connection = self
            .open_connection(address, pushes, ServerKind::Server)
            .await?;
        let hello: HashMap<String, Value> = redis::cmd("HELLO")
            .query_async(&mut connection)
            .await
            .map_err(|error| link_error(address, &error))?;
        check_server(address, &hello)?;
        Ok(connection)
    }

    async fn open_connection(
        &self,
        address: &Address,
        pushes: Option<mpsc::UnboundedSender<PushInfo>>,
        kind: ServerKind,
    ) -> Result<MultiplexedConnection, LinkError> {
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIME))
            .set_response_timeout(Some(RESPONSE_TIME));
        if let Some(pushes) = pushes {
            config = config.set_push_sender(pushes);
        }
        let client = self.client(address, kind).await?;
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(2 * CONNECT_TIME, connecting).await {
            Ok(connection) => connection.map_err(|error| link_error(address, &error)),
            Err(_) => {
                let said = format!("Redis at {address} does not answer within {CONNECT_TIME:?}");
                Err(LinkError::Unavailable(said))
            }
        }
    }

    /// The error text if one of the servers uses TLS unexpectedly, or does not use it.
    pub(super) async fn wrong_protocol(&self) -> Option<String> {
        let known: BTreeSet<_> = lock(&self.server_by_address).keys().cloned().collect();
        for address in self.servers.named().iter().chain(&known) {
            let said = protocol_check::wrong_protocol(address, self.servers.are_encrypted()).await;
            if said.is_some() {
                return said;
            }
        }
        None
    }

    /// Checks every master with a write, and reads the topology again.
    pub(super) async fn probe(&self) -> Result<(), LinkError> {
        let topology = self.find_topology(Freshness::Fresh).await?;
        for (address, partition) in topology.masters() {
            let Some(partition) = partition else {
                self.pipeline(address).await?;
                continue;
            };
            self.check_rights(address).await?;
            let script = script::probe(&partition.probe_key(&self.server_id));
            match self.run_at(address, &script, false).await {
                // The next command for a moved slot finds its new server.
                Ok(_) | Err(Failure::Moved(_) | Failure::Ask(_) | Failure::Busy(_)) => {
                    self.server(address).succeeded();
                }
                Err(Failure::Disconnected(error) | Failure::Final(error)) => {
                    self.forget_topology();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Checks rights while a connection is open. An administrator can revoke rights at any time,
    /// and the probe script does not use all of them.
    async fn check_rights(&self, address: &Address) -> Result<(), LinkError> {
        let (generation, pipeline) = self.pipeline(address).await?;
        let server = self.server(address);
        if !server.check_rights(RIGHTS_INTERVAL) {
            return Ok(());
        }
        let tried = rights::check_all(address, &mut pipeline.connection(), self.user()).await;
        tried.inspect_err(|error| server.drop_connection(generation, error))
    }

    fn user(&self) -> (&str, &str) {
        (&self.server_id, self.servers.user())
    }

    /// Why some writes fail or a subscription is missing; `None` if all is well.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).as_ref().map(|(_, why)| why.clone())
    }

    /// Notes trouble. Only [`Link::clear_trouble`] clears it, because other commands may succeed
    /// meanwhile.
    pub(super) fn note_trouble(&self, error: &LinkError) {
        let mut trouble = lock(&self.trouble);
        let since = trouble
            .as_ref()
            .map_or_else(Instant::now, |(since, _)| *since);
        match error {
            // An error of one key does not affect other keys.
            LinkError::Broken(_) => {}
            LinkError::Unavailable(_) | LinkError::Insecure(_) | LinkError::Refused(_) => {
                *trouble = Some((since, error.to_string()));
            }
        }
    }

    /// Clears the trouble: every server accepts writes, and all partitions are subscribed to.
    pub(super) fn clear_trouble(&self) {
        *lock(&self.trouble) = None;
    }

    pub(super) fn forget_topology(&self) {
        *lock(&self.topology) = None;
    }

    async fn topology(&self) -> Result<Arc<Topology>, LinkError> {
        if let Some(topology) = lock(&self.topology).clone() {
            return Ok(topology);
        }
        self.find_topology(Freshness::Cached).await
    }

    async fn find_topology(&self, freshness: Freshness) -> Result<Arc<Topology>, LinkError> {
        let _asking = self.topology_query.lock().await;
        let known = lock(&self.topology).clone();
        if let (Some(topology), Freshness::Cached) = (known, freshness) {
            return Ok(topology);
        }
        let asked = match self.servers.monitored() {
            Some(monitored) => self.ask_sentinels(monitored).await,
            None => self.ask_servers().await,
        };
        let topology = asked.map(Arc::new);
        *lock(&self.topology) = topology.as_ref().ok().cloned();
        topology
    }

    async fn ask_sentinels(&self, monitored: &MonitoredMaster) -> Result<Topology, LinkError> {
        let connect = |address: Address| async move {
            self.open_connection(&address, None, ServerKind::Sentinel)
                .await
        };
        let master = self.sentinels.master(monitored, connect).await?;
        // A sentinel with old data names a server that has become a replica; connecting checks
        // that.
        self.pipeline(&master).await?;
        Ok(Topology::single(master))
    }

    async fn ask_servers(&self) -> Result<Topology, LinkError> {
        let known: Vec<_> = lock(&self.server_by_address).keys().cloned().collect();
        let mut last = LinkError::Unavailable("no Redis server is named".into());
        for address in self.servers.named().iter().chain(&known) {
            match self.ask_topology(address).await {
                Ok(topology) => return Ok(topology),
                // An error that a server returned is more important than a server that did not answer.
                Err(_) if matches!(last, LinkError::Refused(_)) => {}
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask_topology(&self, address: &Address) -> Result<Topology, LinkError> {
        let (generation, pipeline) = self.pipeline(address).await?;
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        match pipeline.request(command, false).await {
            Ok(reply) => Topology::parse(reply, address).ok_or_else(|| {
                LinkError::Unavailable(format!("the cluster of {address} has no slots yet"))
            }),
            Err(error) if error.to_string().contains("cluster support disabled") => {
                Ok(Topology::single(address.clone()))
            }
            Err(error) => {
                let error = link_error(address, &error);
                self.server(address).drop_connection(generation, &error);
                Err(error)
            }
        }
    }

    fn server(&self, address: &Address) -> Arc<Server> {
        let mut servers = lock(&self.server_by_address);
        Arc::clone(servers.entry(address.clone()).or_default())
    }

    /// The command connection. Before it is used, its server's role and its user's rights are
    /// checked.
    async fn pipeline(&self, address: &Address) -> Result<(Generation, Pipeline), LinkError> {
        let server = self.server(address);
        if let Some(current) = server.current() {
            return current;
        }
        let _connecting = server.connecting.lock().await;
        if let Some(current) = server.current() {
            return current;
        }
        let connected = async {
            let mut connection = self.connect(address, None).await?;
            rights::check_all(address, &mut connection, self.user()).await?;
            Ok(Pipeline::new(connection))
        };
        match connected.await {
            Ok(pipeline) => Ok((server.connected(pipeline.clone()), pipeline)),
            Err(error) => {
                server.failed(&error);
                Err(error)
            }
        }
    }

    async fn run_at(
        &self,
        address: &Address,
        script: &Script,
        asking: bool,
    ) -> Result<Value, Failure> {
        let (generation, pipeline) = self.pipeline(address).await.map_err(Failure::Final)?;
        let mut answer = pipeline.request(script.by_hash(), asking).await;
        if answer
            .as_ref()
            .is_err_and(|error| error.code() == Some("NOSCRIPT"))
        {
            answer = pipeline.request(script.by_source(), asking).await;
        }
        answer.map_err(|error| self.failure((address, generation), &error))
    }

    fn failure(
        &self,
        (address, generation): (&Address, Generation),
        error: &RedisError,
    ) -> Failure {
        let means = link_error(address, error);
        match reply_kind(error) {
            ReplyKind::Redirect => match (error.code(), redirected(address, error)) {
                (Some("ASK"), Some(to)) => Failure::Ask(to),
                (Some("ASK"), None) => Failure::Busy(means),
                (_, to) => Failure::Moved(to),
            },
            ReplyKind::Busy => Failure::Busy(means),
            ReplyKind::Reconnect => {
                self.server(address).drop_connection(generation, &means);
                // A server that timed out would most likely time out again.
                if error.is_timeout() {
                    Failure::Final(means)
                } else {
                    Failure::Disconnected(means)
                }
            }
            ReplyKind::Final => Failure::Final(means),
        }
    }

    /// Makes a client. Runs on a blocking thread, because it reads certificate files.
    async fn client(
        &self,
        address: &Address,
        kind: ServerKind,
    ) -> Result<redis::Client, LinkError> {
        let (servers, address) = (Arc::clone(&self.servers), address.clone());
        let made = tokio::task::spawn_blocking(move || servers.client(&address, kind));
        made.await
            .unwrap_or_else(|_| Err(LinkError::Unavailable("the process is ending".into())))
    }
}

/// How fresh the topology must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freshness {
    /// A cached topology is enough.
    Cached,
    Fresh,
}

/// Result of a command that failed on one server.
enum Failure {
    /// MOVED: another server has the slot.
    Moved(Option<Address>),
    /// ASK: the slot is moving, and another server already has the key.
    Ask(Address),
    /// No server can run the command now.
    Busy(LinkError),
    /// The connection was closed; the command may be repeated.
    Disconnected(LinkError),
    Final(LinkError),
}

/// Target of a cluster's redirection. A server that does not know its own address sends an empty
/// host: then it is the host of `from`.
fn redirected(from: &Address, error: &RedisError) -> Option<Address> {
    let (target, _) = error.redirect_node()?;
    let (host, port) = target.rsplit_once(':')?;
    let host = if host.is_empty() { &from.host } else { host };
    Some(Address {
        host: host.to_owned(),
        port: port.parse().ok()?,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves whole values: each change is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
