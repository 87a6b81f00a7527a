//! Decides which absent participants have no server: no presence in the store, and no lease on their node.

use std::collections::{BTreeMap, HashSet};

use crate::fleet::HeldSession;
use crate::history::Participant;
use crate::ids::{NodeId, ParticipantId, SessionId};
use crate::room::Sessions;

/// What is known about the sessions of absent participants on a node.
#[derive(Debug)]
pub enum NodeSessions {
    /// The node is lost or was removed: it has no sessions.
    Gone,
    /// The sessions that the node has.
    Held(Vec<HeldSession>),
    /// The node did not answer.
    Unknown,
}

/// The sessions that each node must be asked for.
pub fn sessions_of(absent: &[Participant]) -> BTreeMap<NodeId, Vec<SessionId>> {
    let mut by_node: BTreeMap<NodeId, Vec<SessionId>> = BTreeMap::new();
    for participant in absent {
        let sessions = by_node.entry(participant.node.clone()).or_default();
        sessions.extend(Sessions::of(participant).ids());
    }
    by_node
}

/// Those participants of `absent` whose sessions have no valid lease of a server other than `owner`. A server without
/// connection to the store still serves its participants and renews its leases.
pub fn unleased(
    mut absent: Vec<Participant>,
    state_by_node: &BTreeMap<NodeId, NodeSessions>,
    owner: &str,
) -> Vec<Participant> {
    let mut leased: HashSet<&ParticipantId> = HashSet::new();
    for state in state_by_node.values() {
        if let NodeSessions::Held(held) = state {
            let is_anothers = |held: &&HeldSession| held.is_leased && held.owner != owner;
            let kept = held.iter().filter(is_anothers);
            leased.extend(kept.map(|held| &held.session.participant));
        }
    }
    absent.retain(|participant| {
        let state = state_by_node.get(&participant.node);
        let is_known = !matches!(state, None | Some(NodeSessions::Unknown));
        is_known && !leased.contains(&participant.participant)
    });
    absent
}
