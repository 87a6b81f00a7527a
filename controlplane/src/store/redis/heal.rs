//! Reconciling a room's mirror with the store: after an outage of any length, whether the store remembers
//! everything, nothing, or something else.

use std::sync::Arc;

use super::mirror::{Base, Batch};
use super::{Known, Shared, message, parsed, script};
use crate::ids::Epoch;
use crate::store::{Missed, Restart, StoreError};

impl Shared {
    /// Tells the store what it does not know and learns what this node does not. The caller is the room's
    /// only writer.
    pub(super) async fn reconcile(&self, known: &Known) -> Result<(), StoreError> {
        if !known.mirror().is_open() {
            return Ok(());
        }
        // What others append while this is asked reaches the mirror before the answer does.
        let seen = known.mirror().offset();
        let base = known.mirror().base();
        let Restored {
            epoch,
            offset,
            before,
        } = self.restore(known, &base).await?;
        let (mirror_epoch, is_island) = {
            let mirror = known.mirror();
            (mirror.epoch().clone(), mirror.is_island())
        };
        if epoch != mirror_epoch {
            let (was, common) = before;
            let common = (was == mirror_epoch.as_str()).then_some(common.min(base.offset));
            return self.rewrite(known, common, Vec::new()).await;
        }
        if is_island {
            return self.replay(known, (&epoch, offset)).await;
        }
        if offset < seen {
            // A failover lost what had been published.
            return self.start_over(known, (&epoch, offset), Vec::new()).await;
        }
        if offset > base.offset {
            return self.catch_up(known, (&epoch, base.offset)).await;
        }
        Ok(())
    }

    /// Makes the room in the store as it was before the outage, unless it is there.
    async fn restore(&self, known: &Known, base: &Base) -> Result<Restored, StoreError> {
        let script = {
            let mirror = known.mirror();
            script::restore(&known.keys, &self.node, mirror.epoch(), base)
        };
        let reply = self.link.run(known.keys.slot, &script).await?;
        let (epoch, offset, was, common) = parsed::<(String, u64, String, u64)>(reply)?;
        Ok(Restored {
            epoch: message::epoch(&epoch)?,
            offset,
            before: (was, common),
        })
    }

    /// What others appended and did not reach us.
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

    /// Appends what waits. It gets the numbers it was given here, or the history starts over. The store is at
    /// `offset`.
    async fn replay(
        &self,
        known: &Known,
        (epoch, offset): (&Epoch, u64),
    ) -> Result<(), StoreError> {
        loop {
            let batch = known.mirror().batch(|count| self.numbers(count));
            let Some(batch) = batch else {
                known.mirror().is_current_again();
                return Ok(());
            };
            match self.tell_again(known, &batch).await? {
                Some((at, first, count)) if at == *epoch && first == batch.expected => {
                    known.mirror().told(count);
                }
                Some((_, first, count)) => {
                    let common = offset.min(batch.expected - 1);
                    let told = (first..).take(count).collect();
                    known.mirror().told(count);
                    return self.start_over(known, (epoch, common), told).await;
                }
                None => {
                    let common = offset.min(batch.expected - 1);
                    known.mirror().told(1);
                    return self.start_over(known, (epoch, common), Vec::new()).await;
                }
            }
        }
    }

    /// Where the store put the first events of `batch`, and how many; `None` for one that was not ours.
    async fn tell_again(
        &self,
        known: &Known,
        batch: &Batch,
    ) -> Result<Option<(Epoch, u64, usize)>, StoreError> {
        let events = (batch.seq, &batch.appends[..]);
        let script = script::append(&known.name, &known.keys, &self.node, events);
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

    /// After `common` the store has another history than the one this node's readers know: it is given a new epoch.
    /// `told` are numbers that it gave to events which readers here know already.
    async fn start_over(
        &self,
        known: &Known,
        (old, common): (&Epoch, u64),
        told: Vec<u64>,
    ) -> Result<(), StoreError> {
        let new = Epoch::random();
        let script = script::restart(&known.name, &known.keys, (old, &new));
        self.link.run(known.keys.slot, &script).await?;
        self.rewrite(known, Some(common), told).await
    }

    /// The store's history has another epoch: it is told what it lacks, and every reader learns the whole truth
    /// anew. Up to `common` it is the one that they know.
    async fn rewrite(
        &self,
        known: &Known,
        common: Option<u64>,
        mut told: Vec<u64>,
    ) -> Result<(), StoreError> {
        loop {
            let batch = known.mirror().batch(|count| self.numbers(count));
            let Some(batch) = batch else {
                break;
            };
            let placed = self.tell_again(known, &batch).await?;
            let count = placed.as_ref().map_or(1, |(_, _, count)| *count);
            if let Some((_, first, count)) = placed {
                told.extend((first..).take(count));
            }
            known.mirror().told(count);
        }
        self.fork(known, common.map(|common| Restart { common, told }));
        Ok(())
    }

    /// The same for all rooms for which it is `due`, many at once.
    pub(super) async fn reconcile_all(&self, due: impl Fn(&Known) -> bool) {
        use futures_util::StreamExt as _;
        let rooms: Vec<Arc<Known>> = self
            .rooms()
            .values()
            .filter(|known| due(known))
            .cloned()
            .collect();
        let each = rooms.into_iter().map(|known| async move {
            // Whoever appends finds out by itself, and may be waiting for the store to come back.
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
                // Whoever closed it did so during the outage.
                let _ = self.close(&known.name).await;
            }
        });
        futures_util::stream::iter(each)
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<()>>()
            .await;
    }
}

/// Where the store's history is.
struct Restored {
    epoch: Epoch,
    offset: u64,
    /// The epoch that it went on from, if any, and after which event.
    before: (String, u64),
}

/// Rooms reconciled at once.
const AT_ONCE: usize = 64;
