//! Appends: one script call sends all waiting appends of a room, in order. While Redis is
//! unavailable, this server gives them their offsets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::offline_log::PendingEvent;
use super::shared::{OpenRoom, QueuedAppend, Shared, lock, parsed};
use super::{message, script};
use crate::history::{Append, Change, Entry};
use crate::ids::{ParticipantId, RoomName};
use crate::limits::APPEND_EVENTS;
use crate::store::{Appended, StoreError, Stored};

/// Pause before a batch is sent again after the room was restored in Redis.
const AGAIN_PAUSE: Duration = Duration::from_millis(20);

impl Shared {
    /// Queues the append. One task at a time sends all queued appends of the room with one script
    /// call.
    pub(super) async fn append_event(
        &self,
        room: &RoomName,
        append: Append,
    ) -> Result<Appended, StoreError> {
        let open_room = self.open_room(room)?;
        let (answer, mut answered) = oneshot::channel();
        lock(&open_room.waiting).push_back(QueuedAppend { append, answer });
        loop {
            tokio::select! {
                biased;
                answer = &mut answered => {
                    return answer.unwrap_or_else(|_| Err(given_up()));
                }
                // The task with the lock writes all waiting appends.
                _writing = open_room.writing.lock() => self.write(&open_room).await,
            }
        }
    }

    /// Sends the oldest queued appends. The caller holds the room's write lock.
    async fn write(&self, open_room: &OpenRoom) {
        let waiting = batch(&mut lock(&open_room.waiting));
        if waiting.is_empty() {
            return;
        }
        let (appends, answers): (Vec<_>, VecDeque<_>) = waiting
            .into_iter()
            .map(|waiting| (waiting.append, waiting.answer))
            .unzip();
        let seq = self.reserve_sequence_numbers(appends.len());
        let mut batch = AppendBatch {
            seq,
            appends,
            answers,
        };
        let mut tried = None;
        if !open_room.replica().is_offline() {
            match self.send_batch(open_room, &mut batch).await {
                Ok(()) => return,
                Err(StoreError::Unavailable(why)) => {
                    let room = &open_room.name;
                    tracing::warn!(%room, %why, "store: unavailable, the room continues on this server");
                    self.wakeup.notify_one();
                    tried = Some(batch.seq);
                }
                Err(error) => return batch.fail(&error),
            }
        }
        self.append_offline(open_room, batch, tried);
    }

    /// Sends the batch to Redis and passes confirmed events to the replica. Refused events stay in
    /// the batch.
    async fn send_batch(
        &self,
        open_room: &OpenRoom,
        batch: &mut AppendBatch,
    ) -> Result<(), StoreError> {
        let mut missing = 0;
        while !batch.appends.is_empty() {
            let events = (batch.seq, &batch.appends[..]);
            let script = script::append(&open_room.name, &open_room.keys, &self.server_id, events);
            let reply = self
                .link
                .run_patiently(open_room.keys.slot, &script)
                .await?;
            match parsed::<message::AppendReply>(reply)? {
                message::AppendReply::At {
                    epoch,
                    first,
                    count,
                } => {
                    let count = count.clamp(1, batch.appends.len());
                    let events = (first..).zip(batch.appends.drain(..count));
                    let entries = events.map(|(offset, Append { event, to, .. })| {
                        Arc::new(Entry { offset, event, to })
                    });
                    self.receive(open_room, &epoch, entries);
                    batch.seq += count as u64;
                    for (offset, answer) in (first..).zip(batch.answers.drain(..count)) {
                        let stored = Stored::Yes;
                        // The caller may have given up.
                        let _ = answer.send(Ok(Appended { offset, stored }));
                    }
                }
                message::AppendReply::NotOurs => {
                    return Err(StoreError::NotOurs(participant_of(&batch.appends[0])));
                }
                // Redis lost the room: this server restores it.
                message::AppendReply::NoRoom if missing < 2 => {
                    missing += 1;
                    self.reconcile(open_room).await?;
                    tokio::time::sleep(AGAIN_PAUSE * (missing - 1)).await;
                }
                message::AppendReply::NoRoom => {
                    let said = "the room disappears again whenever it is restored";
                    return Err(StoreError::Unavailable(said.into()));
                }
            }
        }
        Ok(())
    }

    /// Gives the events offsets on this server. `tried` is the sequence number of the first event
    /// in a failed attempt.
    fn append_offline(&self, open_room: &OpenRoom, batch: AppendBatch, tried: Option<u64>) {
        let mut replica = open_room.replica();
        for (index, (append, answer)) in (0..).zip(batch.appends.into_iter().zip(batch.answers)) {
            let (stored, is_stored) = oneshot::channel();
            let appended = replica.append(PendingEvent {
                seq: tried.map(|first| first + index),
                append,
                stored,
            });
            self.metrics.offline_events.inc();
            let appended = appended.map(|offset| Appended {
                offset,
                stored: Stored::Later(is_stored),
            });
            // The caller may have given up.
            let _ = answer.send(appended.ok_or_else(|| {
                StoreError::Unavailable("too many events wait for the store".into())
            }));
        }
    }

    /// Reserves `count` sequence numbers of this server; returns the first.
    pub(super) fn reserve_sequence_numbers(&self, count: usize) -> u64 {
        self.appends.fetch_add(count as u64, Ordering::Relaxed) + 1
    }
}

/// A batch of appends that is being sent.
struct AppendBatch {
    seq: u64,
    appends: Vec<Append>,
    answers: VecDeque<oneshot::Sender<Result<Appended, StoreError>>>,
}

impl AppendBatch {
    fn fail(self, error: &StoreError) {
        for answer in self.answers {
            // The caller may have given up.
            let _ = answer.send(Err(error.clone()));
        }
    }
}

/// The appends for one call. A change that the store may refuse is sent alone.
fn batch(waiting: &mut VecDeque<QueuedAppend>) -> Vec<QueuedAppend> {
    let goes_alone = |waiting: &QueuedAppend| waiting.append.change.may_be_refused();
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
