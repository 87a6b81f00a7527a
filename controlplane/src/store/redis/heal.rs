//! Reconciles this server's replica of a room with Redis after an outage. Redis may have all events
//! of the room, none of them, or other ones.

use std::sync::Arc;

use super::island::{Base, Batch};
use super::shared::{Known, Shared, parsed};
use super::{message, script};
use crate::history::{Missed, Restart};
use crate::ids::Epoch;
use crate::store::StoreError;

impl Shared {
    /// Exchanges missing events between Redis and this server. The caller holds the room's write
    /// lock.
    pub(super) async fn reconcile(&self, known: &Known) -> Result<(), StoreError> {
        if !known.mirror().is_open() {
            return Ok(());
        }
        // Appends of other servers can reach the replica before the reply of the script.
        let seen = known.mirror().offset();
        let base = known.mirror().base();
        let restored = self.restore(known, &base).await?;
        let Restored { epoch, offset, .. } = &restored;
        let (mirror_epoch, is_island) = {
            let mut mirror = known.mirror();
            if restored.is_made {
                mirror.was_restored();
            }
            (mirror.epoch().clone(), mirror.is_island())
        };
        if *epoch != mirror_epoch {
            let (was, common) = &restored.before;
            let common = (was == mirror_epoch.as_str()).then_some((*common).min(base.offset()));
            return self.rewrite(known, common).await;
        }
        if is_island {
            known.mirror().agrees_to(*offset);
            return self.replay(known, epoch).await;
        }
        if *offset < seen {
            // Redis failed over to a replica without events that were already published.
            return self.start_over(known, (epoch, *offset)).await;
        }
        if *offset > base.offset() {
            return self.catch_up(known, (epoch, base.offset())).await;
        }
        Ok(())
    }

    /// Restores the room in Redis as it was before the outage, unless it exists.
    async fn restore(&self, known: &Known, base: &Base) -> Result<Restored, StoreError> {
        let script = {
            let mirror = known.mirror();
            script::restore(&known.keys, &self.server_id, mirror.epoch(), base)
        };
        let reply = self.link.run(known.keys.slot, &script).await?;
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
        known: &Known,
        (epoch, offset): (&Epoch, u64),
    ) -> Result<(), StoreError> {
        match self.fetch(known, epoch, offset).await? {
            Missed::Entries(entries) => {
                self.metrics.repaired.inc_by(entries.len() as u64);
                self.receive(known, epoch, entries.into_iter());
            }
            Missed::TooOld => self.fork(known, None),
        }
        Ok(())
    }

    /// Appends the events that wait. If Redis gives them other offsets than this server did, the
    /// history starts over. The function can be repeated after an interruption at any point.
    async fn replay(&self, known: &Known, epoch: &Epoch) -> Result<(), StoreError> {
        loop {
            let parted = known.mirror().parted();
            if let Some(parted) = parted {
                return self.start_over(known, (epoch, parted.common)).await;
            }
            match self.tell_oldest(known).await? {
                Some(at) if at == *epoch => {}
                // Another server started the history over meanwhile.
                Some(_) => {
                    let common = known.mirror().base().offset();
                    return self.rewrite(known, Some(common)).await;
                }
                None => {
                    known.mirror().is_current_again();
                    return Ok(());
                }
            }
        }
    }

    /// Sends the oldest waiting events to Redis. Returns the epoch in Redis; `None` if no event
    /// waits.
    async fn tell_oldest(&self, known: &Known) -> Result<Option<Epoch>, StoreError> {
        let batch = known.mirror().batch(|count| self.numbers(count));
        let Some(batch) = batch else {
            return Ok(None);
        };
        let placed = self.tell_again(known, &batch).await?;
        let mut mirror = known.mirror();
        Ok(Some(match placed {
            Some((at, first, count)) => {
                mirror.told(count, Some(first));
                at
            }
            None => {
                mirror.told(1, None);
                mirror.epoch().clone()
            }
        }))
    }

    /// Appends `batch`. Returns the epoch, the offset of the first appended event and the number of
    /// appended events; `None` if Redis refused the event, because another server serves the
    /// participant.
    async fn tell_again(
        &self,
        known: &Known,
        batch: &Batch,
    ) -> Result<Option<(Epoch, u64, usize)>, StoreError> {
        let events = (batch.seq, &batch.appends[..]);
        let script = script::append(&known.name, &known.keys, &self.server_id, events);
        let reply = self.link.run(known.keys.slot, &script).await?;
        match parsed::<message::Appended>(reply)? {
            message::Appended::At {
                epoch,
                first,
                count,
            } => Ok(Some((epoch, first, count.clamp(1, batch.appends.len())))),
            message::Appended::NotOurs => Ok(None),
            message::Appended::NoRoom => Err(StoreError::Unavailable(
                "the room disappeared during an append".into(),
            )),
        }
    }

    /// Gives the room a new epoch, because the history in Redis after `common` differs from the one
    /// readers received.
    async fn start_over(
        &self,
        known: &Known,
        (old, common): (&Epoch, u64),
    ) -> Result<(), StoreError> {
        let new = Epoch::random();
        let script = script::restart(&known.name, &known.keys, (old, &new));
        self.link.run(known.keys.slot, &script).await?;
        self.rewrite(known, Some(common)).await
    }

    /// Sends the waiting events to a history with another epoch, then makes every reader open the
    /// room again. Both histories are equal up to `common`.
    async fn rewrite(&self, known: &Known, common: Option<u64>) -> Result<(), StoreError> {
        known.mirror().agrees_to(common.unwrap_or(0));
        while self.tell_oldest(known).await?.is_some() {}
        let restart = known.mirror().restart();
        let restart = common.map(|common| {
            let told = Vec::new();
            restart.unwrap_or(Restart { common, told })
        });
        self.fork(known, restart);
        Ok(())
    }

    /// Reconciles all rooms for which `due` returns true, up to [`AT_ONCE`] at a time.
    pub(super) async fn reconcile_all(&self, due: impl Fn(&Known) -> bool) {
        use futures_util::StreamExt as _;
        let rooms: Vec<Arc<Known>> = self
            .rooms()
            .values()
            .filter(|known| due(known))
            .cloned()
            .collect();
        let each = rooms.into_iter().map(|known| async move {
            // The task that appends to the room notices the change itself, and may be waiting for
            // Redis.
            let Ok(writing) = known.writing.try_lock() else {
                return;
            };
            let result = self.reconcile(&known).await;
            if let Err(error) = &result {
                tracing::debug!(room = ?known.name, %error, "store: not reconciled yet");
            }
            drop(writing);
            let is_over = known.mirror().is_over();
            if result.is_ok() && is_over {
                // The room was closed during the outage.
                let _ = self.close(&known.name).await;
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
