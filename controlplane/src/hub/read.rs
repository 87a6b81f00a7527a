//! Reads from the store and from nodes for the task of a room. They run concurrently with the
//! room's other work.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;

use super::absence::{NodeSessions, sessions_of, unleased};
use super::directory::Hub;
use super::effect::{Answer, JoinReads, ReadAgain};
use crate::fleet::HeldSession;
use crate::history::{Missed, MissedByRestart, Participant, Restart, Roster};
use crate::ids::{Epoch, NodeId, ParticipantId, RoomName};
use crate::limits::PRESENCE_TIME;
use crate::room::{Media, Sessions};
use crate::store::RoomUpdate;

/// Pause before a failed read is repeated.
pub(super) const STORE_PAUSE: Duration = Duration::from_millis(500);

/// Reads the history after the resume point and, for a participant of another server, its sessions
/// on its node.
pub(super) async fn read_for_join(hub: &Hub, name: &RoomName, reads: JoinReads) -> Answer {
    let JoinReads {
        socket,
        seen,
        claimed,
    } = reads;
    let missed = async {
        let Some((epoch, offset)) = &seen else {
            return Missed::TooOld;
        };
        let missed = hub.store.since(name, epoch, *offset).await;
        missed.unwrap_or_else(|error| {
            tracing::warn!(room = ?name, %error, "history unreadable, resync");
            Missed::TooOld
        })
    };
    let (missed, (sessions, unclaimed)) = tokio::join!(missed, take_over(hub, name, claimed));
    Answer::ReadForJoin {
        socket,
        missed,
        sessions,
        unclaimed,
    }
}

/// Reads the participant's sessions from its node, and makes this server the participant's server. The first result is `None` if
/// the node does not answer; then the participant stays with its server. The second is the participant, if the store does
/// not know of the change.
async fn take_over(
    hub: &Hub,
    name: &RoomName,
    claimed: Option<Sessions>,
) -> (Option<Vec<HeldSession>>, Option<ParticipantId>) {
    let Some(sessions) = claimed else {
        return (Some(Vec::new()), None);
    };
    let facts = hub.node_facts();
    let is_lost = facts
        .get(&sessions.node)
        .is_some_and(|facts| facts.media == Media::Lost);
    let held = match hub.fleet.connection(&sessions.node).filter(|_| !is_lost) {
        Some(connection) => match connection.sessions(&sessions.ids()).await {
            Ok(held) => held,
            Err(error) => {
                tracing::warn!(room = ?name, node = %sessions.node, %error, "a participant cannot come back to this server");
                return (None, None);
            }
        },
        None => Vec::new(),
    };
    let is_known = claim(hub, name, &sessions.participant).await;
    (Some(held), (!is_known).then_some(sessions.participant))
}

/// Records in the store that this server serves `participant`. False if the store does not answer.
async fn claim(hub: &Hub, name: &RoomName, participant: &ParticipantId) -> bool {
    let claimed = hub.store.claim(name, participant).await;
    if let Err(error) = &claimed {
        tracing::warn!(room = ?name, %error, "participant taken over, but the store does not know it yet");
    }
    claimed.is_ok()
}

/// Claims `participant` after a pause, because the last attempt failed.
pub(super) async fn claim_again(hub: &Hub, name: &RoomName, participant: ParticipantId) -> Answer {
    tokio::time::sleep(STORE_PAUSE).await;
    let is_done = claim(hub, name, &participant).await;
    Answer::Claimed {
        participant,
        is_done,
    }
}

/// Opens a room in the store again after its reader ended or missed an event, and reads the events
/// since then.
pub(super) async fn read_again(
    hub: &Hub,
    name: &RoomName,
    epoch: &Epoch,
    offset: u64,
) -> (mpsc::Receiver<RoomUpdate>, ReadAgain) {
    let opened = loop {
        match hub.store.open(name).await {
            Ok(opened) => break opened,
            Err(error) => tracing::error!(room = ?name, %error, "cannot read the history"),
        }
        tokio::time::sleep(STORE_PAUSE).await;
    };
    match hub.store.since(name, epoch, offset).await {
        Ok(Missed::Entries(entries)) => (opened.updates, ReadAgain::Entries(entries)),
        // The history started over: all members get a snapshot.
        Ok(Missed::TooOld) | Err(_) => {
            tracing::warn!(room = ?name, "the history started over, participants resync");
            let missed = match &opened.restart {
                Some(restart) if opened.epoch != *epoch => {
                    missed_by_restart(hub, name, &opened.epoch, restart).await
                }
                Some(_) | None => MissedByRestart::default(),
            };
            let again = ReadAgain::Restarted {
                epoch: opened.epoch,
                roster: Roster::new(opened.offset, opened.participants),
                missed,
            };
            (opened.updates, again)
        }
    }
}

/// The events of the new history that readers of this server did not receive.
async fn missed_by_restart(
    hub: &Hub,
    name: &RoomName,
    epoch: &Epoch,
    restart: &Restart,
) -> MissedByRestart {
    match hub.store.since(name, epoch, restart.common).await {
        Ok(Missed::Entries(entries)) => MissedByRestart::new(entries, &restart.renumbered),
        Ok(Missed::TooOld) => MissedByRestart::default(),
        Err(error) => {
            tracing::warn!(room = ?name, %error, "history unreadable, participants get only a snapshot");
            MissedByRestart::default()
        }
    }
}

/// Renews the presence of `members` in the store. Returns participants of dead servers: without
/// presence, and without a lease.
pub(super) async fn absent(
    hub: &Hub,
    name: &RoomName,
    members: &[ParticipantId],
) -> Vec<Participant> {
    let touched = hub.store.touch(name, members, PRESENCE_TIME).await;
    let absent = hub.store.absent(name).await;
    match (touched, absent) {
        (Ok(()), Ok(absent)) => without_lease(hub, name, absent).await,
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(room = ?name, %error, "presence not kept");
            Vec::new()
        }
    }
}

/// Asks the nodes of `absent` for their sessions. Returns those without a lease.
async fn without_lease(hub: &Hub, name: &RoomName, absent: Vec<Participant>) -> Vec<Participant> {
    let facts = hub.node_facts();
    let is_there = |node: &NodeId| facts.get(node).is_none_or(|f| f.media == Media::Up);
    let mut state_by_node = BTreeMap::new();
    for (node, sessions) in sessions_of(&absent) {
        let state = match hub.fleet.connection(&node).filter(|_| is_there(&node)) {
            None => NodeSessions::Gone,
            Some(connection) => match connection.sessions(&sessions).await {
                Ok(held) => NodeSessions::Held(held),
                Err(error) => {
                    tracing::warn!(room = ?name, %node, %error, "presence of participants on this node is not checked");
                    NodeSessions::Unknown
                }
            },
        };
        state_by_node.insert(node, state);
    }
    unleased(absent, &state_by_node, &hub.room_config.owner)
}
