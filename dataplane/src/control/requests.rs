//! Handles requests of the control plane.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use spillway_mutants::{Mutant, is_planted};
use spillway_wire::dataplane as proto;
use tokio::sync::oneshot;

use super::directory::{
    SessionAttributes, SessionLocation, SessionRecord, SessionRole, TrackRecord,
};
use super::{Control, Describing, Request, convert};
use crate::key::{SessionKey, TrackKey};
use crate::limits::SHARD_REPLY;
use crate::media::subscription::Wanted;
use crate::mesh::message::ToShard;
use crate::peer::command::{Command, CommandError, CommandReply, CommandResult};
use crate::peer::output::{PeerState, SubscriptionState};
use crate::report;

type Reply = oneshot::Sender<CommandResult>;

impl Control {
    /// Handles `request`. The reply is sent now, or when a shard has replied.
    pub fn on_request(&mut self, request: Request, now: Instant) {
        let (prepared, reply) = match request {
            // The caller may have gone away, so failures to send a reply are ignored below.
            Request::Node(reply) => return drop(reply.send(self.node(now))),
            Request::Metrics(reply) => {
                return drop(reply.send(report::open_metrics(&self.reports)));
            }
            Request::State(reply) => return self.ask_state(reply, now),
            Request::Allocations(reply) => return self.ask_allocations(reply, now),
            Request::PutPublish(request, reply) => (self.put_publish(request, now), reply),
            Request::PutSubscribe(request, reply) => (self.put_subscribe(request, now), reply),
            Request::PutSubscriptions(request, reply) => (self.put_subscriptions(request), reply),
            Request::PutAnswer(request, reply) => {
                let command = Command::Answer {
                    revision: request.revision,
                    sdp: request.answer_sdp,
                };
                (self.for_session(&request.session, command), reply)
            }
            Request::AddCandidate(request, reply) => (
                self.for_session(&request.session, Command::Candidate(request.candidate)),
                reply,
            ),
            Request::Annotate(request, reply) => (self.annotate(request), reply),
            Request::Close(request, reply) => (Ok(self.close(request)), reply),
            Request::RenewLease(request, reply) => (self.renew_lease(&request, now), reply),
            Request::TakeSessions(request, reply) => (self.take_sessions(&request), reply),
        };
        self.carry_out(prepared, reply, now);
    }

    fn carry_out(&mut self, prepared: Result<Prepared, CommandError>, reply: Reply, now: Instant) {
        match prepared {
            Ok(Prepared::Run(key, command)) => self.run(key, command, reply, now),
            Ok(Prepared::Done) => drop(reply.send(Ok(CommandReply::Done))),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn for_session(&self, id: &str, command: Command) -> Result<Prepared, CommandError> {
        let key = self.directory.key_of(id);
        let key = key.ok_or_else(|| CommandError::UnknownSession(id.to_owned()))?;
        Ok(Prepared::Run(key, command))
    }

    fn put_publish(
        &mut self,
        request: proto::PutPublishRequest,
        now: Instant,
    ) -> Result<Prepared, CommandError> {
        convert::check_id("session", &request.session)?;
        convert::check_owner(&request.owner)?;
        convert::check_annotation(&request.annotation)?;
        let (got, limit) = (request.tracks.len(), self.config.max_tracks_per_session);
        if got > limit {
            return Err(CommandError::TooMany {
                what: "tracks of a session",
                got,
                limit,
            });
        }
        for track in &request.tracks {
            convert::check_id("track", &track.track)?;
            convert::check_annotation(&track.annotation)?;
            convert::track_spec(TrackKey(0), track)?; // before anything is created
        }
        let unnamed = Command::Publish {
            offer: request.offer_sdp,
            tracks: Vec::new(),
        };
        unnamed.validate()?;
        let Command::Publish { offer, .. } = unnamed else {
            unreachable!("made two lines above")
        };

        let key = match self.directory.key_of(&request.session) {
            Some(key) => key,
            None => {
                self.check_room_for_one_more()?;
                let key = self.directory.next_session_key();
                let peer = self.factory.publisher(key, &mut self.entropy, now);
                let role = SessionRole::Publish(Vec::new());
                let attributes = SessionAttributes::default();
                self.directory
                    .insert(request.session, role, attributes, peer);
                key
            }
        };
        self.own(key, &request.owner);
        let mut records = Vec::with_capacity(request.tracks.len());
        for track in request.tracks {
            let named = self.directory.name_track(key, &track.track);
            let spec = convert::track_spec(named, &track)?;
            records.push(TrackRecord {
                spec,
                annotation: track.annotation,
                muted: track.muted,
                is_published: true,
            });
        }
        let specs = records.iter().map(|record| record.spec.clone()).collect();
        self.replace_records(key, records, request.annotation);
        Ok(Prepared::Run(
            key,
            Command::Publish {
                offer,
                tracks: specs,
            },
        ))
    }

    fn replace_records(&mut self, key: SessionKey, records: Vec<TrackRecord>, annotation: Vec<u8>) {
        let Some(record) = self.directory.get_mut(key) else {
            return;
        };
        record.annotation = annotation;
        let SessionRole::Publish(tracks) = &mut record.role else {
            return;
        };
        let before = std::mem::replace(tracks, records.clone());
        let stays = |key| records.iter().any(|record| record.spec.key == key);
        for gone in before
            .iter()
            .map(|old| old.spec.key)
            .filter(|key| !stays(*key))
        {
            self.directory.release_name(key, gone);
        }
    }

    fn put_subscribe(
        &mut self,
        request: proto::PutSubscribeRequest,
        now: Instant,
    ) -> Result<Prepared, CommandError> {
        convert::check_id("session", &request.session)?;
        convert::check_owner(&request.owner)?;
        convert::check_annotation(&request.annotation)?;
        match self.directory.key_of(&request.session) {
            Some(key) => {
                if let Some(record) = self.directory.get_mut(key) {
                    record.annotation = request.annotation;
                }
                self.own(key, &request.owner);
            }
            None => {
                self.check_room_for_one_more()?;
                let key = self.directory.next_session_key();
                let peer = self.factory.subscriber(key, &mut self.entropy, now);
                let role = SessionRole::Subscribe;
                let attributes = SessionAttributes {
                    annotation: request.annotation,
                    owner: request.owner.as_str().into(),
                };
                self.directory
                    .insert(request.session, role, attributes, peer);
                if request.owner.is_empty() {
                    // Without a lease the session must be negotiated in time, or it ends.
                    self.directory.expect(key, now);
                }
            }
        }
        Ok(Prepared::Done)
    }

    fn put_subscriptions(
        &mut self,
        request: proto::PutSubscriptionsRequest,
    ) -> Result<Prepared, CommandError> {
        let key = self.directory.key_of(&request.session);
        let key = key.ok_or_else(|| CommandError::UnknownSession(request.session.clone()))?;
        for track in &request.put {
            convert::check_id("track", &track.track)?;
            convert::kind(track.kind, &track.track)?;
            convert::group(track.group.as_ref())?;
        }
        let mut put = Vec::with_capacity(request.put.len());
        for track in request.put {
            let kind = convert::kind(track.kind, &track.track)?;
            let named = self.directory.name_track(key, &track.track);
            put.push(Wanted {
                track: named,
                kind,
                params: convert::subscription_params(track.wish),
                group: convert::group(track.group.as_ref())?,
                formats: self.directory.formats_of(named),
            });
        }
        let known = request
            .remove
            .iter()
            .filter_map(|id| self.directory.track_key(id));
        let remove: Vec<TrackKey> = known.collect();
        for track in &remove {
            self.directory.release_name(key, *track);
        }
        Ok(Prepared::Run(key, Command::Subscribe { put, remove }))
    }

    fn annotate(&mut self, request: proto::AnnotateRequest) -> Result<Prepared, CommandError> {
        convert::check_annotation(&request.annotation)?;
        let unknown = || CommandError::UnknownSession(request.session.clone());
        let key = self
            .directory
            .key_of(&request.session)
            .ok_or_else(unknown)?;
        let record = self.directory.get_mut(key).ok_or_else(unknown)?;
        if request.track.is_empty() {
            record.annotation = request.annotation;
            return Ok(Prepared::Done);
        }
        let tracks: &mut [TrackRecord] = match &mut record.role {
            SessionRole::Publish(tracks) => tracks,
            SessionRole::Subscribe => &mut [],
        };
        let track = tracks
            .iter_mut()
            .find(|track| *track.spec.id == *request.track);
        let track = track.ok_or_else(|| {
            let (session, track) = (&request.session, &request.track);
            CommandError::Invalid(format!("session '{session}' publishes no track '{track}'"))
        })?;
        track.annotation = request.annotation;
        track.muted = request.muted.unwrap_or(track.muted);
        Ok(Prepared::Done)
    }

    fn close(&mut self, request: proto::CloseSessionRequest) -> Prepared {
        match self.directory.key_of(&request.session) {
            Some(key) => Prepared::Run(
                key,
                Command::Close {
                    reason: request.reason,
                },
            ),
            None => Prepared::Done,
        }
    }

    /// Makes `owner` the holder of the lease of session `key`; an empty `owner` means no lease.
    fn own(&mut self, key: SessionKey, owner: &str) {
        let record = self.directory.get_mut(key);
        let record = record
            .filter(|held| !is_planted(Mutant::LeaseStaysWithOldServer) || held.owner.is_empty());
        if let Some(record) = record.filter(|record| !owner.is_empty() && *record.owner != *owner) {
            record.owner = owner.into();
        }
    }

    fn take_sessions(
        &mut self,
        request: &proto::TakeSessionsRequest,
    ) -> Result<Prepared, CommandError> {
        convert::check_id("owner", &request.owner)?;
        let keys = request.sessions.iter();
        let keys: Vec<_> = keys.filter_map(|id| self.directory.key_of(id)).collect();
        for key in keys {
            self.own(key, &request.owner);
        }
        Ok(Prepared::Done)
    }

    /// Renews a lease. Sessions of owners with expired leases end, as if the owner had closed them.
    fn renew_lease(
        &mut self,
        request: &proto::RenewLeaseRequest,
        now: Instant,
    ) -> Result<Prepared, CommandError> {
        convert::check_id("owner", &request.owner)?;
        let time = Duration::from_millis(request.time_ms);
        for owner in self.leases.renew(&request.owner, time, now)? {
            let keys = self.directory.owned_by(&owner);
            let sessions = keys.len();
            tracing::warn!(owner, sessions, "lease expired: its sessions end");
            for key in keys {
                let reason = "its server is gone".to_owned();
                let (nobody, _) = oneshot::channel();
                self.run(key, Command::Close { reason }, nobody, now);
            }
        }
        Ok(Prepared::Done)
    }

    fn check_room_for_one_more(&self) -> Result<(), CommandError> {
        let (got, limit) = (self.directory.len() + 1, self.config.max_sessions);
        if got > limit {
            return Err(CommandError::TooMany {
                what: "sessions of the node",
                got,
                limit,
            });
        }
        Ok(())
    }

    fn node(&self, now: Instant) -> proto::Node {
        let shards = self
            .reports
            .iter()
            .zip(&self.config.cores)
            .map(|(report, core)| proto::Shard {
                shard: u32::from(report.shard.0),
                core: *core,
                packets_in: report.traffic.packets_in,
                packets_out: report.traffic.packets_out,
                bytes_in: report.traffic.bytes_in,
                bytes_out: report.traffic.bytes_out,
                drops: report.drops.total(),
                sessions: report.sessions as u32,
                tracks: report.tracks as u32,
                subscriptions: report.subscriptions as u32,
                busy_fraction: report.busy_fraction,
            });
        proto::Node {
            node: self.config.node.clone(),
            incarnation: self.incarnation.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            addresses: self.advertised.addresses.clone(),
            turn_urls: self.advertised.turn_urls.clone(),
            turn_secret_ids: self.advertised.turn_secret_ids.clone(),
            uptime_ms: now.duration_since(self.started).as_millis() as u64,
            shards: shards.collect(),
            max_sessions: self.config.max_sessions as u32,
        }
    }

    fn ask_state(
        &mut self,
        reply: oneshot::Sender<Result<proto::State, CommandError>>,
        now: Instant,
    ) {
        let request = self.new_request();
        let shards: Vec<_> = self.reports.iter().map(|report| report.shard).collect();
        let asked = Describing {
            reply,
            deadline: now + SHARD_REPLY,
            missing: shards.len(),
            sessions: BTreeMap::new(),
        };
        self.descriptions.insert(request, asked);
        for shard in shards {
            self.send(shard, ToShard::Describe { request });
        }
    }

    pub(super) fn assemble_state(
        &self,
        mut described: BTreeMap<SessionKey, PeerState>,
        now: Instant,
    ) -> proto::State {
        let sessions = self.directory.iter().map(|(key, record)| {
            let state = described
                .remove(&key)
                .unwrap_or_else(|| match &record.location {
                    SessionLocation::Lobby { peer, .. } => peer.state(),
                    SessionLocation::Shard(_) => PeerState::default(), // the session is moving between two shards
                });
            self.session(record, state, now)
        });
        proto::State {
            incarnation: self.incarnation.clone(),
            sessions: sessions.collect(),
        }
    }

    fn session(&self, record: &SessionRecord, state: PeerState, now: Instant) -> proto::Session {
        let tracks = match &record.role {
            SessionRole::Publish(tracks) => {
                let published = tracks.iter().filter(|track| track.is_published);
                published.map(track).collect()
            }
            SessionRole::Subscribe => Vec::new(),
        };
        let subscriptions = state
            .subscriptions
            .iter()
            .filter_map(|sub| self.subscription(sub));
        let outstanding = state.outstanding;
        proto::Session {
            session: record.id.clone(),
            role: match record.role {
                SessionRole::Publish(_) => proto::Role::Publish.into(),
                SessionRole::Subscribe => proto::Role::Subscribe.into(),
            },
            annotation: record.annotation.clone(),
            connected: state.connected || record.connected,
            shard: match record.location {
                SessionLocation::Lobby { .. } => None,
                SessionLocation::Shard(shard) => Some(u32::from(shard.0)),
            },
            tracks,
            subscriptions: subscriptions.collect(),
            outstanding_offer: outstanding
                .map(|offer| convert::offer(&self.directory, record.id.clone(), offer)),
            revision: state.revision,
            owner: record.owner.to_string(),
            lease_ms: self.leases.left(&record.owner, now).as_millis() as u64,
        }
    }

    fn subscription(&self, state: &SubscriptionState) -> Option<proto::Subscription> {
        let id = self.directory.track_id(state.track)?;
        Some(proto::Subscription {
            track: id.to_string(),
            wish: Some(convert::params_to_proto(state.params)),
            mid: state.mid.clone(),
            rid: state.rid.clone(),
        })
    }
}

/// A request after its checks.
enum Prepared {
    /// Run this command on the session.
    Run(SessionKey, Command),
    /// The request is already executed.
    Done,
}

fn track(record: &TrackRecord) -> proto::Track {
    let layers = record.spec.layers.iter();
    let layers = layers.map(|layer| proto::Layer {
        rid: layer.rid.clone(),
        height: layer.height,
    });
    proto::Track {
        track: record.spec.id.to_string(),
        mid: record.spec.mid.clone(),
        kind: convert::kind_to_proto(record.spec.kind).into(),
        layers: layers.collect(),
        annotation: record.annotation.clone(),
        muted: record.muted,
    }
}

#[cfg(test)]
mod tests; // tests: leases of sessions
