//! Reconciles a room's mirror with the store after an outage of any length: the store may have all events, none, or
//! others.

use std::sync::Arc;

use super::island::{Base, Batch};
use super::shared::{Known, Shared, parsed};
use super::{message, script};
use crate::history::{Missed, Restart};
use crate::ids::Epoch;
use crate::store::StoreError;

impl Shared {
    /// Exchanges missing events between the store and this server. The caller is the room's only writer.
    pub(super) async fn reconcile(&self, known: &Known) -> Result<(), StoreError> {
        if !known.mirror().is_open() {
            return Ok(());
        }
        // Appends of other servers meanwhile reach the mirror before the answer.
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
            // A failover lost published events.
            return self.start_over(known, (epoch, *offset)).await;
        }
        if *offset > base.offset() {
            return self.catch_up(known, (epoch, base.offset())).await;
        }
        Ok(())
    }

    /// Makes the room in the store as it was before the outage, unless it is there.
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

    /// Reads appends of other servers that did not arrive.
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

    /// Appends what waits. It gets the numbers it was given here, or the history starts over. Wherever it is
    /// interrupted it can be done again.
    async fn replay(&self, known: &Known, epoch: &Epoch) -> Result<(), StoreError> {
        loop {
            let parted = known.mirror().parted();
            if let Some(parted) = parted {
                return self.start_over(known, (epoch, parted.common)).await;
            }
            match self.tell_oldest(known).await? {
                Some(at) if at == *epoch => {}
                // Another server started it over just now.
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

    /// Tells the store the oldest events that wait. The epoch of the store; `None` when none waits.
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

    /// Offset of the first events of `batch` in the store, and their number; `None` if the event there is not ours.
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
                "the room went away while it was told of it".into(),
            )),
        }
    }

    /// The store's history after `common` differs from the readers': the room gets a new epoch.
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

    /// The store's history has another epoch: it gets the missing events, and every reader gets a snapshot. Up to
    /// `common` both histories are equal.
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

    /// Reconciles all rooms for which `due` is true, many at once.
    pub(super) async fn reconcile_all(&self, due: impl Fn(&Known) -> bool) {
        use futures_util::StreamExt as _;
        let rooms: Vec<Arc<Known>> = self
            .rooms()
            .values()
            .filter(|known| due(known))
            .cloned()
            .collect();
        let each = rooms.into_iter().map(|known| async move {
            // A running append notices the change itself, and may be waiting for the store.
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

/// Position of the store's history.
struct Restored {
    epoch: Epoch,
    offset: u64,
    /// The epoch that it went on from, if any, and after which event.
    before: (String, u64),
    /// True if the store had lost the room, and this server restored it.
    is_made: bool,
}

/// Rooms reconciled at once.
const AT_ONCE: usize = 64;
