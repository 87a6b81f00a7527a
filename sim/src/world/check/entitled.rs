//! What viewing sessions may get, from the calls that servers made to their nodes and the nodes' answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use spillway_controlplane::fleet::convert::Request;
use spillway_controlplane::ids::SessionId;

use crate::clock::Time;
use crate::node::NodeCall;

/// Rights of viewing sessions to tracks.
#[derive(Debug, Default)]
pub(super) struct Entitled {
    /// By node, participant and session: the right to each track.
    by_session: BTreeMap<(SocketAddr, String, String), BTreeMap<String, Right>>,
    /// Calls without an answer that take something away.
    pending: BTreeMap<u64, Taken>,
}

/// The right to get a track.
#[derive(Debug, Clone, Copy)]
struct Right {
    /// The call that gave it.
    given: u64,
    /// The latest call that confirmed it.
    confirmed: u64,
    /// The node has confirmed a pause; some media may follow until the next allocation of bandwidth.
    ends: Option<Time>,
}

/// Time in which a pause takes effect: until the next tick of the shard, which may be stalled for 800 ms.
const PAUSE: Duration = Duration::from_millis(1_500);

#[derive(Debug)]
struct Taken {
    session: String,
    /// Tracks that end; `None`: all tracks.
    tracks: Option<Vec<String>>,
    paused: Vec<String>,
}

impl Entitled {
    /// The call that gave a session of `participant` on the node the right to get `track`; `None` without this right.
    pub(super) fn right(
        &self,
        node: SocketAddr,
        (participant, track): (&str, &str),
        now: Time,
    ) -> Option<u64> {
        let first = (node, participant.to_owned(), String::new());
        let of_participant = self.by_session.range(first..);
        of_participant
            .take_while(|((at, of, _), _)| *at == node && of == participant)
            .filter_map(|(_, tracks)| tracks.get(track))
            .find(|right| right.ends.is_none_or(|ends| now < ends))
            .map(|right| right.given)
    }

    pub(super) fn called(&mut self, node: SocketAddr, number: u64, call: &NodeCall) {
        let NodeCall::Command(command) = call else {
            return;
        };
        match command {
            Request::PutSubscriptions(put) => {
                let Some(key) = key(node, &put.session) else {
                    return;
                };
                let tracks = self.by_session.entry(key).or_default();
                let mut paused = Vec::new();
                for wish in &put.put {
                    let is_paused = wish.wish.as_ref().is_some_and(|wish| wish.paused);
                    match is_paused {
                        true => paused.push(wish.track.clone()),
                        false => {
                            let given = Right {
                                given: number,
                                confirmed: number,
                                ends: None,
                            };
                            let right = tracks.entry(wish.track.clone()).or_insert(given);
                            match right.ends {
                                None => right.confirmed = number,
                                Some(_) => *right = given,
                            }
                        }
                    }
                }
                let session = put.session.clone();
                let taken = Taken {
                    session,
                    tracks: Some(put.remove.clone()),
                    paused,
                };
                self.pending.insert(number, taken);
            }
            Request::CloseSession(close) => {
                let session = close.session.clone();
                let taken = Taken {
                    session,
                    tracks: None,
                    paused: Vec::new(),
                };
                self.pending.insert(number, taken);
            }
            _ => {}
        }
    }

    pub(super) fn replied(
        &mut self,
        node: SocketAddr,
        (number, is_ok): (u64, bool),
        (now, drains): (Time, Duration),
    ) {
        let Some(taken) = self.pending.remove(&number).filter(|_| is_ok) else {
            return;
        };
        let Some(key) = key(node, &taken.session) else {
            return;
        };
        let Some(tracks) = self.by_session.get_mut(&key) else {
            return;
        };
        for track in &taken.paused {
            if let Some(right) = tracks.get_mut(track)
                && right.confirmed < number
            {
                right.ends.get_or_insert(now + PAUSE);
            }
        }
        let is_gone = |track: &String, right: &Right| {
            let gone = taken.tracks.as_ref();
            right.confirmed <= number && gone.is_none_or(|gone| gone.contains(track))
        };
        if drains.is_zero() {
            tracks.retain(|track, right| !is_gone(track, right));
        } else {
            let gone = tracks
                .iter_mut()
                .filter(|(track, right)| is_gone(track, right));
            for (_, right) in gone {
                right.ends = Some(
                    right
                        .ends
                        .map_or(now + drains, |ends| ends.min(now + drains)),
                );
            }
        }
        if tracks.is_empty() {
            self.by_session.remove(&key);
        }
    }

    pub(super) fn node_ended(&mut self, node: SocketAddr) {
        self.by_session.retain(|(of, _, _), _| *of != node);
    }
}

/// Node, participant and session of a session's name.
fn key(node: SocketAddr, session: &str) -> Option<(SocketAddr, String, String)> {
    let id: SessionId = session.parse().ok()?;
    Some((node, id.participant.to_string(), session.to_owned()))
}
