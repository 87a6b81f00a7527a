//! Reconciling a room's mirror with the store: after an outage of any length, whether the store remembers
//! everything, nothing, or something else.

use std::sync::Arc;

use super::{Known, Shared, message, parsed, script};
use crate::ids::Epoch;
use crate::store::{Missed, StoreError};

impl Shared {
    /// Tells the store what it does not know and learns what this node does not. The caller is the room's
    /// only writer.
    pub(super) async fn reconcile(&self, known: &Known) -> Result<(), StoreError> {
        if !known.mirror().is_open() {
            return Ok(());
        }
        // What others append while this is asked reaches the mirror before the answer does.
        let seen = known.mirror().offset();
        let (epoch, offset) = self.restore(known).await?;
        let mirror_epoch = known.mirror().epoch().clone();
        let island = known.mirror().island();
        if epoch != mirror_epoch {
            return self.rewrite(known, None).await;
        }
        if island.appends.is_empty() {
            if offset < seen {
                // A failover lost what had been published.
                return self.rewrite(known, Some(&epoch)).await;
            }
            if offset > island.offset {
                return self.catch_up(known, (&epoch, island.offset)).await;
            }
            known.mirror().is_current_again();
            return Ok(());
        }
        self.replay(known, &epoch).await
    }

    /// Makes the room in the store as it was before the outage, unless it is there.
    async fn restore(&self, known: &Known) -> Result<(Epoch, u64), StoreError> {
        let script = {
            let mirror = known.mirror();
            let island = mirror.island();
            let place = (mirror.epoch(), island.offset);
            let history = island.history.iter().map(|entry| &**entry);
            script::restore(
                &known.keys,
                &self.node,
                place,
                &island.participants,
                history,
            )
        };
        let reply = self.link.run(known.keys.slot, &script).await?;
        let (epoch, offset) = parsed::<(String, u64)>(reply)?;
        Ok((message::epoch(&epoch)?, offset))
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
                for entry in entries {
                    self.receive(known, epoch, entry);
                }
                known.mirror().is_current_again();
            }
            Missed::TooOld => self.fork(known),
        }
        Ok(())
    }

    /// Appends what waits. It gets the numbers it was given here, or the history starts over.
    async fn replay(&self, known: &Known, epoch: &Epoch) -> Result<(), StoreError> {
        loop {
            let (expected, next) = {
                let island = known.mirror().island();
                (island.offset + 1, island.appends.front().cloned())
            };
            let Some((seq, append)) = next else {
                known.mirror().is_current_again();
                return Ok(());
            };
            let script = script::append(&known.name, &known.keys, &self.node, (seq, &append));
            let reply = self.link.run(known.keys.slot, &script).await?;
            match parsed::<message::Appended>(reply)? {
                message::Appended::At(at, offset) if at == *epoch && offset == expected => {
                    known.mirror().told_one();
                }
                message::Appended::At(..) | message::Appended::NotOurs => {
                    known.mirror().told_one();
                    return self.rewrite(known, Some(epoch)).await;
                }
                message::Appended::NoRoom => {
                    return Err(StoreError::Unavailable(
                        "the room went away while it was told of it".into(),
                    ));
                }
            }
        }
    }

    /// The store has another history than the one this node's readers know: it is given a new epoch, if
    /// it is not a new one anyway, is told what it lacks, and every reader learns the whole truth anew.
    async fn rewrite(&self, known: &Known, old: Option<&Epoch>) -> Result<(), StoreError> {
        if let Some(old) = old {
            let new = Epoch::random();
            let script = script::restart(&known.name, &known.keys, (old, &new));
            self.link.run(known.keys.slot, &script).await?;
        }
        let waiting = known.mirror().island().appends;
        for (seq, append) in waiting {
            let script = script::append(&known.name, &known.keys, &self.node, (seq, &append));
            self.link.run(known.keys.slot, &script).await?;
            known.mirror().told_one();
        }
        self.fork(known);
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
            let writing = known.writing.lock().await;
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

/// Rooms reconciled at once.
const AT_ONCE: usize = 64;
