//! Subscriptions to shard channels: one connection to each Redis server.
//!
//! The client library can resubscribe, but uses one command for many channels, which a cluster
//! refuses. It also does not notice when a server ends a subscription because the slot moved. So
//! this module keeps the list of subscriptions. It sends one command per channel, on connections
//! that carry nothing else (on a shared connection the library would take such a push for a reply),
//! and repeats lost subscriptions one by one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::{Mutex, mpsc};

use super::errors::{LinkError, link_error};
use super::link::Link;
use super::partition::Partition;
use super::server::Generation;
use super::topology::Address;

/// Attempts to subscribe to a channel, each at the current server of its slot.
const ATTEMPTS: usize = 4;

/// A push, and the subscription connection that received it.
pub(super) type Pushed = (ConnectionId, PushInfo);

/// Id of a subscription connection; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ConnectionId(u64);

/// The subscriptions of this server to the channels of partitions.
pub(super) struct Subscriptions {
    link: Arc<Link>,
    pushes: mpsc::UnboundedSender<Pushed>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Number of open rooms in each partition.
    rooms: BTreeMap<Partition, usize>,
    /// Server and connection of each confirmed subscription.
    confirmed: HashMap<Partition, (Address, ConnectionId)>,
    connection: HashMap<Address, SubscriptionConnection>,
    connections: u64,
}

/// A connection that carries only subscriptions.
#[derive(Clone)]
struct SubscriptionConnection {
    id: ConnectionId,
    connection: MultiplexedConnection,
    /// Generation of the command connection to the same server. The subscription connection is
    /// closed with it.
    generation: Generation,
}

impl Subscriptions {
    pub(super) fn new(link: Arc<Link>, pushes: mpsc::UnboundedSender<Pushed>) -> Self {
        Self {
            link,
            pushes,
            state: Mutex::default(),
        }
    }

    /// Counts a room that needs the partition.
    pub(super) async fn add_room(&self, partition: Partition) {
        let mut state = self.state.lock().await;
        *state.rooms.entry(partition).or_default() += 1;
    }

    /// Subscribes to the partition, if it is not subscribed to. Afterwards every published event
    /// arrives.
    pub(super) async fn ensure_subscribed(&self, partition: Partition) -> Result<(), LinkError> {
        let mut state = self.state.lock().await;
        state.drop_outdated(&self.link);
        if state.confirmed.contains_key(&partition) {
            return Ok(());
        }
        self.subscribe(&mut state, partition).await
    }

    /// Counts a room less; unsubscribes after the last one.
    pub(super) async fn remove_room(&self, partition: Partition) {
        let mut state = self.state.lock().await;
        let Some(rooms) = state.rooms.get_mut(&partition) else {
            return;
        };
        *rooms -= 1;
        if *rooms > 0 {
            return;
        }
        state.rooms.remove(&partition);
        if let Some((address, id)) = state.confirmed.remove(&partition)
            && let Some(mut subscriber) = state.connection.get(&address).cloned()
            && subscriber.id == id
        {
            // The reply, or an error of a dead server, does not matter.
            let _ = redis::cmd("SUNSUBSCRIBE")
                .arg(partition.channel())
                .exec_async(&mut subscriber.connection)
                .await;
        }
    }

    /// Repeats lost or moved subscriptions. Returns their partitions, and the first error.
    pub(super) async fn repair(&self) -> (Vec<Partition>, Result<(), LinkError>) {
        let mut state = self.state.lock().await;
        let mut repaired = Vec::new();
        state.drop_outdated(&self.link);
        let wanted: Vec<_> = state.rooms.keys().copied().collect();
        for partition in wanted {
            let owner = match self.link.owner(partition.slot()).await {
                Ok(owner) => owner,
                Err(error) => return (repaired, Err(error)),
            };
            if state
                .confirmed
                .get(&partition)
                .is_some_and(|(at, _)| *at == owner)
            {
                continue;
            }
            match self.subscribe(&mut state, partition).await {
                Ok(()) => repaired.push(partition),
                Err(error) => return (repaired, Err(error)),
            }
        }
        (repaired, Ok(()))
    }

    /// Notes that the server ended a subscription. True if it was the current one.
    pub(super) async fn subscription_ended(&self, id: ConnectionId, partition: Partition) -> bool {
        let mut state = self.state.lock().await;
        let is_current = state
            .confirmed
            .get(&partition)
            .is_some_and(|(_, at)| *at == id);
        if is_current {
            state.confirmed.remove(&partition);
            self.link.forget_topology();
        }
        is_current
    }

    /// Notes that a connection broke, with all its subscriptions.
    pub(super) async fn disconnected(&self, id: ConnectionId) {
        let mut state = self.state.lock().await;
        state.drop_connection(id);
        self.link.forget_topology();
    }

    /// Pings every server on its subscription connection. A connection without a reply is dropped.
    pub(super) async fn ping(&self) {
        let all: Vec<_> = self
            .state
            .lock()
            .await
            .connection
            .values()
            .cloned()
            .collect();
        for mut subscriber in all {
            if redis::cmd("PING")
                .exec_async(&mut subscriber.connection)
                .await
                .is_err()
            {
                self.disconnected(subscriber.id).await;
            }
        }
    }

    async fn subscribe(&self, state: &mut State, partition: Partition) -> Result<(), LinkError> {
        let mut last = LinkError::Unavailable("not tried".into());
        for _ in 0..ATTEMPTS {
            let address = self.link.owner(partition.slot()).await?;
            let SubscriptionConnection {
                id, mut connection, ..
            } = self.connection(state, &address).await?;
            let channel = partition.channel();
            let answer = redis::cmd("SSUBSCRIBE")
                .arg(&channel)
                .query_async(&mut connection)
                .await;
            match answer {
                Ok(Value::Push {
                    kind: PushKind::SSubscribe,
                    data,
                }) if names(&data, &channel) => {
                    state.confirmed.insert(partition, (address, id));
                    return Ok(());
                }
                // MOVED, or a push arrived before the reply: in both cases subscribe again.
                Ok(other) => {
                    last = LinkError::Unavailable(format!("Redis at {address} answers {other:?}"));
                    state.drop_connection(id);
                }
                Err(error) => {
                    last = link_error(&address, &error);
                    if error.code() != Some("MOVED") {
                        state.drop_connection(id);
                    }
                }
            }
            self.link.forget_topology();
        }
        Err(last)
    }

    async fn connection(
        &self,
        state: &mut State,
        address: &Address,
    ) -> Result<SubscriptionConnection, LinkError> {
        if let Some(subscriber) = state.connection.get(address) {
            return Ok(subscriber.clone());
        }
        let generation = self.link.generation(address);
        state.connections += 1;
        let id = ConnectionId(state.connections);
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let connection = self.link.connect(address, Some(sender)).await?;
        let pushes = self.pushes.clone();
        tokio::spawn(async move {
            while let Some(push) = receiver.recv().await {
                if pushes.send((id, push)).is_err() {
                    return;
                }
            }
        });
        let subscriber = SubscriptionConnection {
            id,
            connection,
            generation,
        };
        state.connection.insert(address.clone(), subscriber.clone());
        Ok(subscriber)
    }
}

impl State {
    fn drop_connection(&mut self, id: ConnectionId) {
        self.connection.retain(|_, other| other.id != id);
        self.confirmed.retain(|_, (_, other)| *other != id);
    }

    /// Closes connections to servers that got a new command connection: another server may publish
    /// the events now.
    fn drop_outdated(&mut self, link: &Link) {
        let outdated = |(address, other): (&Address, &SubscriptionConnection)| {
            (link.generation(address) != other.generation).then_some(other.id)
        };
        let outdated: Vec<_> = self.connection.iter().filter_map(outdated).collect();
        for id in outdated {
            self.drop_connection(id);
        }
    }
}

/// True if a push is about `channel`.
fn names(data: &[Value], channel: &str) -> bool {
    matches!(data.first(), Some(Value::BulkString(name)) if name == channel.as_bytes())
}

impl std::fmt::Debug for Subscriptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriptions").finish_non_exhaustive()
    }
}
