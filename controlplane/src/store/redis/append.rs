//! Appends: one script call sends all waiting appends of a room, in order. While Redis is
//! unavailable, this server gives them their offsets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::island::Untold;
use super::shared::{Known, Shared, Waiting, lock, parsed};
use super::{message, script};
use crate::history::{Append, Change, Entry};
use crate::ids::{ParticipantId, RoomName};
use crate::limits::APPEND_EVENTS;
use crate::store::{Placed, StoreError, Stored};

/// Pause before a batch is sent again after the room was restored in Redis.
const AGAIN_PAUSE: Duration = Duration::from_millis(20);

impl Shared {
    /// Queues the append. One task at a time sends all queued appends of the room with one script
    /// call.
    pub(super) async fn place(
        &self,
        room: &RoomName,
        append: Append,
    ) -> Result<Placed, StoreError> {
        let known = self.known(room)?;
        let (answer, mut answered) = oneshot::channel();
        lock(&known.waiting).push_back(Waiting { append, answer });
        loop {
            tokio::select! {
                biased;
                answer = &mut answered => {
                    return answer.unwrap_or_else(|_| Err(given_up()));
                }
                // The task with the lock writes all waiting appends.
                _writing = known.writing.lock() => self.write(&known).await,
            }
        }
    }

    /// Sends the oldest queued appends. The caller holds the room's write lock.
    async fn write(&self, known: &Known) {
        let waiting = batch(&mut lock(&known.waiting));
        if waiting.is_empty() {
            return;
        }
        let (appends, answers): (Vec<_>, VecDeque<_>) = waiting
            .into_iter()
            .map(|waiting| (waiting.append, waiting.answer))
            .unzip();
        let seq = self.numbers(appends.len());
        let mut batch = Writing {
            seq,
            appends,
            answers,
        };
        let mut tried = None;
        if !known.mirror().is_island() {
            match self.tell(known, &mut batch).await {
                Ok(()) => return,
                Err(StoreError::Unavailable(why)) => {
                    let room = &known.name;
                    tracing::warn!(%room, %why, "store: unavailable, the room continues on this server");
                    self.alarm.notify_one();
                    tried = Some(batch.seq);
                }
                Err(error) => return batch.fail(&error),
            }
        }
        self.go_on_alone(known, batch, tried);
    }

    /// Sends the batch to Redis and passes confirmed events to the replica. Refused events stay in
    /// the batch.
    async fn tell(&self, known: &Known, batch: &mut Writing) -> Result<(), StoreError> {
        let mut missing = 0;
        while !batch.appends.is_empty() {
            let events = (batch.seq, &batch.appends[..]);
            let script = script::append(&known.name, &known.keys, &self.server_id, events);
            let reply = self.link.run_patiently(known.keys.slot, &script).await?;
            match parsed::<message::Appended>(reply)? {
                message::Appended::At {
                    epoch,
                    first,
                    count,
                } => {
                    let count = count.clamp(1, batch.appends.len());
                    let events = (first..).zip(batch.appends.drain(..count));
                    let entries = events.map(|(offset, Append { event, to, .. })| {
                        Arc::new(Entry { offset, event, to })
                    });
                    self.receive(known, &epoch, entries);
                    batch.seq += count as u64;
                    for (offset, answer) in (first..).zip(batch.answers.drain(..count)) {
                        let stored = Stored::Yes;
                        // The caller may have given up.
                        let _ = answer.send(Ok(Placed { offset, stored }));
                    }
                }
                message::Appended::NotOurs => {
                    return Err(StoreError::NotOurs(participant_of(&batch.appends[0])));
                }
                // Redis lost the room: this server restores it.
                message::Appended::NoRoom if missing < 2 => {
                    missing += 1;
                    self.reconcile(known).await?;
                    tokio::time::sleep(AGAIN_PAUSE * (missing - 1)).await;
                }
                message::Appended::NoRoom => {
                    let said = "the room disappears again whenever it is restored";
                    return Err(StoreError::Unavailable(said.into()));
                }
            }
        }
        Ok(())
    }

    /// Gives the events offsets on this server. `tried` is the sequence number of the first event
    /// in a failed attempt.
    fn go_on_alone(&self, known: &Known, batch: Writing, tried: Option<u64>) {
        let mut mirror = known.mirror();
        for (index, (append, answer)) in (0..).zip(batch.appends.into_iter().zip(batch.answers)) {
            let (stored, is_stored) = oneshot::channel();
            let placed = mirror.append(Untold {
                seq: tried.map(|first| first + index),
                append,
                stored,
            });
            self.metrics.island_events.inc();
            let placed = placed.map(|offset| Placed {
                offset,
                stored: Stored::Later(is_stored),
            });
            // The caller may have given up.
            let _ = answer.send(placed.ok_or_else(|| {
                StoreError::Unavailable("too many events wait for the store".into())
            }));
        }
    }

    /// Reserves `count` sequence numbers of this server; returns the first.
    pub(super) fn numbers(&self, count: usize) -> u64 {
        self.appends.fetch_add(count as u64, Ordering::Relaxed) + 1
    }
}

/// A batch of appends that is being sent.
struct Writing {
    seq: u64,
    appends: Vec<Append>,
    answers: VecDeque<oneshot::Sender<Result<Placed, StoreError>>>,
}

impl Writing {
    fn fail(self, error: &StoreError) {
        for answer in self.answers {
            // The caller may have given up.
            let _ = answer.send(Err(error.clone()));
        }
    }
}

/// The appends for one call. A change that the store may refuse is sent alone.
fn batch(waiting: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let goes_alone = |waiting: &Waiting| waiting.append.change.may_be_refused();
    let first = waiting.iter().take(APPEND_EVENTS);
    let count = match first.clone().position(goes_alone) {
        Some(0) => 1,
        Some(index) => index,
        None => first.len(),
    };
    waiting.drain(..count).collect()
}

fn participant_of(append: &Append) -> ParticipantId {
    match &append.change {
        Change::Put(participant) => participant.participant.clone(),
        Change::Remove(participant)
        | Change::RemoveOurs(participant)
        | Change::RemoveAbsent(participant) => participant.clone(),
        Change::None => unreachable!("the store refuses only removals"),
    }
}

fn given_up() -> StoreError {
    StoreError::Unavailable("the room was closed meanwhile".into())
}
