//! A client as the room sees it: its socket, and what it knows from notices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::auth::Grants;
use crate::history::{Entry, RoomEvent, Roster};
use crate::ids::{Epoch, Identity, ParticipantId, TrackId};
use crate::room::fixtures::{config, grants};
use crate::room::{Joined, Mode, Notice, ResumePoint, SocketId};

/// Grants, socket and knowledge of one person.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) identity: Identity,
    pub(super) grants: Grants,
    pub(super) auto_subscribe: bool,
    /// The open socket, and whether it got `joined`.
    pub(super) socket: Option<(SocketId, bool)>,
    /// Earlier sockets that are still open.
    pub(super) stale: Vec<SocketId>,
    /// The participant, its epoch, and the roster that results from all notices.
    pub(super) known: Option<Known>,
    pub(super) next_request: u32,
    /// Requests that end or start a subscription: the track, and whether it is wanted.
    pub(super) wishes: BTreeMap<u32, (TrackId, bool)>,
    /// Tracks that the client unsubscribed from.
    pub(super) unsubscribed: BTreeSet<TrackId>,
    /// Replies to each request of the open socket.
    pub(super) replies: BTreeMap<u32, usize>,
    /// Revision of the latest offer.
    pub(super) offered: Option<u64>,
}

/// What a client knows after `joined`.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) participant: ParticipantId,
    pub(super) epoch: Epoch,
    pub(super) roster: Roster,
    pub(super) resume_key: String,
}

impl Client {
    pub(super) fn new(name: &str, hidden: bool, auto_subscribe: bool) -> Self {
        let grants = Grants {
            hidden,
            publish: !hidden,
            ..grants()
        };
        Self {
            identity: name.parse().expect("a name"),
            grants,
            auto_subscribe,
            socket: None,
            stale: Vec::new(),
            known: None,
            next_request: 2,
            wishes: BTreeMap::new(),
            unsubscribed: BTreeSet::new(),
            replies: BTreeMap::new(),
            offered: None,
        }
    }

    /// Opens a socket for a join, which is request 1.
    pub(super) fn open(&mut self, socket: SocketId) {
        let before = self.socket.replace((socket, false));
        self.stale.extend(before.map(|(socket, _)| socket));
        self.replies = BTreeMap::from([(1, 0)]);
        self.next_request = 2;
        self.wishes.clear();
    }

    /// Id of the next request.
    pub(super) fn ask(&mut self) -> u32 {
        let id = self.next_request;
        self.next_request += 1;
        self.replies.insert(id, 0);
        id
    }

    /// The roster, if the socket is open and got `joined`.
    pub(super) fn present(&self) -> Option<&Known> {
        let (_, has_joined) = self.socket?;
        self.known.as_ref().filter(|_| has_joined)
    }

    /// Where the client would resume, according to its resume key.
    pub(super) fn resume_point(&self, unix_s: u64, is_expired: bool) -> Option<ResumePoint> {
        let known = self.known.as_ref()?;
        let room = "r".parse().expect("a name");
        let owner = (&room, &known.participant, &self.identity);
        let claims = config(false)
            .keys
            .check_resume(&known.resume_key, owner, unix_s)
            .expect("its own key");
        Some(ResumePoint {
            participant: known.participant.clone(),
            seen: Some((known.epoch.clone(), known.roster.offset())),
            since: (claims.epoch, claims.since),
            grants: claims.grants,
            joined_s: claims.joined_s,
            ends_s: is_expired.then_some(unix_s + 3),
        })
    }

    /// Handles a notice on the open socket.
    pub(super) fn hear(&mut self, notice: &Notice) {
        match notice {
            Notice::Joined(joined) => self.joined(joined),
            Notice::Answer { id, .. } | Notice::IceServers { id, .. } => self.replied(*id),
            Notice::Refused { id, .. } => self.replied(*id),
            Notice::Ok { id } => {
                self.replied(Some(*id));
                match self.wishes.remove(id) {
                    Some((track, true)) => _ = self.unsubscribed.remove(&track),
                    Some((track, false)) => _ = self.unsubscribed.insert(track),
                    None => {}
                }
            }
            Notice::Event(entry) => self.event(entry),
            Notice::Withheld { offset } => self.apply(*offset, &RoomEvent::Private),
            Notice::Offer(offer) => {
                assert!(self.present().is_some(), "an offer before joined");
                self.offered = Some(offer.revision);
            }
            Notice::Message(message) => {
                let is_for = |to: &Vec<Identity>| to.contains(&self.identity);
                assert!(
                    message.to.as_ref().is_none_or(is_for),
                    "not for {}",
                    self.identity
                );
            }
            Notice::Speakers(_) | Notice::Layer { .. } | Notice::Media { .. } => {
                assert!(self.present().is_some(), "{notice:?} before joined");
            }
        }
    }

    fn joined(&mut self, joined: &Joined) {
        assert_eq!(joined.identity, self.identity);
        self.replied(joined.id);
        let socket = self.socket.as_mut().expect("it is open");
        assert!(!std::mem::replace(&mut socket.1, true), "joined twice");
        if joined.mode == Mode::New {
            self.unsubscribed.clear();
        }
        let roster = match (&joined.participants, self.known.take()) {
            (Some(others), _) => {
                let others = others.iter().map(|other| (**other).clone()).collect();
                Roster::new(joined.offset, others)
            }
            (None, Some(known)) => {
                assert_eq!(joined.mode, Mode::Recovered);
                assert_eq!(
                    (&joined.epoch, joined.offset),
                    (&known.epoch, known.roster.offset())
                );
                known.roster
            }
            (None, None) => panic!("{joined:?} without a list"),
        };
        self.known = Some(Known {
            participant: joined.participant.clone(),
            epoch: joined.epoch.clone(),
            roster,
            resume_key: joined.resume_key.clone(),
        });
    }

    fn event(&mut self, entry: &Arc<Entry>) {
        let may_see = |to: &Vec<Identity>| to.contains(&self.identity);
        assert!(
            entry.to.as_ref().is_none_or(may_see),
            "{entry:?} for {}",
            self.identity
        );
        self.apply(entry.offset, &entry.event);
    }

    fn apply(&mut self, offset: u64, event: &RoomEvent) {
        assert!(self.present().is_some(), "an event before joined");
        let known = self.known.as_mut().expect("it is present");
        assert_eq!(offset, known.roster.offset() + 1, "offsets have no gaps");
        known.roster.apply(offset, event);
        let roster = &known.roster;
        self.unsubscribed
            .retain(|track| roster.track(track).is_some());
    }

    fn replied(&mut self, id: Option<u32>) {
        let Some(id) = id else { return };
        let replies = self.replies.get_mut(&id).expect("a request of this socket");
        *replies += 1;
        assert_eq!(*replies, 1, "request {id} has two replies");
    }
}
