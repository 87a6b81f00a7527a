//! A person: a signaling client, and a pair of sessions that publish and view, like a page with its two peer connections.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use spillway_controlplane::auth::{Claims, Keys, VideoGrant};
use spillway_controlplane::room::SocketId;

use super::witness::Witness;
use crate::client::session::{Media, Session};
use crate::client::signaling::{Heard, Signaling};
use crate::client::sink::Sink;
use crate::clock::{START_UNIX_S, Time};
use crate::coverage::State;
use crate::rng::{Rng, Seed};

/// A person with its device.
pub(super) struct Person {
    pub(super) number: usize,
    pub(super) room: usize,
    pub(super) publishes: bool,
    pub(super) may_view: bool,
    pub(super) misbehaves: bool,
    /// True while the person wants to be in the room.
    pub(super) wants_in: bool,
    pub(super) signaling: Signaling,
    pub(super) link: Link,
    pub(super) token: String,
    /// The sessions of the present pair of peer connections, if there is one.
    pub(super) publish: Option<Session>,
    pub(super) view: Option<Session>,
    /// The latest offer has no answer yet.
    pub(super) has_pending_offer: bool,
    /// Number of pairs of peer connections so far.
    pub(super) pairs: u32,
    pub(super) roamed: u8,
    /// What is published on each mid.
    pub(super) lines: [Line; 2],
    /// Tracks that the person asked not to get, to pause or to get in the lowest layer only.
    pub(super) refused: BTreeSet<String>,
    pub(super) paused: BTreeSet<String>,
    pub(super) narrowed: BTreeSet<String>,
    /// Tracks of which the person has said what it wants.
    pub(super) touched: BTreeSet<String>,
    /// Tracks that were offered to the viewing session, and since when.
    pub(super) offered: BTreeMap<String, Time>,
    pub(super) witness: Cell<Witness>,
    pub(super) rng: Rng,
    pub(super) seed: Seed,
    pub(super) moments: Moments,
}

/// What a person publishes on one m-line.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    /// The m-line is offered as a track.
    pub(super) is_offered: bool,
    pub(super) is_muted: bool,
    /// Id of the track, if the server has named it.
    pub(super) track: Option<String>,
}

/// The connection to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// No connection; the next attempt is at this time.
    Closed { retry_at: Time },
    /// A connection to this server.
    Open {
        server: usize,
        socket: SocketId,
        heard_at: Time,
    },
}

/// When things happened, for the invariants about waiting.
#[derive(Debug, Clone, Default)]
pub(super) struct Moments {
    pub(super) entered: Time,
    pub(super) joined: Option<Time>,
    pub(super) publish_connected: Option<Time>,
    pub(super) view_connected: Option<Time>,
    pub(super) roamed: Option<Time>,
    pub(super) left: Option<Time>,
    pub(super) lost: Option<Time>,
    /// End of the last fault that this person had.
    pub(super) calm: Time,
    /// Latest change of mute and of what is offered, by mid.
    pub(super) changed: [Time; 2],
    /// Latest change of what the person wants to get.
    pub(super) wanted: Time,
}

/// A client without any frame from its server for this time connects again.
const SILENCE: Duration = Duration::from_secs(25);

impl Person {
    pub(super) fn new(
        number: usize,
        (room, publishes): (usize, bool),
        seed: Seed,
        keys: &Keys,
    ) -> Self {
        let misbehaves = number % 10 == 3;
        // One in each room may only publish.
        let may_view = number % 12 != 4;
        let token = keys.sign(Claims {
            iss: String::new(),
            sub: format!("person-{number}"),
            name: String::new(),
            nbf: None,
            exp: START_UNIX_S + 3_600,
            video: VideoGrant {
                room: room_name(room),
                room_join: true,
                can_publish: Some(publishes),
                can_subscribe: Some(may_view),
                ..VideoGrant::default()
            },
        });
        Self {
            number,
            room,
            publishes,
            may_view,
            misbehaves,
            wants_in: false,
            signaling: Signaling::default(),
            link: Link::Closed {
                retry_at: Time::ZERO,
            },
            token,
            publish: None,
            view: None,
            has_pending_offer: false,
            pairs: 0,
            roamed: 0,
            lines: Default::default(),
            refused: BTreeSet::new(),
            paused: BTreeSet::new(),
            narrowed: BTreeSet::new(),
            touched: BTreeSet::new(),
            offered: BTreeMap::new(),
            witness: Cell::default(),
            rng: seed.stream(&format!("person {number}")),
            seed,
            moments: Moments::default(),
        }
    }

    /// Number that the person's packets on line `mid` carry.
    pub(super) fn stamp(&self, mid: usize) -> u32 {
        1_000 * self.pairs + 2 * self.number as u32 + mid as u32
    }

    /// Number of the person whose packets carry `stamp`.
    pub(super) fn number_of(stamp: u32) -> usize {
        (stamp % 1_000 / 2) as usize
    }

    /// Tells the server what the person wants to get of `track`.
    pub(super) fn wish(&mut self, track: String) {
        if self.refused.contains(&track) {
            let tracks = json!({"tracks": [track]});
            self.signaling.request("unsubscribe", tracks);
        } else {
            let height = if self.narrowed.contains(&track) {
                180
            } else {
                0
            };
            let is_paused = self.paused.contains(&track);
            let wish = json!({"track": track, "paused": is_paused, "max_height": height});
            self.signaling
                .request("subscribe", json!({"tracks": [wish]}));
        }
        self.touched.insert(track);
    }

    /// Handles a text of the server. Returns what was heard.
    pub(super) fn receive_text(&mut self, text: &str, now: Time) -> Vec<Heard> {
        self.signaling.receive(text);
        let mut all = Vec::new();
        while let Some(heard) = self.signaling.poll_heard() {
            self.on_heard(&heard, now);
            all.push(heard);
        }
        all
    }

    fn on_heard(&mut self, heard: &Heard, now: Time) {
        match heard {
            Heard::Joined(mode) => {
                self.moments.joined = Some(now);
                if mode == "new" {
                    self.lines.iter_mut().for_each(|line| line.track = None);
                    self.refused.clear();
                    self.paused.clear();
                    self.narrowed.clear();
                    self.touched.clear();
                    self.make_sessions(now);
                } else if self.view.is_none() {
                    // The peer connections were discarded while the socket was gone.
                    self.make_sessions(now);
                } else if self.publish.is_some() && self.has_pending_offer {
                    self.offer(now);
                }
            }
            Heard::Answer(sdp, tracks) => {
                self.has_pending_offer = self
                    .signaling
                    .unanswered
                    .values()
                    .any(|kind| *kind == "offer");
                if let Some(session) = &mut self.publish {
                    session.answered(sdp, now);
                }
                // A later offer has an answer of its own.
                let is_latest = !self.has_pending_offer;
                for (mid, track) in tracks.iter().filter(|_| is_latest) {
                    if let Ok(mid) = mid.parse::<usize>()
                        && let Some(line) = self.lines.get_mut(mid)
                    {
                        line.track = Some(track.clone());
                    }
                }
            }
            Heard::Offer(revision, sdp, tracks) => {
                self.offered
                    .retain(|known, _| tracks.iter().any(|(_, track)| track == known));
                for (_, track) in tracks {
                    self.offered.entry(track.clone()).or_insert(now);
                }
                if let Some(session) = &mut self.view {
                    let answer = session.offered(sdp, now);
                    let answer = json!({"revision": revision, "sdp": answer});
                    self.signaling.request("answer", answer);
                }
            }
            Heard::Media { is_lost: true, .. } => {
                self.moments.lost = Some(now);
                self.discard_sessions();
            }
            Heard::Media { is_lost: false, .. } => self.make_sessions(now),
            Heard::Refused(kind, code) => self.refused(kind, code, now),
            Heard::Message(_)
            | Heard::Left(..)
            | Heard::Ok(_)
            | Heard::Closing(..)
            | Heard::Wrong(_) => {}
        }
    }

    /// A request was refused: an offer is repeated, because nothing else would.
    fn refused(&mut self, kind: &str, code: &str, now: Time) {
        let may_repeat = matches!(
            code,
            "media_unavailable" | "store_unavailable" | "unknown_track"
        );
        if kind == "offer" && may_repeat && !self.misbehaves {
            if code == "unknown_track" {
                self.lines.iter_mut().for_each(|line| line.track = None);
            }
            self.offer(now);
        }
    }

    pub(super) fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.publish.iter().chain(&self.view)
    }

    pub(super) fn sessions_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.publish.iter_mut().chain(&mut self.view)
    }

    pub(super) fn sink(&self) -> Option<&Sink> {
        match &self.view.as_ref()?.media {
            Media::Subscribe(sink) => Some(sink),
            Media::Publish { .. } => None,
        }
    }

    pub(super) fn sink_mut(&mut self) -> Option<&mut Sink> {
        match &mut self.view.as_mut()?.media {
            Media::Subscribe(sink) => Some(sink),
            Media::Publish { .. } => None,
        }
    }

    /// Time at which the person has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        let link = match self.link {
            Link::Closed { retry_at } => self.wants_in.then_some(retry_at),
            Link::Open { heard_at, .. } => Some(heard_at + SILENCE),
        };
        let sessions = self.sessions().filter_map(Session::deadline);
        sessions.chain(link).min()
    }

    /// Timers of the sessions.
    pub(super) fn handle_timeouts(&mut self, now: Time) {
        for session in self.sessions_mut() {
            if session.deadline().is_some_and(|at| at <= now) {
                session.handle_timeout(now);
            }
        }
        let is_connected = |session: &Option<Session>| {
            let session = session.as_ref();
            session.is_some_and(|session| session.transport.is_connected())
        };
        let (publish, view) = (is_connected(&self.publish), is_connected(&self.view));
        note(&mut self.moments.publish_connected, publish, now);
        note(&mut self.moments.view_connected, view, now);
    }

    /// True if nothing was heard on the socket for too long.
    pub(super) fn is_cut_off(&self, now: Time) -> bool {
        matches!(self.link, Link::Open { heard_at, .. } if heard_at + SILENCE <= now)
    }

    /// States of the person's sessions, as far as the client knows them.
    pub(super) fn states(&self, now: Time) -> Vec<State> {
        let recent = |at: Option<Time>, ms| at.is_some_and(|at| now.since(at).as_millis() < ms);
        let mut states = Vec::new();
        if recent(self.moments.left, 500) {
            states.push(State::Closing);
        }
        if recent(self.moments.roamed, 500) {
            states.push(State::Roaming);
        }
        if self
            .signaling
            .unanswered
            .values()
            .any(|kind| matches!(*kind, "offer" | "answer"))
        {
            states.push(State::Negotiating);
        }
        for session in self.sessions() {
            let transport = &session.transport;
            states.push(match &session.media {
                _ if !transport.has_path() => State::Checking,
                _ if !transport.has_keys() => State::Handshaking,
                Media::Subscribe(sink) => match sink.state(now) {
                    Some(state) => state,
                    None => State::Flowing,
                },
                Media::Publish { .. } if self.is_silent(0) && self.is_silent(1) => State::Idle,
                Media::Publish { .. } => State::Flowing,
            });
        }
        states
    }
}

/// Remembers since when something is so.
fn note(since: &mut Option<Time>, is_so: bool, now: Time) {
    match is_so {
        true => drop(since.get_or_insert(now)),
        false => *since = None,
    }
}

/// Name of room `number`.
pub(super) fn room_name(number: usize) -> String {
    format!("room-{number}")
}

/// Names that tracks had, by the number that packets carry.
pub(super) type TrackNames = BTreeMap<u32, BTreeSet<String>>;
