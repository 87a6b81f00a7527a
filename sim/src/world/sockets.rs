//! The signaling sockets of people: they connect, hear, lose the connection, and come back.

use std::time::Duration;

use serde_json::json;
use spillway_controlplane::room::SocketId;

use super::message::Message;
use super::person::Link;
use super::state::{Change, World};
use crate::client::signaling::Heard;
use crate::pipes::Host;

/// Pauses before a client connects again, the longest.
const RETRY_MS: u64 = 1_000;

impl World {
    /// Timers of people, and connections that are opened.
    pub(super) fn run_people(&mut self) {
        let now = self.clock.now();
        for index in 0..self.people.len() {
            let person = &mut self.people[index];
            person.handle_timeouts(now);
            match person.link {
                Link::Closed { retry_at } if person.wants_in && retry_at <= now => {
                    self.connect(index);
                }
                Link::Open { server, socket, .. } if person.is_cut_off(now) => {
                    self.close_socket(index, server, socket);
                }
                Link::Closed { .. } | Link::Open { .. } => {}
            }
        }
    }

    fn connect(&mut self, index: usize) {
        let now = self.clock.now();
        let count = self.servers.len() as u64;
        let person = &mut self.people[index];
        let server = person.rng.below(count) as usize;
        self.next_socket += 1;
        let socket = SocketId(self.next_socket);
        person.link = Link::Open {
            server,
            socket,
            heard_at: now,
        };
        let (token, may_view) = (person.token.clone(), person.may_view);
        person.signaling.join(&token, may_view);
        self.send_to_server(index, server, socket.0, Message::Open);
    }

    /// A person hears a text of a server.
    pub(super) fn hear(&mut self, index: usize, text: &str) {
        let now = self.clock.now();
        for heard in self.people[index].receive_text(text, now) {
            match heard {
                Heard::Wrong(what) => self.violate(5, format!("person {index}: {what}")),
                Heard::Joined(_) => {
                    self.set_paths(index);
                    self.push_wishes(index);
                    if !self.people[index].wants_in {
                        let person = &mut self.people[index];
                        person.signaling.request("leave", json!({}));
                    }
                }
                Heard::Left(participant, reason) => self.saw_leave(index, &participant, &reason),
                Heard::Refused(kind, code) => self.saw_refusal(index, kind, &code),
                Heard::Media { is_lost, reason } => {
                    self.set_paths(index);
                    if is_lost {
                        self.saw_loss(index, &reason);
                    }
                }
                Heard::Message(topic) => {
                    let own = format!("to-person-{index}");
                    if topic.starts_with("to-") && topic != own {
                        let said = format!("person {index} hears a message that was sent {topic}");
                        self.violate(3, said);
                    }
                }
                Heard::Answer(..) | Heard::Offer(..) | Heard::Ok(_) | Heard::Closing(..) => {}
            }
        }
    }

    /// Asks again for what the person does not want, because a new stay begins with everything.
    fn push_wishes(&mut self, index: usize) {
        let person = &mut self.people[index];
        person.moments.wanted = self.clock.now();
        let touched = std::mem::take(&mut person.touched);
        let known: Vec<&String> = person
            .signaling
            .roster
            .participants
            .values()
            .flat_map(|participant| participant.tracks.keys())
            .collect();
        let tracks: Vec<String> = touched.into_iter().filter(|t| known.contains(&t)).collect();
        for track in tracks {
            person.wish(track);
        }
    }

    /// The client drops its connection.
    pub(super) fn close_socket(&mut self, index: usize, server: usize, socket: SocketId) {
        self.send_to_server(index, server, socket.0, Message::Gone);
        self.disconnected(index, 1_006);
    }

    /// The connection of a person's socket is gone.
    pub(super) fn disconnected(&mut self, index: usize, code: u64) {
        let now = self.clock.now();
        self.note("closed", || format!("socket of person {index}: {code}"));
        let person = &mut self.people[index];
        let pause = Duration::from_millis(person.rng.between(50, RETRY_MS));
        person.link = Link::Closed {
            retry_at: now + pause,
        };
        person.signaling.disconnected();
        // Codes after which the client must not come back as the same participant.
        if matches!(code, 1_000 | 4_400 | 4_401 | 4_409) {
            person.signaling.forget();
            person.discard_sessions();
        }
        if !person.wants_in {
            person.signaling.forget();
        }
    }

    /// The socket of a person breaks. The server notices after `late_ms`.
    pub(super) fn cut_socket(&mut self, index: usize, late_ms: u32) {
        let now = self.clock.now();
        if let Link::Open { server, socket, .. } = self.people[index].link {
            let channel = socket.0;
            self.pipes.break_if(|route| {
                let hosts = [Host::Person(index), Host::Server(server)];
                let is_between = hosts.contains(&route.from) && hosts.contains(&route.to);
                is_between && route.channel == channel
            });
            self.disconnected(index, 1_006);
            let at = now + Duration::from_millis(u64::from(late_ms));
            self.changes.add(at, Change::SocketGone(server, channel));
        }
    }

    pub(super) fn lose_socket(&mut self, server: usize, socket: u64) {
        let now = self.clock.now();
        if let Some(state) = &mut self.servers[server].server {
            state.set_now(now);
            state.lose_socket(SocketId(socket));
        }
    }
}
