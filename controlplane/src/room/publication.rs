//! How an offer changes the tracks of a participant.

use std::collections::BTreeMap;

use super::handle_request::unknown_track;
use super::member::Member;
use super::{ErrorCode, OfferedTrack, Refusal};
use crate::fleet::{Playable, Published};
use crate::history::{RoomEvent, Track};
use crate::ids::{ParticipantId, TrackId};

/// The track of an m-line: a published track of the participant, or a new one.
pub(super) fn publication(member: &Member, offered: OfferedTrack) -> Result<Published, Refusal> {
    let known = match &offered.track {
        Some(named) => {
            let known = member.track_by_id.get(named);
            Some(known.ok_or_else(|| unknown_track(named))?)
        }
        None => member.track_by_id.values().find(|old| {
            let same = (&old.mid, old.track.kind, old.track.source);
            same == (&offered.mid, offered.kind, offered.source)
        }),
    };
    if let Some(old) = known
        && old.track.kind != offered.kind
    {
        let said = format!("track '{}' does not change its kind", old.track.track);
        return Err(Refusal::new(ErrorCode::BadMessage, said));
    }
    let id = known.map_or_else(TrackId::random, |old| old.track.track.clone());
    Ok(Published {
        mid: offered.mid,
        track: Track {
            track: id,
            kind: offered.kind,
            source: offered.source,
            muted: offered.muted,
            layers: offered.layers,
            node: member.node.clone(),
        },
    })
}

/// Keeps the tracks and layers that the node accepted in its answer. Tracks that cannot play are
/// not announced.
pub(super) fn playable(
    mut tracks: BTreeMap<TrackId, Published>,
    negotiated: Vec<Playable>,
) -> BTreeMap<TrackId, Published> {
    let rids = |playable: Playable| (playable.track, playable.rids);
    let rids_by_track: BTreeMap<_, _> = negotiated.into_iter().map(rids).collect();
    tracks.retain(|id, published| {
        let rids = rids_by_track.get(id);
        let layers = &mut published.track.layers;
        layers.retain(|layer| rids.is_some_and(|rids| rids.contains(&layer.rid)));
        rids.is_some()
    });
    tracks
}

/// The events that result when `participant` publishes `new` instead of `old`.
pub(super) fn changes(
    old: &BTreeMap<TrackId, Published>,
    new: &BTreeMap<TrackId, Published>,
    participant: &ParticipantId,
) -> Vec<RoomEvent> {
    let mut events = Vec::new();
    for track in old.keys().filter(|track| !new.contains_key(track)) {
        events.push(RoomEvent::TrackUnpublished {
            participant: participant.clone(),
            track: track.clone(),
        });
    }
    for (id, published) in new {
        let track = &published.track;
        match old.get(id).map(|old| &old.track) {
            Some(old) if old == track => {}
            Some(old)
                if Track {
                    muted: track.muted,
                    ..old.clone()
                } == *track =>
            {
                events.push(RoomEvent::TrackMuted {
                    participant: participant.clone(),
                    track: id.clone(),
                    muted: track.muted,
                });
            }
            Some(_) | None => events.push(RoomEvent::TrackPublished {
                participant: participant.clone(),
                track: track.clone(),
            }),
        }
    }
    events
}
