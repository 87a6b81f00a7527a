//! Background tasks of the store: deliver published events, probe Redis servers, repair
//! subscriptions, fill gaps, send waiting events.

use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::{PushKind, Value};
use tokio::sync::mpsc;

use super::errors::LinkError;
use super::message::{self, Published};
use super::partition::Partition;
use super::shared::{GAP_PATIENCE, OpenRoom, Shared};
use super::subscriptions::Pushed;
use crate::history::{Entry, Restart};

/// Interval at which servers are probed.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// Starts the two background tasks. They end when the store is dropped.
pub(super) fn start(shared: &Arc<Shared>, pushed: mpsc::UnboundedReceiver<Pushed>) {
    tokio::spawn(deliver_pushes(Arc::downgrade(shared), pushed));
    tokio::spawn(run_maintenance(Arc::downgrade(shared)));
}

/// Delivers published events to rooms.
async fn deliver_pushes(shared: Weak<Shared>, mut pushed: mpsc::UnboundedReceiver<Pushed>) {
    while let Some((id, push)) = pushed.recv().await {
        let Some(shared) = shared.upgrade() else {
            return;
        };
        match push.kind {
            PushKind::SMessage => {
                if let [_, Value::BulkString(bytes)] = &push.data[..] {
                    shared.published(bytes);
                }
            }
            PushKind::SUnsubscribe => {
                let channel = push.data.first();
                let partition = match channel {
                    Some(Value::BulkString(channel)) => Partition::of_channel(channel),
                    _ => None,
                };
                if let Some(partition) = partition
                    && shared.subscriptions.subscription_ended(id, partition).await
                {
                    shared.wakeup.notify_one();
                }
            }
            PushKind::Disconnection => {
                shared.subscriptions.disconnected(id).await;
                shared.wakeup.notify_one();
            }
            _ => {}
        }
    }
}

async fn run_maintenance(shared: Weak<Shared>) {
    let mut was_up = true;
    loop {
        {
            let Some(shared) = shared.upgrade() else {
                return;
            };
            // A wakeup is handled after a short pause. Without one, maintenance runs every
            // `PROBE_INTERVAL`.
            let was_woken = tokio::time::timeout(PROBE_INTERVAL, shared.wakeup.notified())
                .await
                .is_ok();
            if was_woken {
                tokio::time::sleep(GAP_PATIENCE).await;
            }
            was_up = shared.maintain(was_up).await;
        }
        tokio::task::yield_now().await;
    }
}

impl Shared {
    /// Probes and repairs everything once. Returns true if all servers answer.
    async fn maintain(&self, was_up: bool) -> bool {
        let probed = self.link.probe().await;
        self.subscriptions.ping().await;
        let (repaired, outcome) = self.subscriptions.repair().await;
        // Both results are combined, so that the state is never reported as healthy in between.
        let verdict = probed.and(outcome);
        let is_up = verdict.is_ok();
        self.metrics.up.set(is_up.into());
        match &verdict {
            Ok(()) => self.link.clear_trouble(),
            Err(LinkError::Broken(why)) => {
                self.link.note_trouble(&LinkError::Unavailable(why.clone()))
            }
            Err(error) => self.link.note_trouble(error),
        }
        match (was_up, &verdict) {
            (true, Err(error)) => tracing::error!(%error, "store: unavailable"),
            (false, Ok(())) => tracing::info!("store: back"),
            (true, Ok(())) | (false, Err(_)) => {}
        }
        self.metrics.resubscribed.inc_by(repaired.len() as u64);
        let came_back = is_up && !was_up;
        self.reconcile_all(|open_room| {
            came_back || open_room.needs_repair() || repaired.contains(&open_room.keys.partition)
        })
        .await;
        is_up
    }

    fn published(&self, bytes: &[u8]) {
        let Some((room, published)) = message::published(bytes) else {
            self.metrics.poisoned.inc();
            return;
        };
        // Ignore a room of the same partition that this server does not read.
        let Ok(open_room) = self.open_room(&room) else {
            return;
        };
        match published {
            Published::Events { epoch, entries } => {
                let read = |entry: Result<Entry, u64>| {
                    Arc::new(entry.unwrap_or_else(|offset| self.poisoned(&open_room, offset)))
                };
                self.receive(&open_room, &epoch, entries.into_iter().map(read));
            }
            Published::Restarted { epoch, at } => {
                let is_other = open_room.replica().is_of_another(&epoch);
                if is_other {
                    let renumbered = Vec::new();
                    self.fork(
                        &open_room,
                        Some(Restart {
                            common: at,
                            renumbered,
                        }),
                    );
                }
            }
            Published::Message { message, by } => {
                if by != self.server_id {
                    open_room.replica().publish(Arc::new(message));
                }
            }
            Published::Taken { participant, by } => {
                if by != self.server_id {
                    open_room.replica().taken(participant);
                }
            }
        }
    }
}

impl OpenRoom {
    /// True if this server or Redis lacks events.
    fn needs_repair(&self) -> bool {
        let replica = self.replica();
        replica.is_offline() || replica.has_gap()
    }
}
