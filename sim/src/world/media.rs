//! The peer connections of a person, and what it publishes on them.

use std::cell::Cell;
use std::net::SocketAddr;

use serde_json::json;

use super::person::Person;
use crate::client::sdp::OfferedLine;
use crate::client::session::Session;
use crate::clock::Time;

/// Kinds of m-lines of a publisher, in order: kind and source.
const LINES: [(&str, &str); 2] = [("audio", "microphone"), ("video", "camera")];
/// Rids of the layers and their heights.
const LAYERS: [(&str, u32); 2] = [("q", 180), ("h", 360)];

impl Person {
    /// Discards the peer connections.
    pub(super) fn discard_sessions(&mut self) {
        self.publish = None;
        self.view = None;
        self.offered.clear();
        self.moments.publish_connected = None;
        self.moments.view_connected = None;
    }

    /// Makes new peer connections, and offers what is published. Tracks keep their ids.
    pub(super) fn make_sessions(&mut self, now: Time) {
        self.pairs += 1;
        self.discard_sessions();
        self.witness = Cell::default();
        let name = |what: &str| format!("{what}-{}-{}", self.number, self.pairs);
        self.view = Some(Session::subscribe(&name("view"), self.addr(1), self.seed));
        if self.publishes {
            let ssrc =
                self.seed
                    .number(&format!("ssrc {} {}", self.number, self.pairs)) as u32;
            let tracks = [self.stamp(0), self.stamp(1)];
            let mut session = Session::publish(
                &name("publish"),
                self.addr(0),
                offered_lines(ssrc),
                &tracks,
                self.seed,
            );
            for mid in 0..LINES.len() {
                session.set_muted(mid, self.is_silent(mid));
            }
            self.publish = Some(session);
            self.offer(now);
        }
    }

    pub(super) fn is_silent(&self, mid: usize) -> bool {
        self.lines[mid].is_muted || !self.lines[mid].is_offered
    }

    /// Sends the publish offer.
    pub(super) fn offer(&mut self, now: Time) {
        let Some(sdp) = self.publish.as_ref().and_then(Session::offer) else {
            return;
        };
        let mut tracks = Vec::new();
        for (mid, (line, (kind, source))) in self.lines.iter().zip(LINES).enumerate() {
            if !line.is_offered {
                continue;
            }
            let mut track = json!({
                "mid": mid.to_string(), "kind": kind, "source": source, "muted": line.is_muted,
            });
            if let Some(id) = &line.track {
                track["track"] = json!(id);
            }
            if kind == "video" {
                let layer = |(rid, height): (&str, u32)| json!({"rid": rid, "height": height});
                track["layers"] = json!(LAYERS.map(layer));
            }
            tracks.push(track);
        }
        self.moments.changed = [now; 2];
        self.has_pending_offer = true;
        let offer = json!({"sdp": sdp, "tracks": tracks});
        self.signaling.request("offer", offer);
    }

    /// Mutes or unmutes the line `mid`.
    pub(super) fn mute(&mut self, mid: usize, muted: bool, now: Time) {
        self.lines[mid].is_muted = muted;
        self.moments.changed[mid] = now;
        let is_silent = self.is_silent(mid);
        if let Some(session) = &mut self.publish {
            session.set_muted(mid, is_silent);
        }
        if let Some(track) = &self.lines[mid].track {
            let mute = json!({"track": track, "muted": muted});
            self.signaling.request("mute", mute);
        }
    }

    /// Publishes the line `mid`, or ends its track.
    pub(super) fn set_offered(&mut self, mid: usize, is_offered: bool, now: Time) {
        self.lines[mid].is_offered = is_offered;
        if !is_offered {
            self.lines[mid].track = None;
        }
        let is_silent = self.is_silent(mid);
        if let Some(session) = &mut self.publish {
            session.set_muted(mid, is_silent);
        }
        if self.signaling.is_joined {
            self.offer(now);
        }
    }

    /// Continues from other addresses.
    pub(super) fn roam(&mut self, now: Time) {
        self.roamed = self.roamed.wrapping_add(1);
        self.moments.roamed = Some(now);
        let addrs = [self.addr(0), self.addr(1)];
        let sessions = [&mut self.publish, &mut self.view];
        for (session, addr) in sessions.into_iter().zip(addrs) {
            if let Some(session) = session {
                session.transport.roam(addr, now);
            }
        }
    }

    /// Address of the publishing (0) or viewing (1) session.
    fn addr(&self, place: u32) -> SocketAddr {
        let host = [10, 1 + self.roamed, 0, 1 + self.number as u8];
        let port = 5_000 + 2 * (self.pairs % 10_000) + place;
        SocketAddr::from((host, port as u16))
    }
}

/// Lines of a publisher: sound, and video in two layers.
fn offered_lines(ssrc: u32) -> Vec<OfferedLine> {
    let rids = LAYERS.map(|(rid, _)| rid.to_owned());
    vec![
        OfferedLine {
            is_audio: true,
            rids: Vec::new(),
            ssrc,
        },
        OfferedLine {
            is_audio: false,
            rids: rids.to_vec(),
            ssrc: 0,
        },
    ]
}
