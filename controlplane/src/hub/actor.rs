//! The task of one room: inputs in, outputs done, until the room has nothing to do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Hub, Outbox, RoomInput};
use crate::clock;
use crate::ids::RoomName;
use crate::limits::PRESENCE_TIME;
use crate::room::{Output, Room, Roster, SocketId};
use crate::signaling::{CloseCode, JoinRequest};
use crate::store::{Append, Entry, Missed, Opened, StoreError};

/// Before the store is asked again after it failed.
const STORE_PAUSE: Duration = Duration::from_millis(500);

struct Actor {
    hub: Arc<Hub>,
    name: RoomName,
    room: Room,
    entries: mpsc::Receiver<Arc<Entry>>,
    outbox_by_socket: HashMap<SocketId, Outbox>,
    participants: i64,
}

pub(super) async fn run(hub: Arc<Hub>, name: RoomName, mut inputs: mpsc::Receiver<RoomInput>) {
    let (room, entries) = open(&hub, &name).await;
    let mut actor = Actor {
        hub,
        name,
        room,
        entries,
        outbox_by_socket: HashMap::new(),
        participants: 0,
    };
    actor.settle().await;
    let mut presence = tokio::time::interval(PRESENCE_TIME / 3);
    loop {
        let deadline = actor.room.poll_timeout();
        tokio::select! {
            input = inputs.recv() => match input {
                Some(input) => actor.handle(input).await,
                None => break,
            },
            entry = actor.entries.recv() => actor.entry(entry).await,
            () = sleep_until(deadline) => actor.room.handle_timeout(clock::now()),
            _ = presence.tick() => actor.presence().await,
        }
        actor.settle().await;
        if actor.room.is_idle() && inputs.is_empty() {
            break;
        }
    }
    actor.finish(inputs).await;
}

async fn open(hub: &Arc<Hub>, name: &RoomName) -> (Room, mpsc::Receiver<Arc<Entry>>) {
    let opened = loop {
        match hub.store.open(name).await {
            Ok(opened) => break opened,
            Err(error) => tracing::error!(room = %name, %error, "cannot open the room, trying on"),
        }
        tokio::time::sleep(STORE_PAUSE).await;
    };
    let Opened {
        epoch,
        offset,
        participants,
        entries,
    } = opened;
    let history = (epoch, Roster::new(offset, participants));
    let config = Arc::clone(&hub.room_config);
    let media = *hub.media.borrow();
    (Room::new(name.clone(), config, history, media), entries)
}

async fn sleep_until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

impl Actor {
    async fn handle(&mut self, input: RoomInput) {
        let now = clock::now();
        match input {
            RoomInput::Join {
                socket,
                outbox,
                request,
            } => {
                self.outbox_by_socket.insert(socket, outbox);
                let missed = self.missed(&request).await;
                self.room.handle_join(socket, request, missed, now);
            }
            RoomInput::Request {
                socket,
                id,
                request,
            } => self.room.handle_request(socket, id, request, now),
            RoomInput::SocketGone(socket) => {
                self.outbox_by_socket.remove(&socket);
                self.room.handle_socket_gone(socket, now);
            }
            RoomInput::Replied(session, result) => self.room.handle_replied(&session, result, now),
            RoomInput::Node(event) => self.room.handle_node_event(event, now),
            RoomInput::MediaLost => self.room.handle_media_lost(now),
            RoomInput::MediaSynced(sessions) => self.room.handle_media_synced(sessions, now),
            RoomInput::Report(sender) => {
                // Whoever asked may have given up.
                let _ = sender.send(self.room.report());
            }
        }
    }

    /// Does everything the room wants done, and what follows from that.
    async fn settle(&mut self) {
        while let Some(output) = self.room.poll_output() {
            match output {
                Output::Send { socket, frame } => {
                    if let Some(outbox) = self.outbox_by_socket.get(&socket) {
                        outbox.send(frame);
                    }
                }
                Output::Close {
                    socket,
                    code,
                    reason,
                } => {
                    if let Some(outbox) = self.outbox_by_socket.remove(&socket) {
                        outbox.end((code, reason));
                    }
                }
                Output::Append { append, then } => {
                    let appended = self.append(append).await;
                    self.room.handle_appended(then, appended, clock::now());
                }
                Output::Call { session, call } => {
                    let (hub, name) = (Arc::clone(&self.hub), self.name.clone());
                    tokio::spawn(async move {
                        let result = hub.node.call(call).await;
                        hub.tell(&name, RoomInput::Replied(session, result)).await;
                    });
                }
                Output::Serve { participant, here } => {
                    let rooms = &mut self.hub.routes().room_by_participant;
                    if here {
                        rooms.insert(participant, self.name.clone());
                    } else {
                        rooms.remove(&participant);
                    }
                }
                Output::Hear { track, here } => {
                    let rooms = &mut self.hub.routes().room_by_track;
                    if here {
                        rooms.insert(track, self.name.clone());
                    } else {
                        rooms.remove(&track);
                    }
                }
            }
        }
        let participants = self.room.member_ids().len().try_into().unwrap_or(i64::MAX);
        self.hub
            .metrics
            .participants
            .inc_by(participants - self.participants);
        self.participants = participants;
    }

    async fn append(&mut self, append: Append) -> Result<u64, StoreError> {
        let appended = self.hub.store.append(&self.name, append).await;
        match &appended {
            Ok(offset) => {
                self.hub.metrics.events.inc();
                while self.room.offset() < *offset {
                    let entry = self.entries.recv().await;
                    self.entry(entry).await;
                }
            }
            Err(error) => {
                self.hub.metrics.store_failures.inc();
                tracing::error!(room = %self.name, %error, "event lost");
            }
        }
        appended
    }

    /// The next entry, or the end of the reader: then the history is read.
    async fn entry(&mut self, entry: Option<Arc<Entry>>) {
        match entry {
            Some(entry) if entry.offset == self.room.offset() + 1 => {
                self.room.handle_entry(&entry, clock::now());
            }
            Some(entry) if entry.offset <= self.room.offset() => {}
            Some(_) | None => self.catch_up().await,
        }
    }

    async fn catch_up(&mut self) {
        let opened = loop {
            match self.hub.store.open(&self.name).await {
                Ok(opened) => break opened,
                Err(error) => tracing::error!(room = %self.name, %error, "cannot read the history"),
            }
            tokio::time::sleep(STORE_PAUSE).await;
        };
        self.entries = opened.entries;
        let offset = self.room.offset();
        let missed = self
            .hub
            .store
            .since(&self.name, self.room.epoch(), offset)
            .await;
        match missed {
            Ok(Missed::Entries(entries)) => {
                for entry in entries {
                    self.room.handle_entry(&entry, clock::now());
                }
            }
            // The history started over behind our back: everybody comes back to the new one.
            Ok(Missed::TooOld) | Err(_) => {
                tracing::error!(room = %self.name, "history lost, sockets are sent to resync");
                for (_, outbox) in self.outbox_by_socket.drain() {
                    outbox.end((CloseCode::GoingAway, "the room's history was lost"));
                }
                let history = (
                    opened.epoch,
                    Roster::new(opened.offset, opened.participants),
                );
                let config = Arc::clone(&self.hub.room_config);
                let media = *self.hub.media.borrow();
                self.room = Room::new(self.name.clone(), config, history, media);
                if let Ok(state) = self.hub.node.sessions().await {
                    let ours = |s: &spillway_wire::dataplane::Session| {
                        let annotation = crate::room::SessionAnnotation::decode(&s.annotation);
                        annotation.is_some_and(|annotation| annotation.room == self.name)
                    };
                    let sessions = state.sessions.into_iter().filter(ours).collect();
                    self.room.handle_media_synced(sessions, clock::now());
                }
            }
        }
    }

    async fn missed(&self, join: &JoinRequest) -> Missed {
        let Some(resume) = &join.resume else {
            return Missed::TooOld;
        };
        let store = &self.hub.store;
        let missed = store.since(&self.name, &resume.epoch, resume.offset).await;
        missed.unwrap_or_else(|error| {
            tracing::warn!(room = %self.name, %error, "history unreadable, resync");
            Missed::TooOld
        })
    }

    async fn presence(&mut self) {
        let members = self.room.member_ids();
        let touched = self
            .hub
            .store
            .touch(&self.name, &members, PRESENCE_TIME)
            .await;
        let absent = self.hub.store.absent(&self.name).await;
        match (touched, absent) {
            (Ok(()), Ok(absent)) => {
                for participant in absent {
                    self.room.handle_absent(&participant);
                }
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(room = %self.name, %error, "presence not kept");
            }
        }
    }

    async fn finish(mut self, mut inputs: mpsc::Receiver<RoomInput>) {
        inputs.close();
        for track in self
            .room
            .report()
            .participants
            .into_iter()
            .flat_map(|p| p.tracks)
        {
            self.hub.routes().room_by_track.remove(&track.track);
        }
        // Dropping the reader lets the store forget the room.
        self.entries.close();
        let (_, nothing) = mpsc::channel(1);
        self.entries = nothing;
        if let Err(error) = self.hub.store.close(&self.name).await {
            tracing::warn!(room = %self.name, %error, "room not closed in the store");
        }
        self.hub.retire(&self.name);
        while let Some(input) = inputs.recv().await {
            self.hub.tell(&self.name, input).await;
        }
    }
}
