//! The store of the servers: the real one in memory, behind connections that are slow, cut or refused.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use spillway_controlplane::ids::RoomName;
use spillway_controlplane::limits::{HISTORY_EVENTS, PRESENCE_TIME};
use spillway_controlplane::store::memory::MemoryStore;
use spillway_controlplane::store::{RoomUpdate, Store as _, StoreError, StoreFuture};
use tokio::sync::mpsc;

use crate::clock::Time;
use crate::events::Events;
use crate::node::CallId;
use crate::server::{StoreCall, StoreReply, StoreResult};

/// The store and its readers.
pub struct StoreHost {
    root: MemoryStore,
    /// Handle of each server that lives.
    handles: BTreeMap<ServerLife, MemoryStore>,
    relays: Vec<Relay>,
    flying: Events<Flying>,
    /// Calls that wait for the end of an outage, in order.
    held: Vec<(ServerLife, CallId, StoreCall)>,
    /// Faults of the store that are active.
    pub faults: StoreFaults,
}

/// A server between its start and its end: its number and how often it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerLife(pub usize, pub u32);

/// Faults of the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreFaults {
    /// The store does not answer.
    pub is_away: bool,
    /// The store refuses to write.
    pub is_demoted: bool,
    /// More delay of each answer.
    pub slow: Duration,
}

/// Carries the updates of one reader.
struct Relay {
    server: ServerLife,
    from: mpsc::Receiver<RoomUpdate>,
    to: mpsc::Sender<RoomUpdate>,
    /// The reader ended; this is on its way.
    is_ended: bool,
    last_at: Time,
    number: u64,
}

/// What arrives at a server.
pub enum FromStore {
    /// Result of a call.
    Result(CallId, StoreResult),
    /// A reader has an update, or has ended.
    Update,
}

enum Flying {
    Call(ServerLife, CallId, StoreCall),
    Result(ServerLife, CallId, StoreResult),
    Update(u64, RoomUpdate),
    End(u64),
}

/// Time of a message to the store or back.
const DELAY: Duration = Duration::from_millis(2);

impl StoreHost {
    /// An empty store that reads the time from `now`.
    pub fn new(now: fn() -> std::time::Instant) -> Self {
        Self {
            root: MemoryStore::with_clock(now),
            handles: BTreeMap::new(),
            relays: Vec::new(),
            flying: Events::default(),
            held: Vec::new(),
            faults: StoreFaults::default(),
        }
    }

    /// A server has ended: its answers and updates have no reader.
    pub fn end_server(&mut self, server: ServerLife) {
        self.handles.remove(&server);
        self.held.retain(|(of, _, _)| *of != server);
        self.relays.retain(|relay| relay.server != server);
    }

    /// Takes a call of a server.
    pub fn call(&mut self, server: ServerLife, id: CallId, call: StoreCall, now: Time) {
        self.flying.add(now + DELAY, Flying::Call(server, id, call));
    }

    /// Everything that is due. Returns what arrives at servers.
    pub fn run(&mut self, now: Time) -> Vec<(ServerLife, FromStore)> {
        let mut results = Vec::new();
        if !self.is_refusing() {
            for (server, id, call) in std::mem::take(&mut self.held) {
                self.flying.add(now, Flying::Call(server, id, call));
            }
        }
        loop {
            self.collect_updates(now);
            let Some(due) = self.flying.take_due(now) else {
                return results;
            };
            match due {
                // Writes wait for the end of an outage, as they do in the log of a server without store.
                Flying::Call(server, id, call) if self.is_refusing() && waits(&call) => {
                    self.held.push((server, id, call));
                }
                Flying::Call(server, id, call) => {
                    let result = self.execute(server, call);
                    let at = now + DELAY + self.faults.slow;
                    self.flying.add(at, Flying::Result(server, id, result));
                }
                Flying::Result(server, id, result) => {
                    results.push((server, FromStore::Result(id, result)))
                }
                Flying::Update(number, update) => {
                    let mut relays = self.relays.iter_mut();
                    let Some(relay) = relays.find(|relay| relay.number == number) else {
                        continue;
                    };
                    results.push((relay.server, FromStore::Update));
                    if relay.to.try_send(update).is_err() {
                        self.relays.retain(|relay| relay.number != number);
                    }
                }
                Flying::End(number) => {
                    let ended = self.relays.iter().filter(|relay| relay.number == number);
                    results.extend(ended.map(|relay| (relay.server, FromStore::Update)));
                    self.relays.retain(|relay| relay.number != number);
                }
            }
        }
    }

    /// Time of the next message.
    pub fn next_at(&self) -> Option<Time> {
        self.flying.next_at()
    }

    /// The store itself, to look into it.
    pub fn memory(&self) -> &MemoryStore {
        &self.root
    }

    fn is_refusing(&self) -> bool {
        self.faults.is_away || self.faults.is_demoted
    }

    /// Takes what readers were sent, and puts it on its way.
    fn collect_updates(&mut self, now: Time) {
        if self.faults.is_away {
            return;
        }
        let delay = DELAY + self.faults.slow;
        for relay in &mut self.relays {
            loop {
                let flying = match relay.from.try_recv() {
                    Ok(update) => Flying::Update(relay.number, update),
                    Err(mpsc::error::TryRecvError::Disconnected) if !relay.is_ended => {
                        Flying::End(relay.number)
                    }
                    Err(_) => break,
                };
                relay.is_ended = matches!(flying, Flying::End(_));
                relay.last_at = relay.last_at.max(now + delay);
                self.flying.add(relay.last_at, flying);
            }
        }
    }

    fn execute(&mut self, server: ServerLife, call: StoreCall) -> StoreResult {
        let away = || Err(StoreError::Unavailable("it does not answer".to_owned()));
        if self.faults.is_away {
            return away();
        }
        let writes = !matches!(
            call,
            StoreCall::Since(..) | StoreCall::Absent(_) | StoreCall::Open(_)
        );
        if self.faults.is_demoted && writes {
            return away();
        }
        let root = &self.root;
        let handle = self
            .handles
            .entry(server)
            .or_insert_with(|| root.for_another_server());
        match call {
            StoreCall::Open(room) => self.open(server, &room),
            StoreCall::Append(room, append) => {
                ready(handle.append_event(&room, *append)).map(StoreReply::Appended)
            }
            StoreCall::Publish(room, message) => {
                handle.publish(&room, message).map(|()| StoreReply::Done)
            }
            StoreCall::Since(room, epoch, offset) => {
                ready(handle.since(&room, &epoch, offset)).map(StoreReply::Missed)
            }
            StoreCall::Touch(room, members) => {
                ready(handle.touch(&room, &members, PRESENCE_TIME)).map(|()| StoreReply::Done)
            }
            StoreCall::Absent(room) => ready(handle.absent(&room)).map(StoreReply::Absent),
            StoreCall::Claim(room, participant) => {
                ready(handle.claim(&room, &participant)).map(|()| StoreReply::Done)
            }
            StoreCall::Close(room) => {
                self.relays.retain(|relay| !relay.to.is_closed());
                ready(handle.close(&room)).map(|()| StoreReply::Done)
            }
        }
    }

    fn open(&mut self, server: ServerLife, room: &RoomName) -> StoreResult {
        let handle = &self.handles[&server];
        let mut opened = ready(handle.open(room))?;
        let (to, updates) = mpsc::channel(HISTORY_EVENTS);
        let number = self.relays.last().map_or(1, |last| last.number + 1);
        self.relays.push(Relay {
            server,
            from: std::mem::replace(&mut opened.updates, updates),
            to,
            is_ended: false,
            last_at: Time::ZERO,
            number,
        });
        Ok(StoreReply::Opened(Box::new(opened)))
    }
}

/// True if a server repeats the call until it succeeds.
fn waits(call: &StoreCall) -> bool {
    matches!(
        call,
        StoreCall::Append(..) | StoreCall::Publish(..) | StoreCall::Close(_)
    )
}

/// The result of a call to the store in memory, which never waits.
fn ready<T>(future: StoreFuture<'_, T>) -> Result<T, StoreError> {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(StoreError::Broken("the store in memory waits".to_owned())),
    }
}
