//! A node with its sessions, as far as a room notices.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fleet::{
    Command, Done, HeldSession, NodeError, Offer, Playable, PutPublish, SessionAnnotation,
};
use crate::ids::{SessionId, TrackId};
use crate::room::NodeSync;

/// Sessions of a node, while its data plane runs.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Number of the data plane's process; commands to an earlier one fail.
    pub(super) incarnation: u32,
    pub(super) is_down: bool,
    pub(super) session_by_id: BTreeMap<SessionId, HeldSession>,
    revision: u64,
}

impl Node {
    /// The data plane ends, and with it all sessions.
    pub(super) fn end(&mut self) {
        self.incarnation += 1;
        self.is_down = true;
        self.session_by_id.clear();
    }

    /// What the node reports when it is connected.
    pub(super) fn report(&mut self) -> NodeSync {
        self.is_down = false;
        NodeSync {
            sessions: self.session_by_id.values().cloned().collect(),
            asked: None,
            turn_urls: Arc::from([]),
        }
    }

    /// A new offer of a subscribe session.
    pub(super) fn offer(&mut self, id: &SessionId) -> Option<Offer> {
        let session = self.session_by_id.get_mut(id)?;
        self.revision += 1;
        let offer = Offer {
            revision: self.revision,
            sdp: "offer".to_owned(),
            tracks: Vec::new(),
        };
        session.outstanding_offer = Some(offer.clone());
        Some(offer)
    }

    /// Executes a command, if the data plane runs.
    pub(super) fn execute(&mut self, command: Command) -> Result<Done, NodeError> {
        if self.is_down {
            return Err(NodeError::Unavailable("down".to_owned()));
        }
        match command {
            Command::PutPublish(put) => return Ok(self.publish(put)),
            Command::PutSubscribe {
                session,
                annotation,
                owner,
            } => {
                self.create(session, (annotation, owner));
            }
            Command::PutSubscriptions {
                session,
                put,
                remove,
            } => {
                let session = self.existing(&session)?;
                let is_changed = |track: &TrackId| {
                    remove.contains(track) || put.iter().any(|new| new.track == *track)
                };
                session
                    .subscriptions
                    .retain(|(track, _)| !is_changed(track));
                session
                    .subscriptions
                    .extend(put.into_iter().map(|new| (new.track, new.params)));
            }
            Command::PutAnswer {
                session, revision, ..
            } => {
                let session = self.existing(&session)?;
                if session
                    .outstanding_offer
                    .as_ref()
                    .map(|offer| offer.revision)
                    != Some(revision)
                {
                    return Err(NodeError::Stale("another offer".to_owned()));
                }
                session.outstanding_offer = None;
            }
            Command::AddCandidate { session, .. } => {
                self.existing(&session)?;
            }
            Command::Mute {
                session,
                track,
                muted,
                ..
            } => {
                let session = self.existing(&session)?;
                let tracks = session
                    .tracks
                    .iter_mut()
                    .map(|published| &mut published.track);
                for of_session in tracks.filter(|of_session| of_session.track == track) {
                    of_session.muted = muted;
                }
            }
            Command::CloseSession { session, .. } => {
                self.session_by_id.remove(&session);
            }
        }
        Ok(Done::Nothing)
    }

    fn publish(&mut self, put: PutPublish) -> Done {
        let annotation = (put.annotation, put.owner);
        let session = self.create(put.session, annotation);
        let tracks = put.tracks.iter().map(|published| Playable {
            track: published.track.track.clone(),
            rids: published
                .track
                .layers
                .iter()
                .map(|layer| layer.rid.clone())
                .collect(),
        });
        let tracks = tracks.collect();
        session.tracks = put.tracks;
        let sdp = "answer".to_owned();
        Done::Answer { sdp, tracks }
    }

    fn existing(&mut self, id: &SessionId) -> Result<&mut HeldSession, NodeError> {
        let session = self.session_by_id.get_mut(id);
        session.ok_or_else(|| NodeError::NoSession(format!("no session '{id}'")))
    }

    fn create(
        &mut self,
        id: SessionId,
        (annotation, owner): (SessionAnnotation, String),
    ) -> &mut HeldSession {
        self.session_by_id
            .entry(id.clone())
            .or_insert_with(|| HeldSession {
                session: id,
                annotation: Some(annotation),
                connected_shard: None,
                tracks: Vec::new(),
                subscriptions: Vec::new(),
                outstanding_offer: None,
                owner,
                is_leased: true,
            })
    }
}
