//! Turns jobs of a session into commands to its node.

use std::collections::BTreeMap;
use std::time::Instant;

use super::publication::{changes, publication};
use super::session::{InFlight, Job, ReplyTo};
use super::{ErrorCode, Media, Output, PublishOffer, Refusal, Room};
use crate::fleet::{Command, PutPublish};
use crate::ids::{Half, SessionId, TrackId};

/// A command and its job, `None` if the job is obsolete, or a refusal for the client.
type Prepared = Result<Option<(Command, InFlight)>, (ReplyTo, Refusal)>;

impl Room {
    /// Sends the session's next command, if no command is in flight.
    pub(super) fn advance(&mut self, id: &SessionId, now: Instant) {
        while let Some(session) = self.session_by_id.get_mut(id) {
            if session.is_done() {
                self.session_by_id.remove(id);
                return;
            }
            let Some(job) = session.next_job(now) else {
                return;
            };
            match self.prepare(id, job, now) {
                Ok(None) => {}
                Ok(Some((command, in_flight))) => {
                    let Some(session) = self.session_by_id.get_mut(id) else {
                        return;
                    };
                    session.sent(in_flight);
                    self.outputs.push_back(Output::Call {
                        node: session.node.clone(),
                        session: id.clone(),
                        command,
                    });
                    return;
                }
                Err((to, refusal)) => self.refuse(to, refusal),
            }
        }
    }

    /// Adds a job of the room itself, to which the limit of waiting jobs does not apply.
    pub(super) fn push_own(&mut self, id: &SessionId, job: Job, now: Instant) {
        if let Some(session) = self.session_by_id.get_mut(id) {
            let pushed = session.push(job);
            debug_assert!(pushed, "jobs of our own are never refused");
        }
        self.advance(id, now);
    }

    fn prepare(&mut self, id: &SessionId, job: Job, now: Instant) -> Prepared {
        let session = id.clone();
        if let Job::Close { reason } = job {
            let command = Command::CloseSession { session, reason };
            return Ok(Some((command, InFlight::Close { reason })));
        }
        let (Some(member), Some(held)) = (
            self.member_by_id.get(&id.participant),
            self.session_by_id.get(id),
        ) else {
            return Ok(None);
        };
        match job {
            Job::Offer { to, offer } => self.prepare_offer(to, id, offer, now),
            Job::Answer { to, revision, sdp } => {
                let outstanding = held.outstanding().map(|offer| offer.revision);
                if outstanding != Some(revision) {
                    let now = outstanding.map_or("none".to_owned(), |r| format!("revision {r}"));
                    let said = format!("answer to revision {revision}, outstanding is {now}");
                    return Err((to, Refusal::new(ErrorCode::StaleAnswer, said)));
                }
                let command = Command::PutAnswer {
                    session,
                    revision,
                    sdp,
                };
                Ok(Some((command, InFlight::Answer { to, revision })))
            }
            Job::Candidate { to, candidate } => {
                if !held.is_established() {
                    let said = "this peer connection has no session yet";
                    return Err((to, Refusal::new(ErrorCode::BadCandidate, said)));
                }
                let command = Command::AddCandidate { session, candidate };
                Ok(Some((command, InFlight::Candidate { to })))
            }
            Job::Mute { track } => {
                let published = member.track_by_id.get(&track);
                let published = published.filter(|_| held.is_established());
                let command = published.map(|published| Command::Mute {
                    session,
                    track,
                    source: published.track.source,
                    muted: published.track.muted,
                });
                Ok(command.map(|command| (command, InFlight::Mute)))
            }
            Job::Create => {
                let command = Command::PutSubscribe {
                    session,
                    annotation: member.annotation(&self.name),
                    owner: self.config.owner.clone(),
                };
                Ok(Some((command, InFlight::Create)))
            }
            Job::Subscribe => Ok(self.prepare_subscriptions(id, now)),
            Job::Close { .. } => Ok(None),
        }
    }

    fn prepare_offer(
        &mut self,
        to: ReplyTo,
        id: &SessionId,
        offer: PublishOffer,
        now: Instant,
    ) -> Prepared {
        let refuse = |code, said: String| Err((to, Refusal::new(code, said)));
        let Some(member) = self.member_by_id.get(&id.participant) else {
            return Ok(None);
        };
        if self.media_of(&member.node) == Media::Lost {
            let said = "the media server is being restarted".to_owned();
            return refuse(ErrorCode::MediaUnavailable, said);
        }
        let limit = self.config.limits.tracks;
        if offer.tracks.len() > limit {
            let said = format!(
                "offer names {} tracks, the limit is {limit}",
                offer.tracks.len()
            );
            return refuse(ErrorCode::TooManyTracks, said);
        }
        let mut tracks = BTreeMap::new();
        for offered in offer.tracks {
            let named = offered.track.clone();
            let published = publication(member, offered).map_err(|refusal| (to, refusal))?;
            let track = published.track.track.clone();
            if tracks.insert(track, published).is_some() {
                let named = named.map_or(String::new(), |track: TrackId| track.to_string());
                let said = format!("offer names track '{named}' twice");
                return refuse(ErrorCode::BadMessage, said);
            }
        }
        debug_assert_eq!(id.half, Half::Publish);
        let changes = changes(&member.track_by_id, &tracks, &id.participant);
        let (identity, annotation) = (member.identity.clone(), member.annotation(&self.name));
        let cost = self.cost_of_offer(&changes);
        let charged = self.charge_identity(&identity, cost, now);
        charged.map_err(|refusal| (to, refusal))?;
        let put = PutPublish {
            session: id.clone(),
            sdp: offer.sdp,
            tracks: tracks.values().cloned().collect(),
            annotation,
            owner: self.config.owner.clone(),
        };
        Ok(Some((
            Command::PutPublish(put),
            InFlight::Offer { to, tracks },
        )))
    }
}
