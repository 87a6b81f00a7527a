//! A participant: a session that publishes and one that views.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use spillway_wire::dataplane as proto;

use super::witness::Witness;
use crate::client::sdp::OfferedLine;
use crate::client::session::{Media, Session};
use crate::clock::Time;
use crate::coverage::State;
use crate::rng::Seed;

/// A participant.
pub(super) struct Person {
    pub(super) number: u32,
    pub(super) publishes: bool,
    pub(super) has_joined: bool,
    /// The session that publishes, and the one that views.
    pub(super) sessions: [Session; 2],
    /// Tracks that were asked for.
    wanted: BTreeSet<String>,
    witness: Witness,
    roamed: u8,
    roamed_at: Option<Time>,
}

/// Kinds of m-lines of a publisher, in order.
const KINDS: [(&str, proto::Kind); 2] =
    [("audio", proto::Kind::Audio), ("video", proto::Kind::Video)];

impl Person {
    pub(super) fn new(number: u32, publishes: bool, seed: Seed) -> Self {
        let addr = |place| addr(number, 0, place);
        let ssrc = seed.number(&format!("ssrc {number}")) as u32;
        let tracks = [2 * number, 2 * number + 1];
        let (publish, view) = (format!("publish-{number}"), format!("view-{number}"));
        Self {
            number,
            publishes,
            has_joined: false,
            sessions: [
                Session::publish(&publish, addr(0), lines(ssrc), &tracks, seed),
                Session::subscribe(&view, addr(1), seed),
            ],
            wanted: BTreeSet::new(),
            witness: Witness::default(),
            roamed: 0,
            roamed_at: None,
        }
    }

    /// Tracks that the person publishes, as the control plane names them.
    pub(super) fn tracks(&self) -> Vec<proto::Track> {
        let layers = |kind| match kind {
            proto::Kind::Video => [("q", 180), ("h", 360)]
                .map(|(rid, height)| proto::Layer {
                    rid: rid.to_owned(),
                    height,
                })
                .to_vec(),
            proto::Kind::Audio | proto::Kind::Unspecified => Vec::new(),
        };
        let tracks = KINDS
            .iter()
            .enumerate()
            .map(|(mid, (_, kind))| proto::Track {
                track: (2 * self.number as usize + mid).to_string(),
                mid: mid.to_string(),
                kind: (*kind).into(),
                layers: layers(*kind),
                annotation: Vec::new(),
                muted: false,
            });
        tracks.collect()
    }

    /// Notes that the person wants `track`. False if the track was wanted before.
    pub(super) fn want(&mut self, track: &str) -> bool {
        if let Ok(number) = track.parse() {
            self.witness.allow(number);
        }
        self.wanted.insert(track.to_owned())
    }

    /// Continues from other addresses.
    pub(super) fn roam(&mut self, now: Time) {
        self.roamed = self.roamed.wrapping_add(1);
        self.roamed_at = Some(now);
        for (place, session) in self.sessions.iter_mut().enumerate() {
            let local = addr(self.number, self.roamed, place as u16);
            session.transport.roam(local, now);
        }
    }

    /// Checks a datagram that the node sends to the viewing session. Returns numbers of invariants that do not hold, and what
    /// was seen.
    pub(super) fn witness(&mut self, datagram: &[u8]) -> Vec<(u8, String)> {
        self.witness.see(datagram, &self.sessions[1])
    }

    pub(super) fn frames(&self) -> u64 {
        match &self.sessions[1].media {
            Media::Subscribe(sink) => sink.frames(),
            Media::Publish { .. } => 0,
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.sessions.iter().filter_map(Session::deadline).min()
    }

    pub(super) fn handle_timeouts(&mut self, now: Time) {
        for session in &mut self.sessions {
            if session.deadline().is_some_and(|at| at <= now) {
                session.handle_timeout(now);
            }
        }
    }

    /// States of the person's sessions, as far as the client knows them.
    pub(super) fn states(&self, now: Time) -> Vec<State> {
        if !self.has_joined {
            return Vec::new();
        }
        let roams = self
            .roamed_at
            .is_some_and(|at| now.since(at).as_millis() < 500);
        let state = |session: &Session| match session.transport.has_path() {
            _ if roams => State::Roaming,
            false => State::Checking,
            true if !session.transport.has_keys() => State::Handshaking,
            true => match &session.media {
                Media::Subscribe(sink) if sink.frames() == 0 => State::AwaitingKeyframe,
                Media::Subscribe(_) | Media::Publish { .. } => State::Flowing,
            },
        };
        let own = if self.publishes { 0 } else { 1 };
        self.sessions[own..].iter().map(state).collect()
    }
}

/// Address of session `place` of a person after `roamed` changes.
fn addr(number: u32, roamed: u8, place: u16) -> SocketAddr {
    let [high, low] = (number as u16).to_be_bytes();
    SocketAddr::from(([10, 1 + roamed, high, low], 5_000 + place))
}

/// Lines of a publisher: sound, and video in two layers.
fn lines(ssrc: u32) -> Vec<OfferedLine> {
    vec![
        OfferedLine {
            is_audio: true,
            rids: Vec::new(),
            ssrc,
        },
        OfferedLine {
            is_audio: false,
            rids: vec!["q".into(), "h".into()],
            ssrc: 0,
        },
    ]
}
