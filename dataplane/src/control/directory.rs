//! Sessions and tracks of the node by name: control plane ids, keys, shards and annotations.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ice::credentials::Ufrag;
use crate::key::{SessionKey, ShardId, TrackKey};
use crate::media::codec::CodecSpec;
use crate::media::track::{TrackFormats, TrackSpec};
use crate::peer::command::AnsweredTrack;
use crate::peer::session::Peer;

/// All sessions and tracks of the node.
#[derive(Default)]
pub(super) struct Directory {
    sessions: BTreeMap<SessionKey, SessionRecord>,
    key_by_id: HashMap<String, SessionKey>,
    key_by_ufrag: HashMap<Ufrag, SessionKey>,
    tracks: HashMap<TrackKey, TrackName>,
    track_by_id: HashMap<Arc<str>, TrackKey>,
    /// Sessions and the times at which their clients became able to send a check, the earliest first. May contain
    /// entries that are out of date: the client sent a check, or the session got a new time.
    expected: VecDeque<(Instant, SessionKey)>,
    next_key: u64,
}

/// State of a session that is needed outside of its shard.
pub(super) struct SessionRecord {
    pub(super) id: String,
    pub(super) role: SessionRole,
    pub(super) annotation: Vec<u8>,
    /// Server that holds the lease of the session; empty: no lease.
    pub(super) owner: Arc<str>,
    pub(super) location: SessionLocation,
    pub(super) connected: bool,
    ufrags: Vec<Ufrag>,
    /// Tracks that the session refers to; keeps their keys.
    names: Vec<TrackKey>,
}

/// Role of a session.
pub(super) enum SessionRole {
    /// The session publishes these tracks, as last declared.
    Publish(Vec<TrackRecord>),
    Subscribe,
}

/// A declared track of a publish session.
#[derive(Clone)]
pub(super) struct TrackRecord {
    pub(super) spec: TrackSpec,
    pub(super) annotation: Vec<u8>,
    pub(super) muted: bool,
    /// False if the track was not negotiated, so it cannot play.
    pub(super) is_published: bool,
}

/// The thread that runs a session.
pub(super) enum SessionLocation {
    /// The control thread, until the first connectivity check.
    Lobby {
        peer: Box<Peer>,
        /// Time when the client became able to send its first check; `None` before.
        negotiated: Option<Instant>,
    },
    /// The shard that adopted the session.
    Shard(ShardId),
}

struct TrackName {
    id: Arc<str>,
    users: usize,
    /// Formats that the publisher of the track negotiated; `None` until known.
    formats: Option<Arc<TrackFormats>>,
}

/// Annotation and owner of a new session.
#[derive(Debug, Default)]
pub(super) struct SessionAttributes {
    pub(super) annotation: Vec<u8>,
    /// Server that holds the lease of the session; empty: no lease.
    pub(super) owner: Arc<str>,
}

impl Directory {
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn next_session_key(&mut self) -> SessionKey {
        self.next_key += 1;
        SessionKey(self.next_key)
    }

    pub(super) fn insert(
        &mut self,
        id: String,
        role: SessionRole,
        attributes: SessionAttributes,
        peer: Peer,
    ) {
        let key = peer.session;
        let ufrags = peer.ufrags().to_vec();
        for ufrag in &ufrags {
            self.key_by_ufrag.insert(ufrag.clone(), key);
        }
        self.key_by_id.insert(id.clone(), key);
        let location = SessionLocation::Lobby {
            peer: Box::new(peer),
            negotiated: None,
        };
        let names = Vec::new();
        let record = SessionRecord {
            id,
            role,
            annotation: attributes.annotation,
            owner: attributes.owner,
            location,
            connected: false,
            ufrags,
            names,
        };
        self.sessions.insert(key, record);
    }

    pub(super) fn remove(&mut self, key: SessionKey) -> Option<SessionRecord> {
        let record = self.sessions.remove(&key)?;
        self.key_by_id.remove(&record.id);
        for ufrag in &record.ufrags {
            self.key_by_ufrag.remove(ufrag);
        }
        for track in &record.names {
            self.release(*track);
        }
        Some(record)
    }

    pub(super) fn key_of(&self, id: &str) -> Option<SessionKey> {
        self.key_by_id.get(id).copied()
    }

    pub(super) fn by_ufrag(&self, ufrag: &Ufrag) -> Option<SessionKey> {
        self.key_by_ufrag.get(ufrag).copied()
    }

    pub(super) fn get(&self, key: SessionKey) -> Option<&SessionRecord> {
        self.sessions.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: SessionKey) -> Option<&mut SessionRecord> {
        self.sessions.get_mut(&key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SessionKey, &SessionRecord)> {
        self.sessions.iter().map(|(key, record)| (*key, record))
    }

    /// Sessions whose lease `owner` holds.
    pub(super) fn owned_by(&self, owner: &str) -> Vec<SessionKey> {
        let owned = self.iter().filter(|(_, record)| *record.owner == *owner);
        owned.map(|(key, _)| key).collect()
    }

    pub(super) fn add_ufrag(&mut self, key: SessionKey, ufrag: Ufrag, retired: Option<&Ufrag>) {
        if let Some(record) = self.sessions.get_mut(&key) {
            record.ufrags.retain(|known| Some(known) != retired);
            record.ufrags.push(ufrag.clone());
            self.key_by_ufrag.insert(ufrag, key);
            retired.map(|retired| self.key_by_ufrag.remove(retired));
        }
    }

    /// The client of session `key` can now send its first check. It must do so within the time limit of the lobby.
    pub(super) fn expect(&mut self, key: SessionKey, now: Instant) {
        if let Some(SessionRecord {
            location: SessionLocation::Lobby { negotiated, .. },
            ..
        }) = self.sessions.get_mut(&key)
        {
            *negotiated = Some(now);
            self.expected.push_back((now, key));
        }
    }

    /// True while sessions in the lobby may have a deadline.
    pub(super) fn expects(&self) -> bool {
        !self.expected.is_empty()
    }

    /// Removes and returns the sessions whose clients sent no check within `wait`.
    pub(super) fn overdue_in_lobby(&mut self, now: Instant, wait: Duration) -> Vec<SessionKey> {
        let mut overdue = Vec::new();
        while let Some((at, key)) = self.expected.front().copied() {
            let is_awaited = self.is_awaited(key, at);
            if is_awaited && now.duration_since(at) < wait {
                break;
            }
            self.expected.pop_front();
            if is_awaited {
                overdue.push(key);
            }
        }
        overdue
    }

    /// True if session `key` is still in the lobby and its time is `at`.
    fn is_awaited(&self, key: SessionKey, at: Instant) -> bool {
        let location = self.sessions.get(&key).map(|record| &record.location);
        matches!(location, Some(SessionLocation::Lobby { negotiated, .. }) if *negotiated == Some(at))
    }

    /// The key of the track with id `id`, created if unknown. The key is kept until the last session that refers to the
    /// track ends or drops it.
    pub(super) fn name_track(&mut self, key: SessionKey, id: &str) -> TrackKey {
        let track = match self.track_by_id.get(id) {
            Some(track) => *track,
            None => {
                self.next_key += 1;
                let track = TrackKey(self.next_key);
                let id: Arc<str> = id.into();
                self.track_by_id.insert(Arc::clone(&id), track);
                self.tracks.insert(
                    track,
                    TrackName {
                        id,
                        users: 0,
                        formats: None,
                    },
                );
                track
            }
        };
        let record = self.sessions.get_mut(&key);
        if let Some(record) = record.filter(|record| !record.names.contains(&track)) {
            record.names.push(track);
            if let Some(name) = self.tracks.get_mut(&track) {
                name.users += 1;
            }
        }
        track
    }

    /// Formats of the publisher of `track`, if known.
    pub(super) fn formats_of(&self, track: TrackKey) -> Option<Arc<TrackFormats>> {
        self.tracks.get(&track)?.formats.clone()
    }

    /// The publisher of `track` now sends `codec`: later subscribers are offered that codec first.
    pub(super) fn sends(&mut self, track: TrackKey, codec: &CodecSpec) {
        let name = self.tracks.get_mut(&track);
        let Some(formats) = name.and_then(|name| name.formats.as_mut()) else {
            return;
        };
        if formats.codecs.first() != Some(codec) {
            Arc::make_mut(formats).put_first(codec);
        }
    }

    /// Applies the answer to an offer of publish session `key`. `answered` are the negotiated tracks.
    pub(super) fn answered(&mut self, key: SessionKey, answered: &[AnsweredTrack]) {
        let Some(record) = self.sessions.get_mut(&key) else {
            return;
        };
        let SessionRole::Publish(tracks) = &mut record.role else {
            return;
        };
        for track in tracks {
            let answered = answered
                .iter()
                .find(|answered| answered.key == track.spec.key);
            track.is_published = answered.is_some();
            let Some(AnsweredTrack { rids, formats, .. }) = answered else {
                continue;
            };
            track.spec.layers.retain(|layer| rids.contains(&layer.rid));
            if let Some(name) = self.tracks.get_mut(&track.spec.key) {
                name.formats = Some(Arc::clone(formats));
            }
        }
    }

    /// Session `key` does not refer to `track` any more.
    pub(super) fn release_name(&mut self, key: SessionKey, track: TrackKey) {
        let Some(record) = self.sessions.get_mut(&key) else {
            return;
        };
        let before = record.names.len();
        record.names.retain(|name| *name != track);
        if record.names.len() < before {
            self.release(track);
        }
    }

    pub(super) fn track_id(&self, track: TrackKey) -> Option<Arc<str>> {
        self.tracks.get(&track).map(|name| Arc::clone(&name.id))
    }

    pub(super) fn track_key(&self, id: &str) -> Option<TrackKey> {
        self.track_by_id.get(id).copied()
    }

    fn release(&mut self, track: TrackKey) {
        let Some(name) = self.tracks.get_mut(&track) else {
            return;
        };
        name.users -= 1;
        if name.users == 0 {
            self.track_by_id.remove(&name.id);
            self.tracks.remove(&track);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ice::credentials::IceKey;
    use crate::io::entropy::Entropy;
    use crate::peer::build::PeerFactory;
    use crate::srtp::AeadChoice;

    const WAIT: Duration = Duration::from_secs(60);

    fn with_subscribers(count: u64, now: Instant) -> Directory {
        let factory = PeerFactory::new(
            IceKey::generate(&mut Entropy::System),
            Vec::new(),
            false,
            AeadChoice::Auto,
        )
        .unwrap();
        let mut directory = Directory::default();
        for number in 0..count {
            let peer = factory.subscriber(SessionKey(number), &mut Entropy::System, now);
            let attributes = SessionAttributes::default();
            directory.insert(number.to_string(), SessionRole::Subscribe, attributes, peer);
        }
        directory
    }

    #[test]
    fn a_session_without_a_check_in_time_is_returned_once() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut directory = with_subscribers(4, start);
        for number in 0..4 {
            directory.expect(SessionKey(number), at(number));
        }
        directory.expect(SessionKey(0), at(10)); // negotiated again: the time starts again
        directory.get_mut(SessionKey(1)).unwrap().location = SessionLocation::Shard(ShardId(0));
        directory.remove(SessionKey(2));
        assert_eq!(directory.overdue_in_lobby(at(62), WAIT), []);
        assert_eq!(directory.overdue_in_lobby(at(63), WAIT), [SessionKey(3)]);
        assert_eq!(directory.overdue_in_lobby(at(63), WAIT), []);
        assert!(directory.expects(), "the first was told again");
        assert_eq!(directory.overdue_in_lobby(at(70), WAIT), [SessionKey(0)]);
        assert!(!directory.expects());
    }

    #[test]
    fn no_session_is_expected_after_all_have_left_the_lobby() {
        let now = Instant::now();
        let mut directory = with_subscribers(2, now);
        for number in 0..2 {
            directory.expect(SessionKey(number), now);
            directory.get_mut(SessionKey(number)).unwrap().location =
                SessionLocation::Shard(ShardId(0));
        }
        assert_eq!(directory.overdue_in_lobby(now, WAIT), []);
        assert!(
            !directory.expects(),
            "nothing is kept until its time is over"
        );
    }
}
