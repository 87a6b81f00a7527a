//! Steps of a room's life.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::fleet::SubscriptionParams;
use crate::history::{Kind, Layer, Source};
use crate::ids::Half;
use crate::room::{OfferedTrack, Persistence};

/// Number of clients, of which the last one is hidden.
const CLIENTS: usize = 4;

/// One step; clients and nodes are named by their place.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A client joins on a new socket; its sessions are on this node.
    Join(usize, usize),
    /// A client comes back on a new socket.
    Resume {
        who: usize,
        knows_all: bool,
        is_expired: bool,
    },
    /// The socket of a client closes.
    Drop(usize),
    /// A client sends a request.
    Ask(usize, Ask),
    /// The store answers the first append, or fails.
    Store(bool),
    /// A node answers one of the commands.
    Reply(usize, Outcome),
    /// So many milliseconds pass.
    Wait(u64),
    NodeLost(usize),
    NodeSynced(usize),
    /// Something happens to one of the sessions.
    SessionEvent(usize, SessionEvent),
    /// A participant of another server joins, publishes or leaves.
    OtherServer(usize),
    /// A client comes back on another server.
    Taken(usize),
}

/// A request. Tracks are named by their place in the roster.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// An offer; of each track, whether it names a track that the client publishes already.
    Offer(Vec<(OfferedTrack, bool)>),
    Answer {
        is_right: bool,
    },
    Candidate(Half),
    Subscribe(usize, SubscriptionParams),
    Unsubscribe(usize),
    Mute(usize, bool),
    Message {
        to: Option<Vec<usize>>,
        persistence: Persistence,
    },
    IceServers,
    Leave,
}

/// What becomes of a command.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    Done,
    /// It was executed, and the reply was lost.
    Lost,
    Unavailable,
    Refused,
    Full,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum SessionEvent {
    Connected,
    Closed,
    Offer,
    Layer { is_rejected: bool },
}

pub(super) fn steps(is_shared: bool) -> impl Strategy<Value = Vec<Step>> {
    vec(step(is_shared), 1..90)
}

fn step(is_shared: bool) -> impl Strategy<Value = Step> {
    let who = || 0..CLIENTS;
    let node = || 0..2_usize;
    let resume = (who(), any::<bool>(), prop::bool::weighted(0.2));
    let resume = resume.prop_map(|(who, knows_all, is_expired)| Step::Resume {
        who,
        knows_all,
        is_expired,
    });
    let wait_ms = prop_oneof![6 => 0..400_u64, 1 => 0..12_000_u64, 1 => Just(31_000_u64)];
    let outcome = prop_oneof![
        8 => Just(Outcome::Done),
        1 => Just(Outcome::Lost),
        1 => Just(Outcome::Unavailable),
        1 => Just(Outcome::Refused),
        1 => Just(Outcome::Full),
    ];
    let event = prop_oneof![
        2 => Just(SessionEvent::Connected),
        2 => Just(SessionEvent::Closed),
        3 => Just(SessionEvent::Offer),
        1 => any::<bool>().prop_map(|is_rejected| SessionEvent::Layer { is_rejected }),
    ];
    let of_this_server = prop_oneof![
        8 => (who(), node()).prop_map(|(who, node)| Step::Join(who, node)),
        3 => resume,
        2 => who().prop_map(Step::Drop),
        14 => (who(), ask()).prop_map(|(who, ask)| Step::Ask(who, ask)),
        14 => prop::bool::weighted(0.95).prop_map(Step::Store),
        14 => (0..8_usize, outcome).prop_map(|(index, outcome)| Step::Reply(index, outcome)),
        5 => wait_ms.prop_map(Step::Wait),
        1 => node().prop_map(Step::NodeLost),
        2 => node().prop_map(Step::NodeSynced),
        3 => (0..8_usize, event).prop_map(|(index, event)| Step::SessionEvent(index, event)),
    ];
    let other_server = prop_oneof![
        (0..12_usize).prop_map(Step::OtherServer),
        (0..CLIENTS).prop_map(Step::Taken),
    ];
    match is_shared {
        true => prop_oneof![15 => of_this_server, 1 => other_server].boxed(),
        false => of_this_server.boxed(),
    }
}

fn ask() -> impl Strategy<Value = Ask> {
    let tracks = vec(offered(), 0..3);
    let half = prop_oneof![Just(Half::Publish), Just(Half::Subscribe)];
    let params = (any::<bool>(), 0..2_u32, 0..2_u32).prop_map(|(paused, max_height, priority)| {
        SubscriptionParams {
            paused,
            max_height,
            priority,
        }
    });
    let persistence = prop_oneof![Just(Persistence::Stored), Just(Persistence::Ephemeral)];
    let message = (prop::option::of(vec(0..CLIENTS, 1..3)), persistence);
    prop_oneof![
        5 => tracks.prop_map(Ask::Offer),
        2 => prop::bool::weighted(0.8).prop_map(|is_right| Ask::Answer { is_right }),
        1 => half.prop_map(Ask::Candidate),
        3 => (0..6_usize, params).prop_map(|(index, params)| Ask::Subscribe(index, params)),
        2 => (0..6_usize).prop_map(Ask::Unsubscribe),
        3 => (0..6_usize, any::<bool>()).prop_map(|(index, muted)| Ask::Mute(index, muted)),
        3 => message.prop_map(|(to, persistence)| Ask::Message { to, persistence }),
        1 => Just(Ask::IceServers),
        1 => Just(Ask::Leave),
    ]
}

fn offered() -> impl Strategy<Value = (OfferedTrack, bool)> {
    let kind = prop_oneof![
        Just((Kind::Audio, Source::Microphone)),
        Just((Kind::Video, Source::Camera)),
        Just((Kind::Video, Source::Screen)),
    ];
    let layers = prop_oneof![Just(vec![]), Just(vec!["q"]), Just(vec!["q", "h"])];
    let layer = |rid: &str| Layer {
        rid: rid.to_owned(),
        height: 180,
    };
    (0..3_u8, kind, any::<bool>(), layers, any::<bool>()).prop_map(
        move |(mid, (kind, source), muted, layers, is_known)| {
            let offered = OfferedTrack {
                mid: mid.to_string(),
                kind,
                source,
                track: None,
                muted,
                layers: layers.into_iter().map(layer).collect(),
            };
            (offered, is_known)
        },
    )
}
