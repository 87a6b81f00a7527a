//! What no client should send: a stranger can send it, so nobody else may lose anything by it.

use serde_json::json;

use super::World;
use super::person::Link;
use crate::network::Datagram;

impl World {
    /// A person sends something wrong; `what` says what.
    pub(super) fn misbehave(&mut self, index: usize, what: u32) {
        if !self.people[index].misbehaves {
            return;
        }
        match what % 9 {
            0 => self.stale_answer(index),
            1 => self.flood(index, 60),
            2 => self.half_offer(index),
            3 => self.garbage_texts(index),
            4 => self.garbage_datagrams(index),
            5 => self.replayed_datagrams(index),
            6 => self.foreign_addresses(index),
            7 => self.foreign_track(index),
            _ => self.wrong_feedback(index),
        }
    }

    /// Answers to offers that were never made, and one SDP that is no answer.
    fn stale_answer(&mut self, index: usize) {
        let signaling = &mut self.people[index].signaling;
        for (revision, sdp) in [(0_u64, "v=0\r\n"), (1, "v=0\r\n"), (99, ""), (2, "m=")] {
            let answer = json!({"revision": revision, "sdp": sdp});
            signaling.request("answer", answer);
        }
    }

    /// Messages beyond the rate.
    fn flood(&mut self, index: usize, count: usize) {
        let signaling = &mut self.people[index].signaling;
        for number in 0..count {
            let message = json!({"topic": "flood", "payload": number});
            signaling.request("message", message);
        }
    }

    /// The first half of an offer.
    fn half_offer(&mut self, index: usize) {
        let person = &mut self.people[index];
        let whole = person.publish.as_ref().and_then(|session| session.offer());
        let whole = whole.unwrap_or_else(|| "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\n".repeat(3));
        let half = &whole[..whole.len() / 2];
        let track = json!({"mid": "0", "kind": "audio", "source": "microphone", "muted": false});
        let offer = json!({"sdp": half, "tracks": [track]});
        person.signaling.request("offer", offer);
    }

    fn garbage_texts(&mut self, index: usize) {
        let signaling = &mut self.people[index].signaling;
        for text in [
            "",
            "{",
            "[]",
            "{\"type\":\"nothing\"}",
            "{\"type\":\"join\",\"token\":\"x\"}",
            "{\"type\":\"subscribe\",\"tracks\":[{\"track\":\"TR_0000000000000000\"}]}",
        ] {
            signaling.send(text.to_owned());
        }
    }

    /// Random bytes with first bytes of all protocols, from the person's own addresses.
    fn garbage_datagrams(&mut self, index: usize) {
        for first in [0, 1, 20, 22, 64, 128, 200] {
            self.send_forged(index, |rng| {
                let mut bytes = rng.bytes::<60>().to_vec();
                bytes[0] = first;
                bytes
            });
        }
    }

    /// RTP and RTCP that was sent before comes again, also with a changed byte.
    fn replayed_datagrams(&mut self, index: usize) {
        let Some(kept) = self.checks.seen_datagrams.get(&index).cloned() else {
            return;
        };
        for change in [false, true] {
            let mut bytes = kept.clone();
            if let Some(last) = bytes.last_mut().filter(|_| change) {
                *last ^= 1;
            }
            self.send_forged(index, |_| bytes);
        }
    }

    /// Media and checks in the name of another person, from an address of nobody.
    fn foreign_addresses(&mut self, index: usize) {
        let victim = (index + 1) % self.people.len();
        let Some(from) = self.people[victim]
            .view
            .as_ref()
            .map(|s| s.transport.local())
        else {
            return;
        };
        let Some(bytes) = self.checks.seen_datagrams.get(&index).cloned() else {
            return;
        };
        let now = self.clock.now();
        let mut stranger = from;
        stranger.set_port(from.port() + 900);
        for from in [from, stranger] {
            for host in 0..self.nodes.len() {
                let to = self.nodes[host].addr;
                let bytes = bytes.clone();
                self.network.send(Datagram { from, to, bytes }, now);
            }
        }
    }

    /// Offers and mutes a track of another person.
    fn foreign_track(&mut self, index: usize) {
        let victim = &self.people[(index + 1) % self.people.len()];
        let Some(track) = victim.lines.iter().find_map(|line| line.track.clone()) else {
            return;
        };
        let signaling = &mut self.people[index].signaling;
        signaling.request("mute", json!({"track": track.clone(), "muted": true}));
        let line = json!({"mid": "0", "kind": "audio", "source": "microphone", "track": track});
        let offer = json!({"sdp": "v=0\r\n", "tracks": [line]});
        signaling.request("offer", offer);
    }

    /// Feedback about streams that do not exist, with the person's own keys.
    fn wrong_feedback(&mut self, index: usize) {
        let person = &mut self.people[index];
        let ssrc = person.rng.number() as u32;
        if let Some(session) = &mut person.view {
            let mut out = Vec::new();
            crate::client::rtcp::write_nack(&mut out, 1, ssrc, &[1, 2, 3, 40]);
            crate::client::rtcp::write_pli(&mut out, 1, ssrc);
            session.transport.send_rtcp(&out);
        }
    }

    fn send_forged(&mut self, index: usize, bytes: impl FnOnce(&mut crate::rng::Rng) -> Vec<u8>) {
        let now = self.clock.now();
        let person = &mut self.people[index];
        let bytes = bytes(&mut person.rng);
        let Some(from) = person.sessions().next().map(|s| s.transport.local()) else {
            return;
        };
        if let Link::Closed { .. } = person.link {
            return;
        }
        for host in 0..self.nodes.len() {
            let to = self.nodes[host].addr;
            let bytes = bytes.clone();
            self.network.send(Datagram { from, to, bytes }, now);
        }
    }
}
