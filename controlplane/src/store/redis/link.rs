//! Connections to the Redis servers: one to each for commands, found by the slot of what they are about.
//!
//! Commands are scripts that may be sent again. What a cluster says of moved slots is followed here; a
//! server that does not answer is reported at once, and asked again a little later.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, PushInfo, RedisError, Value};
use tokio::sync::mpsc;

use super::partition::Slot;
use super::script::Script;
use super::servers::Servers;
use super::stranger;
use super::topology::{Address, Topology};
use super::trouble::{LinkError, fit, refusal};

/// For a connection to stand.
const CONNECT_TIME: Duration = Duration::from_millis(1_000);
/// For a command to be answered; a server that is merely busy must not be taken for one that is away.
const RESPONSE_TIME: Duration = Duration::from_millis(2_000);
/// A server that could not be reached is not tried again before.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Times a command follows what the cluster says of its slot.
const REDIRECTS: usize = 6;
/// While a slot is between two servers.
const MOVING_PAUSE: Duration = Duration::from_millis(50);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Link {
    servers: Arc<Servers>,
    server_by_address: Mutex<HashMap<Address, Server>>,
    topology: Mutex<Option<Arc<Topology>>>,
    /// Why the last command or probe failed.
    trouble: Mutex<Option<String>>,
}

#[derive(Default)]
struct Server {
    connection: Option<MultiplexedConnection>,
    /// When it last did, and why.
    failed: Option<(Instant, String)>,
}

impl Link {
    /// To these.
    pub(super) fn new(servers: Servers) -> Self {
        Self {
            servers: Arc::new(servers),
            server_by_address: Mutex::default(),
            topology: Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// Runs `script` where `slot` is.
    pub(super) async fn run(&self, slot: Slot, script: &Script) -> Result<Value, LinkError> {
        let mut asked = None;
        let mut asking = false;
        let mut last = None;
        for _ in 0..REDIRECTS {
            let address = match asked.take() {
                Some(address) => address,
                None => self.owner(slot).await?,
            };
            match self.run_at(&address, script, asking).await {
                Ok(value) => {
                    self.note(None);
                    return Ok(value);
                }
                Err(Failure::Moved(to)) => {
                    self.forget_topology();
                    (asked, asking) = (to, false);
                }
                Err(Failure::Ask(to)) => (asked, asking) = (Some(to), true),
                Err(Failure::Moving(why)) => {
                    last = Some(LinkError::Unavailable(why));
                    self.forget_topology();
                    asking = false;
                    tokio::time::sleep(MOVING_PAUSE).await;
                }
                Err(Failure::Final(error)) => {
                    match error {
                        LinkError::Unavailable(_) | LinkError::Insecure(_) => {
                            self.forget_topology();
                        }
                        LinkError::Refused(_) => {}
                    }
                    self.note(Some(&error));
                    return Err(error);
                }
            }
        }
        let error = last.unwrap_or_else(|| {
            LinkError::Unavailable(format!("slot {} moved {REDIRECTS} times meanwhile", slot.0))
        });
        self.note(Some(&error));
        Err(error)
    }

    /// The server that has `slot`, as far as is known.
    pub(super) async fn owner(&self, slot: Slot) -> Result<Address, LinkError> {
        let topology = self.topology().await?;
        let owner = topology.owner(slot).cloned();
        owner.ok_or_else(|| {
            self.forget_topology();
            LinkError::Unavailable(format!("no server has slot {}", slot.0))
        })
    }

    /// A connection whose pushes go to `pushes`.
    pub(super) async fn connect(
        &self,
        address: &Address,
        pushes: Option<mpsc::UnboundedSender<PushInfo>>,
    ) -> Result<MultiplexedConnection, LinkError> {
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIME))
            .set_response_timeout(Some(RESPONSE_TIME));
        if let Some(pushes) = pushes {
            config = config.set_push_sender(pushes);
        }
        let said = |error: RedisError| refusal(address, &error);
        let client = self.client(address).await?;
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let connecting = tokio::time::timeout(2 * CONNECT_TIME, connecting).await;
        let mut connection = match connecting {
            Ok(connection) => connection.map_err(said)?,
            Err(_) => {
                let said = format!("Redis at {address} does not answer within {CONNECT_TIME:?}");
                return Err(LinkError::Unavailable(said));
            }
        };
        let hello: HashMap<String, Value> = redis::cmd("HELLO")
            .query_async(&mut connection)
            .await
            .map_err(said)?;
        fit(address, &hello)?;
        Ok(connection)
    }

    /// Whether one of the servers is encrypted where it should not be or the other way round.
    pub(super) async fn mistaken(&self) -> Option<String> {
        let known: BTreeSet<_> = lock(&self.server_by_address).keys().cloned().collect();
        for address in self.servers.seeds.iter().chain(&known) {
            let said = stranger::mistaken(address, self.servers.are_encrypted()).await;
            if said.is_some() {
                return said;
            }
        }
        None
    }

    /// Asks every server whether it is there; finds out what moved.
    pub(super) async fn probe(&self) -> Result<(), LinkError> {
        self.forget_topology();
        let topology = self
            .topology()
            .await
            .inspect_err(|error| self.note(Some(error)))?;
        for address in topology.masters() {
            let mut connection = self
                .connection(address)
                .await
                .inspect_err(|error| self.note(Some(error)))?;
            let answer = redis::cmd("PING").exec_async(&mut connection).await;
            if let Err(error) = answer {
                let error = refusal(address, &error);
                self.failed(address, &error);
                self.note(Some(&error));
                return Err(error);
            }
        }
        self.note(None);
        Ok(())
    }

    /// Why the last command or probe failed, if it did.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    fn note(&self, error: Option<&LinkError>) {
        *lock(&self.trouble) = error.map(ToString::to_string);
    }

    pub(super) fn forget_topology(&self) {
        *lock(&self.topology) = None;
    }

    async fn topology(&self) -> Result<Arc<Topology>, LinkError> {
        if let Some(topology) = lock(&self.topology).clone() {
            return Ok(topology);
        }
        let known: Vec<_> = lock(&self.server_by_address).keys().cloned().collect();
        let mut last = LinkError::Unavailable("no Redis server is named".into());
        for address in self.servers.seeds.iter().chain(&known) {
            match self.ask_topology(address).await {
                Ok(topology) => {
                    let topology = Arc::new(topology);
                    *lock(&self.topology) = Some(Arc::clone(&topology));
                    return Ok(topology);
                }
                // One wrong password is as good as another.
                Err(error @ LinkError::Refused(_)) => return Err(error),
                Err(error @ (LinkError::Unavailable(_) | LinkError::Insecure(_))) => last = error,
            }
        }
        Err(last)
    }

    async fn ask_topology(&self, address: &Address) -> Result<Topology, LinkError> {
        let mut connection = self.connection(address).await?;
        let reply: Result<Value, RedisError> = redis::cmd("CLUSTER")
            .arg("SLOTS")
            .query_async(&mut connection)
            .await;
        match reply {
            Ok(reply) => Topology::parse(reply, address).ok_or_else(|| {
                LinkError::Unavailable(format!("the cluster of {address} has no slots yet"))
            }),
            Err(error) if error.to_string().contains("cluster support disabled") => {
                Ok(Topology::single(address.clone()))
            }
            Err(error) => {
                let error = refusal(address, &error);
                self.failed(address, &error);
                Err(error)
            }
        }
    }

    async fn connection(&self, address: &Address) -> Result<MultiplexedConnection, LinkError> {
        if let Some(server) = lock(&self.server_by_address).get(address) {
            if let Some(connection) = &server.connection {
                return Ok(connection.clone());
            }
            if let Some((at, why)) = &server.failed
                && at.elapsed() < RETRY_PAUSE
            {
                return Err(LinkError::Unavailable(why.clone()));
            }
        }
        match self.connect(address, None).await {
            Ok(connection) => {
                let server = Server {
                    connection: Some(connection.clone()),
                    failed: None,
                };
                lock(&self.server_by_address).insert(address.clone(), server);
                Ok(connection)
            }
            Err(error) => {
                self.failed(address, &error);
                Err(error)
            }
        }
    }

    fn failed(&self, address: &Address, error: &LinkError) {
        let server = Server {
            connection: None,
            failed: Some((Instant::now(), error.to_string())),
        };
        lock(&self.server_by_address).insert(address.clone(), server);
    }

    async fn run_at(
        &self,
        address: &Address,
        script: &Script,
        asking: bool,
    ) -> Result<Value, Failure> {
        let mut connection = self.connection(address).await.map_err(Failure::Final)?;
        let mut answer = send(&mut connection, &script.by_hash(), asking).await;
        if answer
            .as_ref()
            .is_err_and(|error| error.code() == Some("NOSCRIPT"))
        {
            answer = send(&mut connection, &script.by_source(), asking).await;
        }
        answer.map_err(|error| self.failure(address, &error))
    }

    fn failure(&self, address: &Address, error: &RedisError) -> Failure {
        let redirect = || {
            let (host, port) = error
                .redirect_node()
                .map(|(node, _)| node.rsplit_once(':'))??;
            let host = if host.is_empty() { &address.host } else { host };
            Some(Address {
                host: host.to_owned(),
                port: port.parse().ok()?,
            })
        };
        match error.code() {
            Some("MOVED") => Failure::Moved(redirect()),
            Some("ASK") => {
                redirect().map_or_else(|| Failure::Moving(error.to_string()), Failure::Ask)
            }
            Some(
                "TRYAGAIN" | "CLUSTERDOWN" | "LOADING" | "READONLY" | "MASTERDOWN" | "UNBLOCKED",
            ) => Failure::Moving(format!("Redis at {address}: {error}")),
            _ => {
                let refusal = refusal(address, error);
                if error.is_io_error() || error.is_timeout() || error.is_unrecoverable_error() {
                    self.failed(address, &refusal);
                }
                Failure::Final(refusal)
            }
        }
    }

    /// Away from those that drive other tasks, as it reads files.
    async fn client(&self, address: &Address) -> Result<redis::Client, LinkError> {
        let (servers, address) = (Arc::clone(&self.servers), address.clone());
        let made = tokio::task::spawn_blocking(move || servers.client(&address));
        made.await
            .unwrap_or_else(|_| Err(LinkError::Unavailable("the node is ending".into())))
    }
}

enum Failure {
    /// Another server has the slot.
    Moved(Option<Address>),
    /// Another server has it already, for those who ask.
    Ask(Address),
    /// Nobody can say now.
    Moving(String),
    Final(LinkError),
}

async fn send(
    connection: &mut MultiplexedConnection,
    command: &Cmd,
    asking: bool,
) -> Result<Value, RedisError> {
    if asking {
        let mut both = redis::pipe();
        both.cmd("ASKING").ignore().add_command(command.clone());
        let (value,): (Value,) = both.query_async(connection).await?;
        return Ok(value);
    }
    command.query_async(connection).await
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Each change is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("connected", &self.connection.is_some())
            .finish()
    }
}
