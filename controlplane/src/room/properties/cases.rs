//! Inputs that found bugs, as short as the properties made them. Clients are 0 to 3, nodes 0 and 1.

use super::live;
use super::step::Outcome::Done;
use super::step::Step::{Ask as Asks, Drop, Join, NodeLost, Reply, Resume, Store, Taken, Wait};
use super::step::{Ask, Step};
use crate::history::{Kind, Layer, Source};
use crate::room::{OfferedTrack, Persistence};

/// An offer with one video track, which has this layer, or none.
fn offers(who: usize, rid: Option<&str>, is_known: bool) -> Step {
    let layer = |rid: &str| Layer {
        rid: rid.to_owned(),
        height: 180,
    };
    let offered = OfferedTrack {
        mid: "0".to_owned(),
        kind: Kind::Video,
        source: Source::Camera,
        track: None,
        muted: false,
        layers: rid.into_iter().map(layer).collect(),
    };
    Asks(who, Ask::Offer(vec![(offered, is_known)]))
}

fn resumes(who: usize, is_expired: bool) -> Step {
    let knows_all = false;
    Resume {
        who,
        knows_all,
        is_expired,
    }
}

#[test]
fn the_resume_of_a_replaced_participant_takes_nothing_over() {
    // The store has not returned the leave of the first participant.
    live(
        false,
        false,
        &[Join(0, 0), Store(true), Join(0, 0), resumes(0, false)],
    );
    // The store has lost it.
    let message = Asks(
        1,
        Ask::Message {
            to: None,
            persistence: Persistence::Stored,
        },
    );
    live(
        false,
        false,
        &[
            Join(1, 0),
            Store(true),
            message,
            Join(1, 0),
            Store(false),
            Store(false),
            Join(0, 0),
            resumes(1, false),
        ],
    );
}

#[test]
fn a_track_of_a_participant_that_is_not_listed_is_not_subscribed() {
    live(
        false,
        false,
        &[
            Join(0, 0),
            Join(0, 0),
            Reply(0, Done),
            Store(false),
            Reply(0, Done),
            Store(false),
            offers(0, None, false),
            Join(1, 0),
            Join(1, 0),
            Reply(3, Done),
            Store(false),
            Join(0, 0),
        ],
    );
}

#[test]
fn a_track_that_was_unsubscribed_stays_so_when_its_publisher_changes_it() {
    live(
        false,
        false,
        &[
            Join(0, 0),
            Join(1, 0),
            Store(true),
            Store(true),
            offers(1, None, false),
            Reply(2, Done),
            Store(true),
            Asks(0, Ask::Unsubscribe(0)),
            offers(1, Some("q"), true),
            Reply(2, Done),
            Reply(2, Done),
            Store(true),
        ],
    );
}

#[test]
fn a_result_from_before_a_node_was_lost_belongs_to_no_later_command() {
    live(
        true,
        false,
        &[
            Join(1, 1),
            Store(true),
            Join(1, 0),
            Drop(1),
            Store(false),
            Store(false),
            NodeLost(1),
            resumes(1, true),
            Wait(31_000),
            Reply(0, Done),
            Join(0, 0),
            Join(0, 0),
        ],
    );
}

#[test]
fn a_command_from_before_another_server_took_over_stays_the_only_one() {
    live(
        true,
        false,
        &[Join(2, 0), Store(true), Taken(2), Join(2, 0)],
    );
    live(
        true,
        false,
        &[Join(2, 0), Store(true), Taken(2), resumes(2, false)],
    );
}

#[test]
fn subscriptions_that_were_on_their_way_when_another_server_took_over_end_with_their_track() {
    live(
        true,
        false,
        &[
            Join(0, 0),
            Store(true),
            Reply(0, Done),
            Join(1, 0),
            Store(true),
            offers(1, None, false),
            Reply(1, Done),
            Store(true),
            Taken(0),
            resumes(0, false),
            Asks(1, Ask::Leave),
            Store(true),
        ],
    );
}

#[test]
fn a_track_that_ended_while_another_server_took_over_is_not_wanted() {
    live(
        true,
        false,
        &[
            Join(0, 0),
            Join(1, 0),
            Store(true),
            Reply(0, Done),
            offers(1, None, false),
            Reply(0, Done),
            Join(1, 0),
            Store(true),
            Store(true),
            Taken(0),
            Reply(0, Done),
            Reply(0, Done),
            Reply(0, Done),
            Store(true),
            resumes(0, false),
        ],
    );
}
