//! What viewing sessions may get, from the calls that servers made to their nodes and the nodes' answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use spillway_controlplane::fleet::convert::Request;
use spillway_controlplane::ids::SessionId;

use crate::node::NodeCall;

/// Rights of sessions.
#[derive(Debug, Default)]
pub(super) struct Entitled {
    /// By node, participant and session: the calls that gave each track.
    by_session: BTreeMap<(SocketAddr, String, String), BTreeMap<String, u64>>,
    /// Calls without an answer that take something away.
    pending: BTreeMap<u64, Taken>,
}

#[derive(Debug)]
struct Taken {
    session: String,
    /// `None`: everything.
    tracks: Option<Vec<String>>,
}

impl Entitled {
    /// True if a session of `participant` on the node may get `track`.
    pub(super) fn may_get(&self, node: SocketAddr, participant: &str, track: &str) -> bool {
        let first = (node, participant.to_owned(), String::new());
        let of_participant = self.by_session.range(first..);
        of_participant
            .take_while(|((at, of, _), _)| *at == node && of == participant)
            .any(|(_, tracks)| tracks.contains_key(track))
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
                let mut taken = put.remove.clone();
                for wish in &put.put {
                    let is_paused = wish.wish.as_ref().is_some_and(|wish| wish.paused);
                    match is_paused {
                        true => taken.push(wish.track.clone()),
                        false => drop(tracks.insert(wish.track.clone(), number)),
                    }
                }
                let session = put.session.clone();
                let tracks = Some(taken);
                self.pending.insert(number, Taken { session, tracks });
            }
            Request::CloseSession(close) => {
                let session = close.session.clone();
                let tracks = None;
                self.pending.insert(number, Taken { session, tracks });
            }
            _ => {}
        }
    }

    pub(super) fn replied(&mut self, node: SocketAddr, number: u64, is_ok: bool) {
        let Some(taken) = self.pending.remove(&number).filter(|_| is_ok) else {
            return;
        };
        let Some(key) = key(node, &taken.session) else {
            return;
        };
        let Some(tracks) = self.by_session.get_mut(&key) else {
            return;
        };
        match taken.tracks {
            None => tracks.retain(|_, call| *call > number),
            Some(gone) => {
                tracks.retain(|track, call| *call > number || !gone.contains(track));
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
