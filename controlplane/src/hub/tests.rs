//! Tests of a room's actor with a slow store, and of a hub with a blocked room.

use std::sync::Arc;
use std::time::Duration;

use std::sync::Mutex;

use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt as _, StreamExt as _};

use super::actor::Actor;
use super::effect::{Answer, Effect, Input, ReadAgain, Time};
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::*;
use crate::clock;
use crate::fleet::{HeldSession, Lease, NodeEvent, NodeUpdate, Update};
use crate::history::{Append, Entry, Missed, Participant, RoomEvent, Roster};
use crate::ids::{Epoch, Generation, Half, NodeId, ParticipantId, RoomName};
use crate::limits::ROOM_INPUTS;
use crate::room::fixtures::{config, grants, join_of};
use crate::room::{CloseCode, NodeFactsById, Persistence, Request, ResumePoint, Room, SocketId};
use crate::signaling::dialect::spillway::Spillway;
use crate::store::memory::MemoryStore;
use crate::store::{Appended, Opened, RoomUpdate, StoreError, StoreFuture, Stored, suite};

fn time() -> Time {
    Time {
        now: clock::now(),
        unix_s: 1_000,
    }
}

/// An actor of a room with `epoch` at offset 1. The participant ann is on another server.
fn actor(epoch: &Epoch) -> (Actor, ParticipantId) {
    let ann = suite::participant("ann");
    let id = ann.participant.clone();
    let history = (epoch.clone(), Roster::new(1, vec![ann]));
    let name = "r".parse().expect("a name");
    let facts = NodeFactsById::new();
    let room = Room::new(name, Arc::new(config(true)), history, facts, clock::now());
    (Actor::new(room), id)
}

fn effects(actor: &mut Actor) -> Vec<Effect> {
    std::iter::from_fn(|| actor.poll_effect()).collect()
}

fn entry(offset: u64, append: Append) -> Input {
    let Append { event, to, .. } = append;
    Input::Update(Some(RoomUpdate::Entry(Arc::new(Entry {
        offset,
        event,
        to,
    }))))
}

fn note(number: usize) -> Request {
    Request::Message {
        topic: "n".to_owned(),
        payload: number.into(),
        to: None,
        persistence: Persistence::Stored,
    }
}

/// Text that the socket received since the last call.
fn received(reader: &mut OutboxReader) -> String {
    let mut items = std::collections::VecDeque::new();
    if reader.next(&mut items).now_or_never() != Some(true) {
        return String::new();
    }
    let text = |item| match item {
        ToSocket::Frame(frame) => frame.wire,
        ToSocket::Bytes(wire) => wire,
        ToSocket::Close(..) => bytes::Bytes::new(),
    };
    let parts = items.into_iter().map(text);
    parts
        .map(|part| String::from_utf8_lossy(&part).into_owned())
        .collect()
}

#[test]
fn nothing_is_missed_by_who_comes_back_while_its_history_is_read() {
    let epoch = Epoch::random();
    let (mut actor, ann) = actor(&epoch);
    let resume = ResumePoint {
        participant: ann.clone(),
        seen: Some((epoch.clone(), 1)),
        since: (epoch.clone(), 0),
        grants: grants(),
        joined_s: 900,
        ends_s: None,
    };
    let (outbox, mut reader, _ending) = outbox(&Spillway);
    let socket = SocketId(1);
    actor.handle(entry(2, suite::note(2)), time());
    let join = RoomInput::Join {
        socket,
        outbox,
        request: join_of("ann", Some(resume)),
        node: None,
    };
    actor.handle(Input::Room(join), time());
    let asked = effects(&mut actor);
    let reads = asked.iter().find_map(|effect| match effect {
        Effect::ReadForJoin(reads) => Some(reads),
        _ => None,
    });
    let reads = reads.expect("its history is read");
    assert_eq!(reads.seen, Some((epoch, 1)));
    assert_eq!(reads.claimed.as_ref().map(|s| &s.participant), Some(&ann));
    // The client sends a request before its join is answered.
    actor.handle(entry(3, suite::note(3)), time());
    let request = RoomInput::Request {
        socket,
        id: Some(2),
        request: note(9),
    };
    actor.handle(Input::Room(request), time());
    assert!(effects(&mut actor).is_empty(), "it is not in yet");
    let Append { event, to, .. } = suite::note(2);
    let missed = Missed::Entries(vec![Arc::new(Entry {
        offset: 2,
        event,
        to,
    })]);
    let read = Answer::ReadForJoin {
        socket,
        missed,
        sessions: Some(Vec::new()),
        unclaimed: None,
    };
    actor.handle(Input::Answer(read), time());
    actor.flush(clock::now());
    let text = received(&mut reader);
    let at = |what: &str| {
        text.find(what)
            .unwrap_or_else(|| panic!("{what} in {text}"))
    };
    assert!(text.contains("recovered"), "{text}");
    assert!(at("\"offset\":2") < at("\"offset\":3"), "{text}");
    assert_eq!(text.matches("\"offset\":3").count(), 1, "{text}");
    let appended = effects(&mut actor).into_iter();
    let appends = appended.filter(|effect| matches!(effect, Effect::Append(_)));
    assert_eq!(appends.count(), 1, "what it asked meanwhile is done now");
}

#[test]
fn a_join_is_answered_when_its_event_came_back_and_appends_keep_their_order() {
    let epoch = Epoch::random();
    let (mut actor, _) = actor(&epoch);
    let (outbox, mut reader, _ending) = outbox(&Spillway);
    let socket = SocketId(1);
    let request = RoomInput::Join {
        socket,
        outbox,
        request: join_of("bob", None),
        node: Some("a".parse().expect("a name")),
    };
    actor.handle(Input::Room(request), time());
    let appended: Vec<Append> = effects(&mut actor)
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Append(append) => Some(append),
            _ => None,
        })
        .collect();
    let [joined] = &appended[..] else {
        panic!("one event: {appended:?}");
    };
    assert_eq!(actor.appends_in_flight(), 1);
    let appended = Appended {
        offset: 3,
        stored: Stored::Yes,
    };
    actor.handle(Input::Answer(Answer::Appended(Ok(appended))), time());
    assert_eq!(received(&mut reader), "", "another event is before it");
    actor.handle(entry(2, suite::note(2)), time());
    assert_eq!(received(&mut reader), "");
    assert!(!actor.is_idle(clock::now()));
    actor.handle(entry(3, joined.clone()), time());
    actor.flush(clock::now());
    let text = received(&mut reader);
    assert!(
        text.contains("\"joined\"") && text.contains("\"offset\":3"),
        "{text}"
    );
}

#[test]
fn a_gap_is_read_once_and_what_is_known_is_not_told_again() {
    let epoch = Epoch::random();
    let (mut actor, _) = actor(&epoch);
    actor.handle(entry(4, suite::note(4)), time());
    actor.handle(entry(5, suite::note(5)), time());
    actor.handle(Input::Update(None), time());
    let asked = effects(&mut actor);
    let is_read = |effect: &&Effect| matches!(effect, Effect::ReadAgain { offset: 1, .. });
    assert_eq!(asked.iter().filter(is_read).count(), 1, "{asked:?}");
    actor.handle(entry(2, suite::note(2)), time());
    let entries = [2, 3, 4, 5].map(|offset| {
        let Append { event, to, .. } = suite::note(offset as usize);
        Arc::new(Entry { offset, event, to })
    });
    let again = ReadAgain::Entries(entries.to_vec());
    actor.handle(Input::Answer(Answer::ReadAgain(again)), time());
    actor.handle(entry(6, suite::note(6)), time());
    assert!(effects(&mut actor).is_empty(), "no event is missing");
}

/// A participant of another server asks to come back. Returns the actor with the reader and the end of its socket.
fn coming_back(socket: SocketId) -> (Actor, ParticipantId, OutboxReader, EndingReader) {
    let epoch = Epoch::random();
    let (mut actor, ann) = actor(&epoch);
    let resume = ResumePoint {
        participant: ann.clone(),
        seen: Some((epoch.clone(), 1)),
        since: (epoch, 0),
        grants: grants(),
        joined_s: 900,
        ends_s: None,
    };
    let (outbox, reader, ending) = outbox(&Spillway);
    let join = RoomInput::Join {
        socket,
        outbox,
        request: join_of("ann", Some(resume)),
        node: None,
    };
    actor.handle(Input::Room(join), time());
    drop(effects(&mut actor));
    (actor, ann, reader, ending)
}

fn read(
    socket: SocketId,
    sessions: Option<Vec<HeldSession>>,
    unclaimed: Option<ParticipantId>,
) -> Input {
    Input::Answer(Answer::ReadForJoin {
        socket,
        missed: Missed::Entries(Vec::new()),
        sessions,
        unclaimed,
    })
}

#[test]
fn a_server_that_does_not_reach_the_node_sends_the_client_to_another() {
    let socket = SocketId(1);
    let (mut actor, _, mut reader, mut ending) = coming_back(socket);
    actor.handle(read(socket, None, None), time());
    actor.flush(clock::now());
    assert_eq!(ending.try_recv().unwrap().0, CloseCode::GoingAway);
    assert_eq!(actor.members(), 0);
    assert_eq!(received(&mut reader), "", "it has not joined");
}

#[test]
fn a_return_is_claimed_until_the_store_knows_it() {
    let socket = SocketId(1);
    let (mut actor, ann, _reader, _ending) = coming_back(socket);
    let claims = |actor: &mut Actor| {
        let all = effects(actor).into_iter();
        all.filter(|effect| matches!(effect, Effect::Claim(id) if *id == ann))
            .count()
    };
    let claimed = |is_done| {
        let participant = ann.clone();
        Input::Answer(Answer::Claimed {
            participant,
            is_done,
        })
    };
    actor.handle(read(socket, Some(Vec::new()), Some(ann.clone())), time());
    assert_eq!(claims(&mut actor), 1);
    actor.handle(claimed(false), time());
    assert_eq!(claims(&mut actor), 1, "the store still does not answer");
    actor.handle(claimed(true), time());
    assert_eq!(claims(&mut actor), 0);
    // A participant that moved on belongs to another server.
    actor.handle(Input::Update(Some(RoomUpdate::Taken(ann.clone()))), time());
    actor.handle(claimed(false), time());
    assert_eq!(claims(&mut actor), 0);
}

/// A store in which one room never opens.
struct BlockedStore {
    inner: MemoryStore,
    room: RoomName,
    /// Notified when another room is opened.
    opened: Arc<tokio::sync::Notify>,
}

impl Store for BlockedStore {
    fn open<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, Opened> {
        if *room == self.room {
            return Box::pin(std::future::pending());
        }
        self.opened.notify_one();
        self.inner.open(room)
    }

    fn append_event<'a>(&'a self, room: &'a RoomName, append: Append) -> StoreFuture<'a, Appended> {
        self.inner.append_event(room, append)
    }

    fn publish(
        &self,
        room: &RoomName,
        message: crate::history::Ephemeral,
    ) -> Result<(), StoreError> {
        self.inner.publish(room, message)
    }

    fn since<'a>(
        &'a self,
        room: &'a RoomName,
        epoch: &'a Epoch,
        offset: u64,
    ) -> StoreFuture<'a, Missed> {
        self.inner.since(room, epoch, offset)
    }

    fn touch<'a>(
        &'a self,
        room: &'a RoomName,
        participants: &'a [ParticipantId],
        time: Duration,
    ) -> StoreFuture<'a, ()> {
        self.inner.touch(room, participants, time)
    }

    fn absent<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, Vec<Participant>> {
        self.inner.absent(room)
    }

    fn claim<'a>(
        &'a self,
        room: &'a RoomName,
        participant: &'a ParticipantId,
    ) -> StoreFuture<'a, ()> {
        self.inner.claim(room, participant)
    }

    fn close<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, ()> {
        self.inner.close(room)
    }
}

#[tokio::test]
async fn a_room_that_takes_nothing_stops_no_events_for_the_others() {
    let (blocked, fine): (RoomName, RoomName) =
        ("blocked".parse().unwrap(), "fine".parse().unwrap());
    let store = BlockedStore {
        inner: MemoryStore::new(),
        room: blocked.clone(),
        opened: Arc::default(),
    };
    let opened = Arc::clone(&store.opened);
    let lease = Lease {
        owner: "us".to_owned(),
        time: Duration::from_secs(13),
    };
    let (fleet, _updates) = Fleet::new(lease, None);
    let metrics = Arc::new(Metrics::new());
    let hub = super::new(Arc::new(store), fleet, Arc::new(config(true)), metrics);
    let node: NodeId = "a".parse().unwrap();
    let (victim, friend) = (ParticipantId::random(), ParticipantId::random());
    hub.routes().route_events(victim.clone(), &blocked, true);
    hub.routes().route_events(friend.clone(), &fine, true);
    let closed = |participant: &ParticipantId| NodeUpdate {
        node: node.clone(),
        update: Update::Event(NodeEvent::Closed {
            session: participant.session(Half::Publish, Generation(0)),
            failure: None,
        }),
    };
    let (updates, reader) = mpsc::channel(1);
    let following = tokio::spawn(Arc::clone(&hub).route_updates(reader));
    let telling = async {
        for _ in 0..2 * ROOM_INPUTS {
            updates.send(closed(&victim)).await.expect("it follows");
        }
        updates.send(closed(&friend)).await.expect("it follows");
    };
    tokio::time::timeout(Duration::from_secs(30), telling)
        .await
        .expect("nobody waits for the room");
    let heard = tokio::time::timeout(Duration::from_secs(30), opened.notified());
    heard.await.expect("the other room hears of it");
    assert!(hub.metrics().room_overflows.get() > 0, "and it is counted");
    assert!(hub.mailbox(&blocked).has_overflowed.load(Ordering::Acquire));
    following.abort();
}

#[test]
fn events_have_about_the_bytes_that_clients_are_told() {
    for append in [suite::note(1), suite::joined(&suite::participant("ann"))] {
        let Append { event, to, .. } = append;
        let entry = Arc::new(Entry {
            offset: 7,
            event,
            to,
        });
        let wire = Spillway
            .encode(&crate::room::Notice::Event(Arc::clone(&entry)))
            .wire
            .len();
        let guessed = entry.bytes();
        assert!(guessed.abs_diff(wire) < wire / 2, "{guessed} for {wire}");
        assert!(!matches!(entry.event, RoomEvent::Private));
    }
}

/// Appends get their offsets in the order in which their futures are first polled
/// ([`Store::append_event`]). A room's task polls all of them through one collection, in that order.
#[test]
fn appends_of_a_task_are_polled_first_in_the_order_in_which_they_were_made() {
    let (mut appends, polled) = (FuturesOrdered::new(), Arc::new(Mutex::new(Vec::new())));
    for number in 0..50 {
        let polled = Arc::clone(&polled);
        appends.push_back(async move {
            polled.lock().expect("nobody panics").push(number);
            std::future::pending::<()>().await;
        });
        if number % 7 == 0 {
            assert_eq!(appends.next().now_or_never(), None);
        }
    }
    assert_eq!(appends.next().now_or_never(), None);
    let polled = polled.lock().expect("nobody panics");
    assert!(polled.iter().copied().eq(0..50), "{polled:?}");
}
