//! Tests of a room with several nodes and without a store: events take effect as soon as they are
//! appended.

use std::sync::Arc;

use super::fixtures::{config, grants, join_of};
use super::*;
use crate::clock;
use crate::fleet::{
    Command, Done, HeldSession, NodeError, NodeEvent, Published, SubscriptionParams,
};
use crate::history::{Kind, Missed, Source, Track};
use crate::ids::Generation;
use crate::store::suite;

struct TestRoom {
    room: Room,
    now: Instant,
    offset: u64,
    sockets: u64,
    notices: Vec<(Option<SocketId>, Notice)>,
    commands: Vec<(NodeId, Command)>,
}

fn node(name: &str) -> NodeId {
    name.parse().expect("a name")
}

impl TestRoom {
    fn new(is_shared: bool) -> Self {
        let now = clock::now();
        let name = "r".parse().expect("a name");
        let history = (Epoch::random(), Roster::default());
        let config = Arc::new(config(is_shared));
        Self {
            room: Room::new(name, config, history, NodeFactsById::new(), now),
            now,
            offset: 0,
            sockets: 0,
            notices: Vec::new(),
            commands: Vec::new(),
        }
    }

    /// Executes all outputs of the room. Commands are recorded and answered with `answer`.
    fn execute_outputs(&mut self, answer: impl Fn(&Command) -> Option<Done>) {
        while let Some(output) = self.room.poll_output() {
            match output {
                Output::Append { append, then } => {
                    self.offset += 1;
                    let (offset, Append { event, to, .. }) = (self.offset, append);
                    let participant = event.participant().cloned();
                    let entry = Arc::new(Entry { offset, event, to });
                    self.room.handle_entry(&entry, self.now);
                    self.room.handle_applied(participant.as_ref());
                    self.room.handle_appended(then, Ok(offset), self.now);
                }
                Output::Call {
                    node,
                    session,
                    command,
                } => {
                    let done = answer(&command);
                    self.commands.push((node, command));
                    if let Some(done) = done {
                        self.room.handle_replied(&session, Ok(done), self.now);
                    }
                }
                Output::Send { socket, notice } => self.notices.push((Some(socket), notice)),
                Output::Broadcast { notice } => self.notices.push((None, notice)),
                Output::SendPrivate { .. }
                | Output::Close { .. }
                | Output::Publish { .. }
                | Output::TakeLease { .. }
                | Output::RouteEvents { .. }
                | Output::RouteLevels { .. } => {}
            }
        }
    }

    /// A participant joins. Its sessions are on `node`.
    fn join(&mut self, identity: &str, node: Option<NodeId>) -> SocketId {
        self.sockets += 1;
        let socket = SocketId(self.sockets);
        let join = join_of(identity, None);
        let read = ReadForJoin {
            missed: Missed::TooOld,
            sessions: Vec::new(),
            node,
        };
        self.room.handle_join(socket, join, read, self.now);
        self.execute_outputs(|_| Some(Done::Nothing));
        socket
    }

    fn received_by(&mut self, socket: SocketId) -> Vec<Notice> {
        let mine = |(to, notice): (Option<SocketId>, Notice)| {
            to.is_none_or(|to| to == socket).then_some(notice)
        };
        std::mem::take(&mut self.notices)
            .into_iter()
            .filter_map(mine)
            .collect()
    }

    fn id_of(&self, identity: &str) -> ParticipantId {
        let identity = identity.parse().expect("a name");
        let known = self
            .room
            .roster
            .by_identity(&identity)
            .expect("it is there");
        known.participant.clone()
    }

    fn held(&self, identity: &str, generation: Generation) -> HeldSession {
        let session = self.id_of(identity).session(Half::Subscribe, generation);
        HeldSession {
            owner: "us".to_owned(),
            ..held_session(session)
        }
    }
}

fn sync(sessions: Vec<HeldSession>, turn_urls: &Arc<[String]>) -> NodeSync {
    NodeSync {
        sessions,
        asked: None,
        turn_urls: Arc::clone(turn_urls),
    }
}

fn is_lost(notice: &Notice) -> bool {
    matches!(
        notice,
        Notice::Media {
            state: MediaState::Lost,
            ..
        }
    )
}

#[test]
fn who_is_on_a_node_that_dies_is_told_and_nobody_else() {
    let mut test = TestRoom::new(true);
    let (ann, bob) = (
        test.join("ann", Some(node("a"))),
        test.join("bob", Some(node("b"))),
    );
    let commands = |test: &TestRoom, name: &str| {
        let on = test.commands.iter().filter(|(on, _)| *on == node(name));
        on.count()
    };
    assert_eq!((commands(&test, "a"), commands(&test, "b")), (1, 1));
    test.notices.clear();
    test.room.handle_node_lost(&node("a"), test.now);
    test.execute_outputs(|_| None);
    let all = test.notices.clone();
    assert!(test.received_by(ann).iter().any(is_lost));
    test.notices = all;
    assert!(!test.received_by(bob).iter().any(is_lost));
    // A node's report covers only the sessions of that node.
    let held = vec![test.held("bob", Generation(0))];
    let urls: Arc<[String]> = Arc::from(["turn:b".to_owned()]);
    test.room
        .handle_node_synced(&node("b"), sync(held, &urls), test.now);
    test.execute_outputs(|_| None);
    assert!(!test.received_by(bob).iter().any(is_lost), "it is there");
    test.room
        .handle_node_synced(&node("b"), sync(Vec::new(), &urls), test.now);
    test.execute_outputs(|_| None);
    assert!(test.received_by(bob).iter().any(is_lost), "it is not");
    // A participant that joined after the node was asked is missing in the reply, and stays.
    let eve = test.join("eve", Some(node("b")));
    test.notices.clear();
    let asked = test.id_of("bob").sessions(Generation(0)).to_vec();
    let of_others = NodeSync {
        asked: Some(asked),
        ..sync(Vec::new(), &Arc::from([]))
    };
    let b = node("b");
    test.room.handle_node_synced(&b, of_others, test.now);
    test.execute_outputs(|_| None);
    assert!(!test.received_by(eve).iter().any(is_lost));
}

#[test]
fn relays_are_those_of_the_participants_node() {
    let mut test = TestRoom::new(true);
    for name in ["a", "b"] {
        let urls: Arc<[String]> = Arc::from([format!("turn:{name}")]);
        test.room
            .handle_node_synced(&node(name), sync(Vec::new(), &urls), test.now);
    }
    for name in ["a", "b"] {
        let socket = test.join(name, Some(node(name)));
        let joined = test
            .received_by(socket)
            .into_iter()
            .find_map(|notice| match notice {
                Notice::Joined(joined) => Some(joined),
                _ => None,
            });
        let servers = joined.expect("it is in").relays.ice_servers;
        assert_eq!(servers[0].urls, [format!("turn:{name}")]);
    }
}

#[test]
fn sessions_of_another_generation_are_left_behind() {
    for is_shared in [false, true] {
        let mut test = TestRoom::new(is_shared);
        let ann = test.join("ann", Some(node("a")));
        test.commands.clear();
        let old = test.held("ann", Generation(7));
        let held = vec![test.held("ann", Generation(0)), old.clone()];
        let urls: Arc<[String]> = Arc::from([]);
        test.room
            .handle_node_synced(&node("a"), sync(held, &urls), test.now);
        test.execute_outputs(|_| Some(Done::Nothing));
        let closed = |(_, command): &(NodeId, Command)| match command {
            Command::CloseSession { session, .. } => Some(session.clone()),
            _ => None,
        };
        let closed: Vec<_> = test.commands.iter().filter_map(closed).collect();
        assert!(closed.contains(&old.session), "{closed:?}");
        assert!(closed.iter().all(|id| id.generation == Generation(7)));
        // Later events of the session are ignored.
        let event = NodeEvent::Closed {
            session: old.session,
            failure: None,
        };
        test.notices.clear();
        test.room.handle_node_event(&node("a"), event, test.now);
        test.execute_outputs(|_| None);
        assert!(!test.received_by(ann).iter().any(is_lost));
    }
}

#[test]
fn a_track_is_at_home_where_its_publisher_is() {
    let mut test = TestRoom::new(true);
    let ann = test.join("ann", Some(node("b")));
    let offer = PublishOffer {
        sdp: "v=0".to_owned(),
        tracks: vec![OfferedTrack {
            mid: "0".to_owned(),
            kind: Kind::Audio,
            source: Source::Microphone,
            track: None,
            muted: false,
            layers: Vec::new(),
        }],
    };
    let time = (test.now, 1_000);
    test.room
        .handle_request(ann, Some(2), Request::Offer(offer), time);
    test.execute_outputs(|command| match command {
        Command::PutPublish(put) => {
            let playable = |published: &Published| crate::fleet::Playable {
                track: published.track.track.clone(),
                rids: Vec::new(),
            };
            let tracks = put.tracks.iter().map(playable).collect();
            let sdp = "answer".to_owned();
            Some(Done::Answer { sdp, tracks })
        }
        _ => Some(Done::Nothing),
    });
    let ann = test.room.roster.participant(&test.id_of("ann")).cloned();
    let ann = ann.expect("it is listed");
    let [Track { node: home, .. }] = &ann.tracks[..] else {
        panic!("one track: {ann:?}");
    };
    assert_eq!((home, &ann.node), (&node("b"), &node("b")));
}

#[test]
fn who_joins_again_before_its_first_join_came_back_is_there_once() {
    let mut test = TestRoom::new(true);
    // The store is slow: events come back after both joins.
    let mut appended = Vec::new();
    for _ in 0..2 {
        test.sockets += 1;
        let socket = SocketId(test.sockets);
        let join = join_of("ann", None);
        let read = ReadForJoin {
            missed: Missed::TooOld,
            sessions: Vec::new(),
            node: Some(node("a")),
        };
        test.room.handle_join(socket, join, read, test.now);
        while let Some(output) = test.room.poll_output() {
            if let Output::Append { append, then } = output {
                appended.push((append, then));
            }
        }
    }
    for (append, then) in appended {
        test.offset += 1;
        let (offset, Append { event, to, .. }) = (test.offset, append);
        let participant = event.participant().cloned();
        let entry = Arc::new(Entry { offset, event, to });
        test.room.handle_entry(&entry, test.now);
        test.room.handle_applied(participant.as_ref());
        test.room.handle_appended(then, Ok(offset), test.now);
    }
    assert_eq!(test.room.roster.len(), 1, "no ghost of the first join");
    assert_eq!(test.room.members(), 1);
}

#[test]
fn without_a_node_nobody_is_let_in() {
    let mut test = TestRoom::new(true);
    let ann = test.join("ann", None);
    let refused = test.received_by(ann);
    let code = refused.iter().find_map(|notice| match notice {
        Notice::Refused { refusal, .. } => Some(refusal.code),
        _ => None,
    });
    assert_eq!(code, Some(ErrorCode::MediaUnavailable));
    assert!(test.room.roster.is_empty());
}

/// A participant of another server that comes back to this one. `held`: the sessions that its node reports.
fn taken_over(held: impl Fn(&ParticipantId) -> Vec<HeldSession>) -> (TestRoom, Vec<Notice>) {
    let mut test = TestRoom::new(true);
    let ann = suite::participant("ann");
    let id = ann.participant.clone();
    test.offset = 1;
    let event = RoomEvent::ParticipantJoined { participant: ann };
    let joined = Arc::new(Entry {
        offset: 1,
        event,
        to: None,
    });
    test.room.handle_entry(&joined, test.now);
    let epoch = test.room.epoch().clone();
    let resume = ResumePoint {
        participant: id.clone(),
        seen: Some((epoch.clone(), 1)),
        since: (epoch, 0),
        grants: grants(),
        joined_s: 900,
        ends_s: None,
    };
    let socket = SocketId(9);
    let read = ReadForJoin {
        missed: Missed::Entries(Vec::new()),
        sessions: held(&id),
        node: None,
    };
    let join = join_of("ann", Some(resume));
    test.room.handle_join(socket, join, read, test.now);
    test.execute_outputs(|_| Some(Done::Nothing));
    let notices = test.received_by(socket);
    (test, notices)
}

fn held_session(session: SessionId) -> HeldSession {
    HeldSession {
        session,
        annotation: None,
        connected_shard: Some(0),
        tracks: Vec::new(),
        subscriptions: Vec::new(),
        outstanding_offer: None,
        owner: "them".to_owned(),
        is_leased: true,
    }
}

#[test]
fn a_viewer_without_session_is_told_when_it_comes_back_elsewhere() {
    let subscribe = |id: &ParticipantId| id.session(Half::Subscribe, Generation(0));
    let (_, notices) = taken_over(|id| vec![held_session(subscribe(id))]);
    assert!(!notices.iter().any(is_lost), "its session is there");
    let (test, notices) = taken_over(|_| Vec::new());
    let lost = notices.iter().position(is_lost);
    let joined = |notice: &Notice| matches!(notice, Notice::Joined(_));
    assert!(notices.iter().position(joined) < lost, "{notices:?}");
    assert!(lost.is_some(), "{notices:?}");
    let created =
        |(_, command): &(NodeId, Command)| matches!(command, Command::PutSubscribe { .. });
    assert!(test.commands.iter().any(created), "it gets another");
}

#[test]
fn subscriptions_to_tracks_that_ended_meanwhile_end_at_the_return() {
    let gone = TrackId::random();
    let (test, _) = taken_over(|id| {
        let mut held = held_session(id.session(Half::Subscribe, Generation(0)));
        held.subscriptions = vec![(gone.clone(), SubscriptionParams::default())];
        vec![held]
    });
    let ends = |(_, command): &(NodeId, Command)| match command {
        Command::PutSubscriptions { remove, .. } => remove.contains(&gone),
        _ => false,
    };
    assert!(test.commands.iter().any(ends), "{:?}", test.commands);
}

#[test]
fn sessions_made_before_the_loss_was_known_are_closed_and_made_again() {
    let mut test = TestRoom::new(true);
    let ann = test.join("ann", Some(node("a")));
    test.room.handle_node_lost(&node("a"), test.now);
    test.execute_outputs(|_| None);
    test.commands.clear();
    // A command has reached the next data plane earlier than the news of the loss.
    let held = vec![test.held("ann", Generation(0))];
    let urls: Arc<[String]> = Arc::from([]);
    test.room
        .handle_node_synced(&node("a"), sync(held, &urls), test.now);
    test.execute_outputs(|_| Some(Done::Nothing));
    let names: Vec<&str> = test
        .commands
        .iter()
        .map(|(_, command)| match command {
            Command::CloseSession { .. } => "close",
            Command::PutSubscribe { .. } => "create",
            _ => "other",
        })
        .collect();
    let close = names.iter().position(|name| *name == "close");
    let create = names.iter().rposition(|name| *name == "create");
    assert!(close.is_some() && close < create, "{names:?}");
    assert!(test.received_by(ann).iter().any(is_lost));
}

#[test]
fn an_offer_that_the_node_executed_after_it_was_given_up_does_not_stay() {
    let mut test = TestRoom::new(true);
    let ann = test.join("ann", Some(node("a")));
    let track = OfferedTrack {
        mid: "0".to_owned(),
        kind: Kind::Audio,
        source: Source::Microphone,
        track: None,
        muted: false,
        layers: Vec::new(),
    };
    let offer = PublishOffer {
        sdp: "v=0".to_owned(),
        tracks: vec![track],
    };
    let time = (test.now, 1_000);
    test.room
        .handle_request(ann, Some(2), Request::Offer(offer), time);
    test.execute_outputs(|_| None);
    let offered = test.commands.iter().find_map(|(_, command)| match command {
        Command::PutPublish(put) => Some((put.session.clone(), put.tracks.clone())),
        _ => None,
    });
    let (session, tracks) = offered.expect("it is sent to the node");
    let held = vec![
        test.held("ann", Generation(0)),
        HeldSession {
            tracks,
            ..held_session(session.clone())
        },
    ];
    let urls: Arc<[String]> = Arc::from([]);
    let is_closed = |test: &TestRoom| {
        test.commands.iter().any(|(_, command)| match command {
            Command::CloseSession { session: of, .. } => *of == session,
            _ => false,
        })
    };
    // While the command is on its way, its result decides.
    let a = node("a");
    test.room
        .handle_node_synced(&a, sync(held.clone(), &urls), test.now);
    test.execute_outputs(|_| Some(Done::Nothing));
    assert!(!is_closed(&test));
    let late = NodeError::Unavailable("no answer within 5 s".to_owned());
    test.room.handle_replied(&session, Err(late), test.now);
    test.execute_outputs(|_| Some(Done::Nothing));
    test.room
        .handle_node_synced(&a, sync(held, &urls), test.now);
    test.execute_outputs(|_| Some(Done::Nothing));
    assert!(is_closed(&test), "{:?}", test.commands);
    assert!(
        test.received_by(ann).iter().any(is_lost),
        "it may offer again"
    );
}
