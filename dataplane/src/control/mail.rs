//! Handles messages of shards to the control thread.

use std::time::Instant;

use spillway_wire::dataplane as proto;

use super::directory::SessionLocation;
use super::{Control, convert};
use crate::ice::credentials::Ufrag;
use crate::key::{SessionKey, ShardId, TrackKey};
use crate::mesh::message::{Datagram, ShardEvent, ToControl, ToShard};
use crate::peer::command::{Command, CommandError, CommandReply};
use crate::peer::output::{OfferOut, PeerState};

impl Control {
    /// Handles all messages in the mailbox.
    pub fn read_mail(&mut self, now: Instant) {
        let mesh = self.outbox.mesh().clone();
        while let Some(letter) = mesh.take_control() {
            self.on_letter(letter, now);
        }
        self.outbox.flush();
    }

    fn on_letter(&mut self, letter: ToControl, now: Instant) {
        match letter {
            ToControl::Claim {
                shard,
                ufrag,
                datagram,
            } => self.on_claim(shard, &ufrag, datagram),
            ToControl::Moved { session, to } => {
                if let Some(record) = self.directory.get_mut(session) {
                    record.location = SessionLocation::Shard(to);
                }
            }
            ToControl::Sends { track, codec } => self.directory.sends(track, &codec),
            ToControl::NewUfrag {
                session,
                ufrag,
                retired,
            } => self.directory.add_ufrag(session, ufrag, retired.as_ref()),
            ToControl::Reply { request, result } => {
                if let Some(sent) = self.commands.remove(&request) {
                    if let Ok(CommandReply::Answer(answered)) = &result {
                        self.directory.answered(sent.session, &answered.tracks);
                    }
                    let _ = sent.reply.send(result);
                }
            }
            ToControl::Bounced {
                request,
                session,
                command,
            } => self.on_bounced(request, session, command, now),
            ToControl::Description { request, sessions } => {
                self.on_description(request, sessions, now)
            }
            ToControl::Allocations {
                request,
                shard,
                allocations,
            } => self.on_allocations(request, shard, allocations),
            ToControl::Event(event) => self.on_event(event),
            ToControl::Report(report) => {
                let index = report.shard.index();
                self.reports[index] = *report;
            }
            ToControl::Stopped(shard) => {
                tracing::debug!(shard = shard.0, "shard ended");
                self.stopped_shards += 1;
            }
        }
    }

    /// A command reached a shard that does not have the session any more: sends it to the session's present shard.
    fn on_bounced(&mut self, request: u64, session: SessionKey, command: Command, now: Instant) {
        let location = self.directory.get(session).map(|record| &record.location);
        let sent = self.commands.get(&request);
        let waits = sent.is_some_and(|sent| sent.deadline > now);
        match location {
            Some(SessionLocation::Shard(shard)) if waits => {
                let shard = *shard;
                let command = ToShard::Command {
                    request,
                    session,
                    command,
                };
                self.send(shard, command);
            }
            Some(SessionLocation::Shard(_) | SessionLocation::Lobby { .. }) | None => {
                if let Some(sent) = self.commands.remove(&request) {
                    let error = CommandError::UnknownSession(format!("#{}", session.0));
                    let _ = sent.reply.send(Err(error));
                }
            }
        }
    }

    /// A check with a verified password arrived on `shard`, which does not have the session.
    fn on_claim(&mut self, shard: ShardId, ufrag: &Ufrag, datagram: Datagram) {
        let session = self.directory.by_ufrag(ufrag);
        let record = session.and_then(|session| self.directory.get_mut(session));
        let (Some(session), Some(record)) = (session, record) else {
            self.send(shard, ToShard::Unclaimed);
            return;
        };
        match std::mem::replace(&mut record.location, SessionLocation::Shard(shard)) {
            SessionLocation::Lobby { peer, .. } => {
                tracing::debug!(session = record.id, shard = shard.0, "session claimed");
                self.send(
                    shard,
                    ToShard::Adopt {
                        peer,
                        first: Some(datagram),
                    },
                );
            }
            SessionLocation::Shard(home) => {
                record.location = SessionLocation::Shard(home);
                if home != shard {
                    let source = datagram.source;
                    self.send(
                        shard,
                        ToShard::Foreign {
                            source,
                            session,
                            home,
                        },
                    );
                }
                self.send(
                    home,
                    ToShard::Datagram {
                        session,
                        via: shard,
                        datagram,
                    },
                );
            }
        }
    }

    fn on_description(
        &mut self,
        request: u64,
        sessions: Vec<(SessionKey, PeerState)>,
        now: Instant,
    ) {
        let Some(asked) = self.descriptions.get_mut(&request) else {
            return;
        };
        asked.sessions.extend(sessions);
        asked.missing -= 1;
        if asked.missing == 0
            && let Some(asked) = self.descriptions.remove(&request)
        {
            let state = self.assemble_state(asked.sessions, now);
            let _ = asked.reply.send(Ok(state));
        }
    }

    pub(super) fn publish_layer(
        &self,
        (session, track): (SessionKey, TrackKey),
        rid: String,
        active: bool,
        reason: &str,
    ) {
        let record = self.directory.get(session);
        let names = record.zip(self.directory.track_id(track));
        if let Some((record, track)) = names {
            self.publish_event(proto::event::Event::Layer(proto::LayerChanged {
                session: record.id.clone(),
                track: track.to_string(),
                rid,
                active,
                reason: reason.to_owned(),
            }));
        }
    }

    fn on_event(&mut self, event: ShardEvent) {
        match event {
            ShardEvent::Connected { session, shard } => {
                let Some(record) = self.directory.get_mut(session) else {
                    return;
                };
                record.connected = true;
                tracing::info!(session = record.id, shard = shard.0, "session connected");
                let (session, shard) = (record.id.clone(), u32::from(shard.0));
                self.publish_event(proto::event::Event::Connected(proto::SessionConnected {
                    session,
                    shard,
                }));
            }
            ShardEvent::Closed {
                session,
                reason,
                failure,
            } => self.closed(session, reason, failure),
            ShardEvent::Offer {
                session,
                revision,
                sdp,
                mids,
            } => {
                self.publish_offer(
                    session,
                    OfferOut {
                        revision,
                        sdp,
                        mids,
                    },
                );
            }
            ShardEvent::Layer {
                session,
                track,
                rid,
                active,
                reason,
            } => {
                self.publish_layer((session, track), rid, active, reason);
            }
            ShardEvent::Levels { shard, levels } => {
                let named = |(track, dbov): (TrackKey, u8)| {
                    let track = self.directory.track_id(track)?.to_string();
                    Some(proto::TrackLevel {
                        track,
                        dbov: u32::from(dbov),
                    })
                };
                let levels = levels.into_iter().filter_map(named).collect();
                let shard = u32::from(shard.0);
                self.publish_event(proto::event::Event::Levels(proto::Levels { levels, shard }));
            }
        }
    }

    pub(super) fn publish_offer(&mut self, session: SessionKey, offer: OfferOut) {
        let Some(record) = self.directory.get(session) else {
            return;
        };
        let offer = convert::offer(&self.directory, record.id.clone(), offer);
        self.publish_event(proto::event::Event::Offer(offer));
    }
}
