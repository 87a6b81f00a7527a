//! Reconciles this server's replica of a room with Redis after an outage. Redis may have all events
//! of the room, no events, or different events.

use std::sync::Arc;

use super::offline_log::{Base, Batch};
use super::shared::{OpenRoom, Shared, parsed};
use super::{message, script};
use crate::history::{Missed, Restart};
use crate::ids::Epoch;
use crate::store::StoreError;

impl Shared {
    /// Exchanges missing events between Redis and this server. The caller holds the room's write
    /// lock.
    pub(super) async fn reconcile(&self, open_room: &OpenRoom) -> Result<(), StoreError> {
        if !open_room.replica().is_open() {
            return Ok(());
        }
        // Appends of other servers can reach the replica before the reply of the script.
        let seen = open_room.replica().offset();
        let base = open_room.replica().base();
        let restored = self.restore(open_room, &base).await?;
        let Restored { epoch, offset, .. } = &restored;
        let (replica_epoch, is_offline) = {
            let mut replica = open_room.replica();
            if restored.is_made {
                replica.was_restored();
            }
            (replica.epoch().clone(), replica.is_offline())
        };
        if *epoch != replica_epoch {
            let (was, common) = &restored.before;
            let common = (was == replica_epoch.as_str()).then_some((*common).min(base.offset()));
            return self.rewrite(open_room, common).await;
        }
        if is_offline {
            open_room.replica().limit_agreed(*offset);
            return self.replay(open_room, epoch).await;
        }
        if *offset < seen {
            // Redis failed over to a replica without events that were already published.
            return self.start_over(open_room, (epoch, *offset)).await;
        }
        if *offset > base.offset() {
            return self.catch_up(open_room, (epoch, base.offset())).await;
        }
        Ok(())
    }

    /// Restores the room in Redis as it was before the outage, unless it exists.
    async fn restore(&self, open_room: &OpenRoom, base: &Base) -> Result<Restored, StoreError> {
        let script = {
            let replica = open_room.replica();
            script::restore(&open_room.keys, &self.server_id, replica.epoch(), base)
        };
        let reply = self.link.run(open_room.keys.slot, &script).await?;
        let (epoch, offset, was, common, is_made) =
            parsed::<(String, u64, String, u64, bool)>(reply)?;
        Ok(Restored {
            epoch: message::epoch(&epoch)?,
            offset,
            before: (was, common),
            is_made,
        })
    }

    /// Reads events of other servers that were not received.
    async fn catch_up(
        &self,
        open_room: &OpenRoom,
        (epoch, offset): (&Epoch, u64),
    ) -> Result<(), StoreError> {
        match self.fetch(open_room, epoch, offset).await? {
            Missed::Entries(entries) => {
                self.metrics.repaired.inc_by(entries.len() as u64);
                self.receive(open_room, epoch, entries.into_iter());
            }
            Missed::TooOld => self.fork(open_room, None),
        }
        Ok(())
    }

    /// Appends the events that wait. If Redis gives them other offsets than this server did, the
    /// history starts over. The function can be repeated after an interruption at any point.
    async fn replay(&self, open_room: &OpenRoom, epoch: &Epoch) -> Result<(), StoreError> {
        loop {
            let restart = open_room.replica().restart_if_forked();
            if let Some(restart) = restart {
                return self.start_over(open_room, (epoch, restart.common)).await;
            }
            match self.send_oldest(open_room).await? {
                Some(at) if at == *epoch => {}
                // Another server started the history over meanwhile.
                Some(_) => {
                    let common = open_room.replica().base().offset();
                    return self.rewrite(open_room, Some(common)).await;
                }
                None => {
                    open_room.replica().is_current_again();
                    return Ok(());
                }
            }
        }
    }

    /// Sends the oldest waiting events to Redis. Returns the epoch in Redis; `None` if no event
    /// waits.
    async fn send_oldest(&self, open_room: &OpenRoom) -> Result<Option<Epoch>, StoreError> {
        let batch = open_room
            .replica()
            .batch(|count| self.reserve_sequence_numbers(count));
        let Some(batch) = batch else {
            return Ok(None);
        };
        let appended = self.send_pending(open_room, &batch).await?;
        let mut replica = open_room.replica();
        Ok(Some(match appended {
            Some((at, first, count)) => {
                replica.acknowledge(count, Some(first));
                at
            }
            None => {
                replica.acknowledge(1, None);
                replica.epoch().clone()
            }
        }))
    }

    /// Appends `batch`. Returns the epoch, the offset of the first appended event and the number of
    /// appended events; `None` if Redis refused the event, because another server serves the
    /// participant.
    async fn send_pending(
        &self,
        open_room: &OpenRoom,
        batch: &Batch,
    ) -> Result<Option<(Epoch, u64, usize)>, StoreError> {
        let events = (batch.seq, &batch.appends[..]);
        let script = script::append(&open_room.name, &open_room.keys, &self.server_id, events);
        let reply = self.link.run(open_room.keys.slot, &script).await?;
        match parsed::<message::AppendReply>(reply)? {
            message::AppendReply::At {
                epoch,
                first,
                count,
            } => Ok(Some((epoch, first, count.clamp(1, batch.appends.len())))),
            message::AppendReply::NotOurs => Ok(None),
            message::AppendReply::NoRoom => Err(StoreError::Unavailable(
                "the room disappeared during an append".into(),
            )),
        }
    }

    /// Gives the room a new epoch, because the history in Redis after `common` differs from the one
    /// readers received.
    async fn start_over(
        &self,
        open_room: &OpenRoom,
        (old, common): (&Epoch, u64),
    ) -> Result<(), StoreError> {
        let new = Epoch::random();
        let script = script::restart(&open_room.name, &open_room.keys, (old, &new));
        self.link.run(open_room.keys.slot, &script).await?;
        self.rewrite(open_room, Some(common)).await
    }

    /// Sends the waiting events to a history with another epoch, then makes every reader open the
    /// room again. Both histories are equal up to `common`.
    async fn rewrite(&self, open_room: &OpenRoom, common: Option<u64>) -> Result<(), StoreError> {
        open_room.replica().limit_agreed(common.unwrap_or(0));
        while self.send_oldest(open_room).await?.is_some() {}
        let restart = open_room.replica().restart();
        let restart = common.map(|common| {
            let renumbered = Vec::new();
            restart.unwrap_or(Restart { common, renumbered })
        });
        self.fork(open_room, restart);
        Ok(())
    }

    /// Reconciles all rooms for which `due` returns true, up to [`AT_ONCE`] at a time.
    pub(super) async fn reconcile_all(&self, due: impl Fn(&OpenRoom) -> bool) {
        use futures_util::StreamExt as _;
        let rooms: Vec<Arc<OpenRoom>> = self
            .rooms()
            .values()
            .filter(|open_room| due(open_room))
            .cloned()
            .collect();
        let each = rooms.into_iter().map(|open_room| async move {
            // The task that appends to the room notices the change itself, and may be waiting for
            // Redis.
            let Ok(writing) = open_room.writing.try_lock() else {
                return;
            };
            let result = self.reconcile(&open_room).await;
            if let Err(error) = &result {
                tracing::debug!(room = ?open_room.name, %error, "store: not reconciled yet");
            }
            drop(writing);
            let is_over = open_room.replica().is_over();
            if result.is_ok() && is_over {
                // The room was closed during the outage.
                let _ = self.close(&open_room.name).await;
            }
        });
        futures_util::stream::iter(each)
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<()>>()
            .await;
    }
}

/// Epoch and offset of the history in Redis.
struct Restored {
    epoch: Epoch,
    offset: u64,
    /// The epoch before this one (empty if there was none), and the last offset that both have in
    /// common.
    before: (String, u64),
    /// True if the store had lost the room, and this server restored it.
    is_made: bool,
}

/// Number of rooms that are reconciled at once.
const AT_ONCE: usize = 64;
