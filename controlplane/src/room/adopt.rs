//! Participants whose sessions are there and whose server is not: they go on as they are, from what was written on the
//! sessions.

use std::time::Instant;

use super::annotation::{SessionAnnotation, TrackAnnotation};
use super::media::LEFT_BEHIND;
use super::member::{Attachment, Member, Publish, Published, Stay, Subscribe};
use super::takeover::sessions_of;
use super::{Output, Room, Then};
use crate::auth::Grants;
use crate::history::{Kind, Layer, Participant, RoomEvent, Source, Track};
use crate::ids::{Half, Identity, ParticipantId, TrackId};
use spillway_wire::dataplane as wire;

impl Room {
    /// Takes over a participant another control plane left behind, from what it wrote on its
    /// sessions; the participant's socket has the grace time to come back.
    pub(super) fn adopt(
        &mut self,
        participant: ParticipantId,
        (publish, subscribe): (Option<wire::Session>, Option<wire::Session>),
        now: Instant,
    ) {
        let of = |s: &Option<wire::Session>| SessionAnnotation::decode(&s.as_ref()?.annotation);
        let annotation = of(&publish).or_else(|| of(&subscribe));
        let lanes = [Half::Publish, Half::Subscribe].map(|half| participant.session(half));
        if lanes
            .iter()
            .any(|session| self.lane_by_session.contains_key(session))
        {
            return; // it left, and its sessions are being closed
        }
        let rejoined = annotation.as_ref().is_some_and(|annotation| {
            let identity = &annotation.identity;
            self.member_by_identity.contains_key(identity)
                || self.roster.by_identity(identity).is_some()
        });
        let annotation = match annotation {
            Some(annotation) if !rejoined && annotation.room == self.name => annotation,
            Some(_) | None => {
                return self.close_sessions(&participant, LEFT_BEHIND, now);
            }
        };
        let attachment = Attachment::Away {
            until: now + self.config.limits.grace,
        };
        let halves = (publish, subscribe);
        let who = (annotation.identity.clone(), annotation.name.clone());
        let may = (annotation.grants, annotation.auto_subscribe);
        // It does not come back without a key, which says the rest.
        let stay = Stay {
            since: (self.epoch.clone(), self.roster.offset()),
            joined_s: 0,
            token_ends_s: 0,
        };
        let about = (attachment, stay);
        let member = member_of((participant.clone(), who, may), &halves, about);
        let tracks = member.publish.track_by_id.values();
        let tracks = tracks.map(|published| published.track.clone()).collect();
        let hidden = member.grants.hidden;
        self.outputs.push_back(Output::Take {
            sessions: sessions_of(&member.participant),
        });
        self.add_member(member);
        if let Some(offer) = halves.1.and_then(|session| session.outstanding_offer) {
            self.offered(&participant.session(Half::Subscribe), &offer);
        }
        if !hidden {
            let participant = Participant {
                participant,
                identity: annotation.identity,
                name: annotation.name,
                tracks,
            };
            self.append(
                RoomEvent::ParticipantJoined { participant },
                None,
                Then::Nothing,
            );
        }
    }
}

/// A participant whose sessions go on as they are.
pub(super) fn member_of(
    (participant, (identity, name), (grants, auto_subscribe)): (
        ParticipantId,
        (Identity, String),
        (Grants, bool),
    ),
    (publish, subscribe): &(Option<wire::Session>, Option<wire::Session>),
    (attachment, stay): (Attachment, Stay),
) -> Member {
    let shard = |s: &Option<wire::Session>| s.as_ref().filter(|s| s.connected)?.shard;
    let tracks = publish.iter().flat_map(|session| &session.tracks);
    let published = tracks.filter_map(published);
    Member {
        participant,
        identity,
        name,
        grants,
        auto_subscribe,
        attachment,
        stay,
        ends_at: None,
        owes_lost: false,
        publish: Publish {
            established: publish.is_some(),
            connected_shard: shard(publish),
            track_by_id: published.map(|p| (p.track.track.clone(), p)).collect(),
            reoffer_until: None,
        },
        subscribe: adopted_subscribe(subscribe.as_ref(), shard(subscribe)),
    }
}

fn adopted_subscribe(session: Option<&wire::Session>, shard: Option<u32>) -> Subscribe {
    let mut subscribe = Subscribe {
        established: session.is_some(),
        connected_shard: shard,
        ..Subscribe::default()
    };
    for subscription in session.into_iter().flat_map(|s| &s.subscriptions) {
        if let Ok(track) = subscription.track.parse() {
            let wish = subscription.wish.unwrap_or_default();
            subscribe.known.insert(TrackId::clone(&track));
            subscribe.wish_by_track.insert(track, wish);
        }
    }
    subscribe
}

/// `None` for a track that some other control plane made.
fn published(track: &wire::Track) -> Option<Published> {
    let annotation = TrackAnnotation::decode(&track.annotation);
    let kind = match track.kind() {
        wire::Kind::Audio => Kind::Audio,
        wire::Kind::Video => Kind::Video,
        wire::Kind::Unspecified => return None,
    };
    let layer = |layer: &wire::Layer| Layer {
        rid: layer.rid.clone(),
        height: layer.height,
    };
    Some(Published {
        mid: track.mid.clone(),
        track: Track {
            track: track.track.parse().ok()?,
            kind,
            source: annotation.map_or(Source::Other, |annotation| annotation.source),
            muted: track.muted,
            layers: track.layers.iter().map(layer).collect(),
        },
    })
}
