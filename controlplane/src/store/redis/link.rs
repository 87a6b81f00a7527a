//! Connections to the Redis servers: one to each for commands, found by the slot of what they are about.
//!
//! Commands are scripts that may be sent again. What a cluster says of moved slots is followed here; a
//! server that does not answer is reported at once, and asked again a little later.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo, ProtocolVersion, PushInfo, RedisError, Value,
};
use tokio::sync::mpsc;

use super::partition::Slot;
use super::script::Script;
use super::topology::{Address, Topology};

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
/// The first version with sharded pub/sub.
const OLDEST_MAJOR: u32 = 7;

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LinkError {
    /// The server cannot be reached or cannot serve the slot now.
    #[error("{0}")]
    Unavailable(String),
    /// It will not serve us, however often it is asked.
    #[error("{0}")]
    Refused(String),
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Link {
    /// Credentials and encryption, for every server.
    template: ConnectionInfo,
    seeds: Vec<Address>,
    server_by_address: Mutex<HashMap<Address, Server>>,
    topology: Mutex<Option<Arc<Topology>>>,
    /// Why the last command or probe failed.
    trouble: Mutex<Option<String>>,
}

#[derive(Default)]
struct Server {
    connection: Option<MultiplexedConnection>,
    failed_at: Option<Instant>,
}

impl Link {
    /// To the servers of `urls`: redis://[user:password@]host[:port], rediss:// with TLS.
    pub(super) fn new(urls: &[String]) -> Result<Self, LinkError> {
        let mut template = None;
        let mut seeds = Vec::new();
        for url in urls {
            let refused = |error: &dyn std::fmt::Display| {
                LinkError::Refused(format!(
                    "'{}' is no address of a Redis server: {error}",
                    masked(url)
                ))
            };
            let info = url
                .as_str()
                .into_connection_info()
                .map_err(|error| refused(&error))?;
            let address = match info.addr() {
                ConnectionAddr::Tcp(host, port) => Address {
                    host: host.clone(),
                    port: *port,
                },
                ConnectionAddr::TcpTls { host, port, .. } => Address {
                    host: host.clone(),
                    port: *port,
                },
                _ => {
                    return Err(refused(
                        &"only redis://host:port and rediss://host:port are",
                    ));
                }
            };
            seeds.push(address);
            template.get_or_insert(info);
        }
        let template =
            template.ok_or_else(|| LinkError::Refused("no Redis server is named".into()))?;
        let settings = template
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3);
        Ok(Self {
            template: template.set_redis_settings(settings),
            seeds,
            server_by_address: Mutex::default(),
            topology: Mutex::default(),
            trouble: Mutex::default(),
        })
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
                    if matches!(error, LinkError::Unavailable(_)) {
                        self.forget_topology();
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
        let client = Client::open(self.info(address)).map_err(said)?;
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
                self.failed(address);
                let error = refusal(address, &error);
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
        for address in self.seeds.iter().chain(&known) {
            match self.ask_topology(address).await {
                Ok(topology) => {
                    let topology = Arc::new(topology);
                    *lock(&self.topology) = Some(Arc::clone(&topology));
                    return Ok(topology);
                }
                // One wrong password is as good as another.
                Err(error @ LinkError::Refused(_)) => return Err(error),
                Err(error) => last = error,
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
                self.failed(address);
                Err(refusal(address, &error))
            }
        }
    }

    async fn connection(&self, address: &Address) -> Result<MultiplexedConnection, LinkError> {
        if let Some(server) = lock(&self.server_by_address).get(address) {
            if let Some(connection) = &server.connection {
                return Ok(connection.clone());
            }
            if server
                .failed_at
                .is_some_and(|at| at.elapsed() < RETRY_PAUSE)
            {
                return Err(LinkError::Unavailable(format!(
                    "Redis at {address} was unreachable just now"
                )));
            }
        }
        match self.connect(address, None).await {
            Ok(connection) => {
                let server = Server {
                    connection: Some(connection.clone()),
                    failed_at: None,
                };
                lock(&self.server_by_address).insert(address.clone(), server);
                Ok(connection)
            }
            Err(error) => {
                self.failed(address);
                Err(error)
            }
        }
    }

    fn failed(&self, address: &Address) {
        let server = Server {
            connection: None,
            failed_at: Some(Instant::now()),
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
                if error.is_io_error() || error.is_timeout() || error.is_unrecoverable_error() {
                    self.failed(address);
                }
                Failure::Final(refusal(address, error))
            }
        }
    }

    fn info(&self, address: &Address) -> ConnectionInfo {
        let (host, port) = (address.host.clone(), address.port);
        let addr = match self.template.addr() {
            ConnectionAddr::TcpTls {
                insecure,
                tls_params,
                ..
            } => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host, port),
        };
        self.template.clone().set_addr(addr)
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

/// Whether the server is one we can work with.
fn fit(address: &Address, hello: &HashMap<String, Value>) -> Result<(), LinkError> {
    let text = |name: &str| {
        let value = hello.get(name)?;
        redis::from_redis_value_ref::<String>(value).ok()
    };
    let version = text("version").unwrap_or_default();
    let major: u32 = version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .unwrap_or(0);
    if major < OLDEST_MAJOR {
        return Err(LinkError::Refused(format!(
            "Redis at {address} is version {version}, at least {OLDEST_MAJOR}.0 is wanted: it has no sharded pub/sub"
        )));
    }
    let (mode, role) = (text("mode"), text("role"));
    if mode.as_deref() == Some("standalone") && role.as_deref() == Some("replica") {
        return Err(LinkError::Refused(format!(
            "Redis at {address} is a read-only replica: name its master"
        )));
    }
    Ok(())
}

fn refusal(address: &Address, error: &RedisError) -> LinkError {
    let said = format!("Redis at {address}: {error}");
    let code = error.code();
    match error.kind() {
        ErrorKind::AuthenticationFailed
        | ErrorKind::InvalidClientConfig
        | ErrorKind::RESP3NotSupported => LinkError::Refused(said),
        _ if matches!(code, Some("WRONGPASS" | "NOAUTH" | "NOPERM" | "WRONGTYPE")) => {
            LinkError::Refused(said)
        }
        _ if error.is_io_error() || error.is_timeout() || code.is_none() => {
            LinkError::Unavailable(said)
        }
        // A server that is full, still loading or about to stop will be asked again.
        _ if matches!(
            code,
            Some("OOM" | "LOADING" | "MISCONF" | "NOREPLICAS" | "BUSY" | "MASTERDOWN")
        ) =>
        {
            LinkError::Unavailable(said)
        }
        _ => LinkError::Refused(said),
    }
}

/// A URL without its password.
pub(super) fn masked(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((secret, host)) => {
            let scheme = secret
                .split_once("://")
                .map_or("redis", |(scheme, _)| scheme);
            format!("{scheme}://(secret)@{host}")
        }
        None => url.to_owned(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(version: &str, mode: &str, role: &str) -> HashMap<String, Value> {
        let said = [("version", version), ("mode", mode), ("role", role)];
        let value = |text: &str| Value::BulkString(text.into());
        said.map(|(name, text)| (name.to_owned(), value(text)))
            .into()
    }

    #[test]
    fn servers_that_cannot_serve_are_refused_by_name() {
        let address = Address {
            host: "10.0.0.5".into(),
            port: 6_379,
        };
        assert_eq!(
            fit(&address, &hello("7.0.15", "standalone", "master")),
            Ok(())
        );
        assert_eq!(fit(&address, &hello("8.2.1", "cluster", "replica")), Ok(()));
        for (hello, part) in [
            (
                hello("6.2.14", "standalone", "master"),
                "version 6.2.14, at least 7.0",
            ),
            (hello("", "standalone", "master"), "at least 7.0"),
            (hello("7.0.0", "standalone", "replica"), "read-only replica"),
        ] {
            let said = fit(&address, &hello).unwrap_err().to_string();
            assert!(
                said.contains(part) && said.contains("10.0.0.5:6379"),
                "{said}"
            );
        }
    }

    #[test]
    fn addresses_that_are_none_are_named_without_their_password() {
        for url in [
            "redis://u:hush@:x",
            "unix:///tmp/redis.sock",
            "redis://a:hush@b:99999",
        ] {
            let said = Link::new(&[url.to_owned()]).unwrap_err().to_string();
            assert!(!said.contains("hush"), "{said}");
        }
        assert!(Link::new(&[]).is_err());
    }
}
