//! Tests for every [`Store`] implementation. Panics on a failure.

use std::sync::Arc;
use std::time::Duration;

use super::{Opened, RoomUpdate, Store, StoreError};
use crate::entropy;
use crate::history::{Append, Change, Entry, Missed};
use crate::history::{Ephemeral, Kind, LeaveReason, Participant, RoomEvent, Source, Track};
use crate::ids::{Epoch, Generation, NodeId, ParticipantId, RoomName, TrackId};
use crate::limits::HISTORY_EVENTS;

const PATIENCE: Duration = Duration::from_secs(5);
const PRESENCE: Duration = Duration::from_millis(100);

/// Runs all tests of the suite, each in a room of its own.
pub async fn run<S: Store>(store: &S) {
    offsets_have_no_gaps_and_readers_see_every_event(store).await;
    history_is_bounded_and_says_so(store).await;
    participants_change_with_the_event(store).await;
    a_slow_reader_is_cut_off_and_catches_up(store).await;
    presence_runs_out(store).await;
    an_epoch_ends_with_its_room(store).await;
    appends_from_everywhere_are_ordered(store).await;
    appends_at_once_keep_the_order_they_were_asked_in(store).await;
    what_is_published_is_told_and_not_kept(store).await;
}

fn room() -> RoomName {
    format!("suite-{}", entropy::alphanumeric(12))
        .parse()
        .expect("letters and digits are a name")
}

/// A message event whose payload is `number`.
pub fn note(number: usize) -> Append {
    Append {
        event: RoomEvent::Message {
            participant: "PA_0000000000000000".parse().expect("a participant's form"),
            identity: "suite".parse().expect("a name"),
            topic: "n".to_owned(),
            payload: number.into(),
        },
        to: None,
        change: Change::None,
    }
}

/// A participant with this identity, without tracks.
pub fn participant(identity: &str) -> Participant {
    Participant {
        participant: ParticipantId::random(),
        identity: identity.parse().expect("a name"),
        name: identity.to_owned(),
        tracks: Vec::new(),
        node: node(),
        generation: Generation::default(),
    }
}

/// The node of all participants in the suite.
fn node() -> NodeId {
    "node".parse().expect("a name")
}

/// The event with which this participant joins.
pub fn joined(participant: &Participant) -> Append {
    Append {
        event: RoomEvent::ParticipantJoined {
            participant: participant.clone(),
        },
        to: None,
        change: Change::Put(participant.clone()),
    }
}

/// The event with which `participant` leaves. The store refuses it if another server serves the
/// participant.
pub fn left_if_ours(participant: &Participant) -> Append {
    Append {
        change: Change::RemoveOurs(participant.participant.clone()),
        ..left(participant)
    }
}

fn left(participant: &Participant) -> Append {
    Append {
        event: RoomEvent::ParticipantLeft {
            participant: participant.participant.clone(),
            identity: participant.identity.clone(),
            reason: LeaveReason::Left,
        },
        to: None,
        change: Change::Remove(participant.participant.clone()),
    }
}

async fn open<S: Store>(store: &S, room: &RoomName) -> Opened {
    store.open(room).await.expect("a store opens rooms")
}

async fn append<S: Store>(store: &S, room: &RoomName, append: Append) -> u64 {
    let appended = store.append(room, append).await;
    appended.expect("an open room takes events")
}

async fn since<S: Store>(store: &S, room: &RoomName, epoch: &Epoch, offset: u64) -> Missed {
    let missed = store.since(room, epoch, offset).await;
    missed.expect("an open room has a history")
}

async fn next(opened: &mut Opened) -> Option<Arc<Entry>> {
    loop {
        let received = tokio::time::timeout(PATIENCE, opened.updates.recv()).await;
        match received.expect("an event that was appended arrives")? {
            RoomUpdate::Entry(entry) => return Some(entry),
            RoomUpdate::Message(_) | RoomUpdate::Taken(_) => {}
        }
    }
}

async fn offsets_have_no_gaps_and_readers_see_every_event<S: Store>(store: &S) {
    let room = room();
    let unopened = store.append(&room, note(0)).await;
    assert_eq!(unopened, Err(StoreError::NoRoom(room.clone())));
    let mut first = open(store, &room).await;
    assert_eq!(first.offset, 0);
    assert_eq!(append(store, &room, note(1)).await, 1);
    let mut second = open(store, &room).await;
    assert_eq!((&second.epoch, second.offset), (&first.epoch, 1));
    let mut private = note(2);
    private.to = Some(vec!["ann".parse().expect("a name")]);
    assert_eq!(append(store, &room, private.clone()).await, 2);
    let (one, two) = (next(&mut first).await, next(&mut first).await);
    assert_eq!(one.map(|e| e.offset), Some(1));
    let two = two.expect("the reader is not cut off");
    assert_eq!(
        (two.offset, &two.event, &two.to),
        (2, &private.event, &private.to)
    );
    assert_eq!(next(&mut second).await.map(|e| e.offset), Some(2));
    let missed = since(store, &room, &first.epoch, 1).await;
    assert_eq!(missed, Missed::Entries(vec![two]));
    assert_eq!(
        since(store, &room, &first.epoch, 2).await,
        Missed::Entries(Vec::new())
    );
}

async fn history_is_bounded_and_says_so<S: Store>(store: &S) {
    let room = room();
    let mut opened = open(store, &room).await;
    for number in 0..HISTORY_EVENTS + 1 {
        append(store, &room, note(number)).await;
        next(&mut opened).await;
    }
    let all = since(store, &room, &opened.epoch, 1).await;
    let Missed::Entries(entries) = all else {
        panic!("{HISTORY_EVENTS} events are kept")
    };
    let offsets = entries.iter().map(|entry| entry.offset);
    assert!(offsets.eq(2..=HISTORY_EVENTS as u64 + 1));
    assert_eq!(since(store, &room, &opened.epoch, 0).await, Missed::TooOld);
    let future = HISTORY_EVENTS as u64 + 2;
    assert_eq!(
        since(store, &room, &opened.epoch, future).await,
        Missed::TooOld
    );
    let other = since(store, &room, &Epoch::random(), 2).await;
    assert_eq!(other, Missed::TooOld);
}

async fn participants_change_with_the_event<S: Store>(store: &S) {
    let room = room();
    let _opened = open(store, &room).await;
    let (ann, mut bob) = (participant("ann"), participant("bob"));
    append(store, &room, joined(&ann)).await;
    append(store, &room, joined(&bob)).await;
    let track = Track {
        track: TrackId::random(),
        kind: Kind::Audio,
        source: Source::Microphone,
        muted: false,
        layers: Vec::new(),
        node: node(),
    };
    bob.tracks.push(track.clone());
    let published = Append {
        event: RoomEvent::TrackPublished {
            participant: bob.participant.clone(),
            track,
        },
        to: None,
        change: Change::Put(bob.clone()),
    };
    append(store, &room, published).await;
    append(store, &room, left(&ann)).await;
    let now = open(store, &room).await;
    assert_eq!((now.offset, now.participants), (4, vec![bob]));
}

async fn a_slow_reader_is_cut_off_and_catches_up<S: Store>(store: &S) {
    let room = room();
    let mut opened = open(store, &room).await;
    let total = HISTORY_EVENTS * 2;
    for number in 0..total {
        append(store, &room, note(number)).await;
    }
    let mut seen = 0;
    while let Some(entry) = next(&mut opened).await {
        assert_eq!(entry.offset, seen + 1, "no gap before the end");
        seen = entry.offset;
        if seen == total as u64 {
            return; // a store that buffers everything is as good
        }
    }
    assert!(matches!(
        since(store, &room, &opened.epoch, total as u64 - 1).await,
        Missed::Entries(entries) if entries.len() == 1
    ));
}

async fn presence_runs_out<S: Store>(store: &S) {
    let room = room();
    let _opened = open(store, &room).await;
    let (ann, bob, eve) = (participant("ann"), participant("bob"), participant("eve"));
    for someone in [&ann, &bob, &eve] {
        append(store, &room, joined(someone)).await;
    }
    let both = [ann.participant.clone(), bob.participant.clone()];
    store.touch(&room, &both, PRESENCE).await.expect("touched");
    assert_eq!(store.absent(&room).await, Ok(Vec::new()));
    tokio::time::sleep(PRESENCE * 2).await;
    let ann_again = store.touch(&room, &both[..1], PATIENCE).await;
    ann_again.expect("touched");
    assert_eq!(store.absent(&room).await, Ok(vec![bob.clone()]));
    append(store, &room, left(&bob)).await;
    assert_eq!(store.absent(&room).await, Ok(Vec::new()));
}

async fn an_epoch_ends_with_its_room<S: Store>(store: &S) {
    let room = room();
    let opened = open(store, &room).await;
    let ann = participant("ann");
    append(store, &room, joined(&ann)).await;
    let epoch = opened.epoch.clone();
    drop(opened);
    store.close(&room).await.expect("closing is asking");
    let still = open(store, &room).await;
    assert_eq!(still.epoch, epoch, "a room with participants stays");
    append(store, &room, left(&ann)).await;
    store.close(&room).await.expect("closing is asking");
    let read = open(store, &room).await;
    assert_eq!(read.epoch, epoch, "a room with a reader stays");
    drop((still, read));
    store.close(&room).await.expect("closing is asking");
    let new = open(store, &room).await;
    assert_ne!(new.epoch, epoch);
    assert_eq!((new.offset, new.participants.len()), (0, 0));
    assert_eq!(since(store, &room, &epoch, 0).await, Missed::TooOld);
}

async fn appends_from_everywhere_are_ordered<S: Store>(store: &S) {
    let room = room();
    let mut opened = open(store, &room).await;
    let writers = (0..8).map(|writer| {
        let room = &room;
        async move {
            let mut offsets = Vec::new();
            for number in 0..10 {
                offsets.push(append(store, room, note(writer * 10 + number)).await);
            }
            offsets
        }
    });
    let offsets = futures_util::future::join_all(writers).await;
    let mut all: Vec<u64> = offsets.into_iter().flatten().collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(1..=80), "each offset is given once");
    for offset in 1..=80 {
        assert_eq!(next(&mut opened).await.map(|e| e.offset), Some(offset));
    }
}

async fn appends_at_once_keep_the_order_they_were_asked_in<S: Store>(store: &S) {
    const EVENTS: usize = 500;
    let room = room();
    let mut opened = open(store, &room).await;
    let ann = participant("ann");
    append(store, &room, joined(&ann)).await;
    next(&mut opened).await;
    let at_once = (0..EVENTS).map(|number| match number {
        // An append that the store may refuse, between others.
        250 => store.append(&room, left_if_ours(&ann)),
        _ => store.append(&room, note(number)),
    });
    let offsets = futures_util::future::try_join_all(at_once).await;
    let offsets = offsets.expect("an open room takes events");
    assert!(offsets.into_iter().eq(2..EVENTS as u64 + 2));
    for number in 0..EVENTS {
        let entry = next(&mut opened).await.expect("the reader is not cut off");
        let expected = match number {
            250 => left_if_ours(&ann).event,
            _ => note(number).event,
        };
        assert_eq!((entry.offset, &entry.event), (number as u64 + 2, &expected));
    }
    let missed = since(store, &room, &opened.epoch, 1).await;
    assert!(matches!(missed, Missed::Entries(entries) if entries.len() == EVENTS));
    assert_eq!(open(store, &room).await.participants, []);
}

async fn what_is_published_is_told_and_not_kept<S: Store>(store: &S) {
    let room = room();
    let message = Ephemeral {
        participant: ParticipantId::random(),
        identity: "ann".parse().expect("a name"),
        topic: "typing".into(),
        payload: serde_json::json!({"is": true}),
        to: Some(vec!["bob".parse().expect("a name")]),
    };
    let unopened = store.publish(&room, message.clone());
    assert_eq!(unopened, Err(StoreError::NoRoom(room.clone())));
    let mut opened = open(store, &room).await;
    append(store, &room, note(1)).await;
    next(&mut opened).await;
    store.publish(&room, message.clone()).expect("it is open");
    let told = tokio::time::timeout(PATIENCE, opened.updates.recv()).await;
    let told = told
        .expect("it arrives")
        .expect("the reader is not cut off");
    assert_eq!(told, RoomUpdate::Message(Arc::new(message)));
    append(store, &room, note(2)).await;
    assert_eq!(next(&mut opened).await.map(|entry| entry.offset), Some(2));
    let missed = since(store, &room, &opened.epoch, 1).await;
    assert!(matches!(missed, Missed::Entries(entries) if entries.len() == 1));
}
