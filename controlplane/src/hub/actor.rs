//! The task of one room: inputs in, outputs done, until the room has nothing to do.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::audience::Audience;
use super::{Hub, RoomInput};
use crate::clock;
use crate::history::{Append, Change, Missed, Restart};
use crate::history::{MissedByRestart, Participant, Roster};
use crate::ids::{Epoch, ParticipantId, RoomName, SessionId};
use crate::limits::{APPEND_EVENTS, PRESENCE_TIME};
use crate::node::Call;
use crate::room::{Media, Output, Room, SocketId, Then, sessions_of};
use crate::signaling::{CloseCode, ErrorCode, Frame, JoinRequest, Refusal, Request};
use crate::store::{News, Opened, Placed, StoreError, Stored};

/// Before the store is asked again after it failed.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// Inputs handled before anything is done that follows from them.
const INPUTS_AT_ONCE: usize = 64;

/// What follows once the store has an event.
type Confirmation = Pin<Box<dyn Future<Output = (Then, Result<u64, StoreError>)> + Send + Sync>>;

struct Actor {
    hub: Arc<Hub>,
    name: RoomName,
    room: Room,
    news: mpsc::Receiver<News>,
    audience: Audience,
    /// Messages that are numbered, and wait for the store to have them.
    unconfirmed: FuturesUnordered<Confirmation>,
    participants: i64,
}

pub(super) async fn run(hub: Arc<Hub>, name: RoomName, mut inputs: mpsc::Receiver<RoomInput>) {
    let (room, news) = match open(&hub, &name).await {
        Ok(opened) => opened,
        Err(error) => return turn_away(&hub, &name, inputs, &error).await,
    };
    let mut actor = Actor {
        hub,
        name,
        room,
        news,
        audience: Audience::default(),
        unconfirmed: FuturesUnordered::new(),
        participants: 0,
    };
    actor.settle().await;
    let mut presence = tokio::time::interval(PRESENCE_TIME / 3);
    let mut next = None;
    loop {
        if let Some(input) = next.take() {
            actor.handle(input).await;
            next = actor.handle_messages(&mut inputs);
            actor.settle().await;
            continue;
        }
        let deadline = actor.room.poll_timeout(clock::now());
        let news_deadline = actor.audience.poll_timeout(clock::now());
        tokio::select! {
            input = inputs.recv() => match input {
                Some(input) => next = Some(input),
                None => break,
            },
            Some((then, result)) = actor.unconfirmed.next() => {
                actor.room.handle_appended(then, result, clock::now());
            }
            news = actor.news.recv() => actor.told(news).await,
            () = sleep_until(deadline) => actor.room.handle_timeout(clock::now()),
            () = sleep_until(news_deadline) => {} // they are told when all else is done
            _ = presence.tick() => actor.presence().await,
        }
        actor.settle().await;
        if next.is_none() && actor.room.is_idle(clock::now()) && inputs.is_empty() {
            break;
        }
    }
    actor.finish(inputs).await;
}

async fn open(hub: &Arc<Hub>, name: &RoomName) -> Result<(Room, mpsc::Receiver<News>), StoreError> {
    let opened = hub.store.open(name).await?;
    let Opened {
        epoch,
        offset,
        participants,
        news,
        restart: _,
    } = opened;
    let history = (epoch, Roster::new(offset, participants));
    let config = Arc::clone(&hub.room_config);
    let media = *hub.media.borrow();
    let room = Room::new(name.clone(), config, history, media, clock::now());
    Ok((room, news))
}

/// A room the store does not give: who wants in is told to come again.
async fn turn_away(
    hub: &Arc<Hub>,
    name: &RoomName,
    mut inputs: mpsc::Receiver<RoomInput>,
    error: &StoreError,
) {
    tracing::error!(room = ?name, %error, "cannot open the room");
    inputs.close();
    while let Some(input) = inputs.recv().await {
        if let RoomInput::Join {
            outbox, request, ..
        } = input
        {
            let refusal = Refusal::new(ErrorCode::StoreUnavailable, error.to_string());
            outbox.send(Frame::refusal(request.id, &refusal));
            outbox.end((CloseCode::GoingAway, "the store does not answer"));
        }
    }
    hub.retire(name);
}

async fn sleep_until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

impl Actor {
    /// Handles messages of participants that wait, so that the store is told of all of them at once; the first
    /// input that is none.
    fn handle_messages(&mut self, inputs: &mut mpsc::Receiver<RoomInput>) -> Option<RoomInput> {
        for _ in 0..INPUTS_AT_ONCE {
            match inputs.try_recv().ok()? {
                RoomInput::Request {
                    socket,
                    id,
                    request: request @ Request::Message { .. },
                } => {
                    let time = (clock::now(), clock::unix_seconds());
                    self.room.handle_request(socket, id, request, time);
                }
                other => return Some(other),
            }
        }
        None
    }

    async fn handle(&mut self, input: RoomInput) {
        let now = clock::now();
        match input {
            RoomInput::Join {
                socket,
                outbox,
                request,
            } => {
                self.audience.enter(socket, outbox);
                self.join(socket, request).await;
            }
            RoomInput::Request {
                socket,
                id,
                request,
            } => {
                let time = (now, clock::unix_seconds());
                self.room.handle_request(socket, id, request, time);
            }
            RoomInput::SocketGone(socket) => {
                self.audience.leave(socket);
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

    async fn join(&mut self, socket: SocketId, request: JoinRequest) {
        if !self.room.admit(socket, &request, clock::now()) {
            return;
        }
        let missed = self.missed(&request).await;
        let Some(participant) = self.room.comes_from_elsewhere(&request) else {
            return self.room.handle_join(socket, request, missed, clock::now());
        };
        if let Err(error) = self.hub.store.claim(&self.name, &participant).await {
            // Whoever served it finds out when the store is back.
            tracing::warn!(room = ?self.name, %error, "participant taken over unheard");
        }
        let sessions = self.hub.node.sessions(sessions_of(&participant)).await;
        let sessions = sessions.map_or_else(|_| Vec::new(), |state| state.sessions);
        let about = (missed, sessions);
        self.room
            .handle_takeover((socket, &participant), request, about, clock::now());
    }

    /// Does everything the room wants done, and what follows from that.
    async fn settle(&mut self) {
        let mut next = self.room.poll_output();
        while let Some(output) = next {
            match output {
                Output::Send { socket, frame } => self.audience.send(socket, frame),
                Output::Tell { frame } => self.audience.tell(&frame),
                Output::Whisper {
                    sockets,
                    frame,
                    private,
                } => self
                    .audience
                    .whisper(&sockets, (&frame, &private), clock::now()),
                Output::Close {
                    socket,
                    code,
                    reason,
                } => {
                    if let Some(outbox) = self.audience.leave(socket) {
                        outbox.end((code, reason));
                    }
                }
                Output::Append { append, then } => {
                    next = self.append((append, then)).await;
                    continue;
                }
                Output::Publish { message } => {
                    if let Err(error) = self.hub.store.publish(&self.name, message) {
                        tracing::warn!(room = ?self.name, %error, "a message is not passed on");
                    }
                }
                Output::Call { session, call } => self.call(session, call),
                Output::Take { sessions } => self.take(sessions),
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
            next = self.room.poll_output();
        }
        self.audience.handle_timeout(clock::now());
        let participants = self.room.members().try_into().unwrap_or(i64::MAX);
        self.hub
            .metrics
            .participants
            .inc_by(participants - self.participants);
        self.participants = participants;
    }

    fn call(&self, session: SessionId, call: Call) {
        let (hub, name) = (Arc::clone(&self.hub), self.name.clone());
        tokio::spawn(async move {
            let result = hub.node.call(call).await;
            hub.tell(&name, RoomInput::Replied(session, result)).await;
        });
    }

    /// The lease of this server keeps `sessions` from now on.
    fn take(&self, sessions: Vec<SessionId>) {
        let hub = Arc::clone(&self.hub);
        tokio::spawn(async move {
            let owner = &hub.room_config.owner;
            if let Err(error) = hub.node.take(owner, sessions).await {
                // The next read of the data plane's state shows whose they are.
                tracing::warn!(%error, "sessions not taken over");
            }
        });
    }

    /// Appends the event, together with events after it that change no participant. Returns the first output that is not
    /// appended with them.
    async fn append(&mut self, first: (Append, Then)) -> Option<Output> {
        let mut next = None;
        let mut batch = vec![first];
        while batch[0].0.change == Change::None && batch.len() < APPEND_EVENTS {
            match self.room.poll_output() {
                Some(Output::Append { append, then }) if append.change == Change::None => {
                    batch.push((append, then));
                }
                other => {
                    next = other;
                    break;
                }
            }
        }
        let (appends, thens): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let store = Arc::clone(&self.hub.store);
        let placing = appends
            .into_iter()
            .map(|append| store.place(&self.name, append));
        let placed = futures_util::future::join_all(placing).await;
        for (placed, then) in placed.into_iter().zip(thens) {
            self.placed(placed, then).await;
        }
        // What follows from these events comes after what was queued before.
        match next {
            Some(next) => Some(next),
            None => self.room.poll_output(),
        }
    }

    async fn placed(&mut self, placed: Result<Placed, StoreError>, then: Then) {
        let offset = match placed {
            Ok(Placed { offset, stored }) => {
                self.hub.metrics.events.inc();
                let epoch = self.room.epoch().clone();
                while self.room.offset() < offset && *self.room.epoch() == epoch {
                    let news = self.news.recv().await;
                    self.told(news).await;
                }
                if let (Then::Confirm { .. }, Stored::Later(is_stored)) = (&then, stored) {
                    let waiting = async move {
                        let lost = |_| StoreError::Unavailable("the event is lost".into());
                        (then, is_stored.await.map(|()| offset).map_err(lost))
                    };
                    self.unconfirmed.push(Box::pin(waiting));
                    return;
                }
                Ok(offset)
            }
            Err(error) => {
                if !matches!(error, StoreError::NotOurs(_)) {
                    self.hub.metrics.store_failures.inc();
                    tracing::error!(room = ?self.name, %error, "event lost");
                }
                Err(error)
            }
        };
        self.room.handle_appended(then, offset, clock::now());
    }

    /// The next event, or the end of the reader: then the history is read.
    async fn told(&mut self, news: Option<News>) {
        match news {
            Some(News::Entry(entry)) if entry.offset == self.room.offset() + 1 => {
                self.room.handle_entry(&entry, clock::now());
            }
            Some(News::Entry(entry)) if entry.offset <= self.room.offset() => {}
            Some(News::Message(message)) => self.room.handle_ephemeral(&message),
            Some(News::Taken(participant)) => self.room.handle_taken(&participant),
            Some(News::Entry(_)) | None => self.catch_up().await,
        }
    }

    async fn catch_up(&mut self) {
        let opened = loop {
            match self.hub.store.open(&self.name).await {
                Ok(opened) => break opened,
                Err(error) => tracing::error!(room = ?self.name, %error, "cannot read the history"),
            }
            tokio::time::sleep(STORE_PAUSE).await;
        };
        self.news = opened.news;
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
            // The history started over behind our back: everybody is told the whole truth.
            Ok(Missed::TooOld) | Err(_) => {
                tracing::warn!(room = ?self.name, "the history started over, participants resync");
                let missed = match &opened.restart {
                    Some(restart) if opened.epoch != *self.room.epoch() => {
                        self.missed_by_restart(&opened.epoch, restart).await
                    }
                    Some(_) | None => MissedByRestart::default(),
                };
                let roster = Roster::new(opened.offset, opened.participants);
                let time = (clock::now(), clock::unix_seconds());
                self.room
                    .handle_restarted((opened.epoch, roster), &missed, time);
            }
        }
    }

    /// What the new history has that was not told here under its numbers.
    async fn missed_by_restart(&self, epoch: &Epoch, restart: &Restart) -> MissedByRestart {
        let store = &self.hub.store;
        match store.since(&self.name, epoch, restart.common).await {
            Ok(Missed::Entries(entries)) => MissedByRestart::new(entries, &restart.told),
            Ok(Missed::TooOld) => MissedByRestart::default(),
            Err(error) => {
                tracing::warn!(room = ?self.name, %error, "history unreadable, a snapshot alone");
                MissedByRestart::default()
            }
        }
    }

    async fn missed(&self, join: &JoinRequest) -> Missed {
        let seen = join.resume.as_ref().and_then(|resume| resume.seen.as_ref());
        let Some((epoch, offset)) = seen else {
            return Missed::TooOld;
        };
        let store = &self.hub.store;
        let missed = store.since(&self.name, epoch, *offset).await;
        missed.unwrap_or_else(|error| {
            tracing::warn!(room = ?self.name, %error, "history unreadable, resync");
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
                for participant in self.without_lease(absent).await {
                    self.room.handle_absent(&participant);
                }
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(room = ?self.name, %error, "presence not kept");
            }
        }
    }

    /// Those of `absent` whose sessions nobody's lease keeps. A server that is cut off from the store alone goes on
    /// serving its participants, and renews.
    async fn without_lease(&self, mut absent: Vec<Participant>) -> Vec<Participant> {
        if absent.is_empty() || *self.hub.media.borrow() == Media::Lost {
            return absent;
        }
        let sessions = absent.iter().flat_map(|p| sessions_of(&p.participant));
        let held = match self.hub.node.sessions(sessions.collect()).await {
            Ok(state) => state.sessions,
            Err(error) => {
                tracing::warn!(room = ?self.name, %error, "nobody is taken for absent");
                return Vec::new();
            }
        };
        let owner = &self.hub.room_config.owner;
        let leased = held
            .iter()
            .filter(|session| session.lease_ms > 0 && session.owner != *owner)
            .filter_map(|session| SessionId::parse(&session.session));
        let leased: HashSet<ParticipantId> = leased.map(|(participant, _)| participant).collect();
        absent.retain(|participant| !leased.contains(&participant.participant));
        absent
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
        self.news.close();
        let (_, nothing) = mpsc::channel(1);
        self.news = nothing;
        if let Err(error) = self.hub.store.close(&self.name).await {
            tracing::warn!(room = ?self.name, %error, "room not closed in the store");
        }
        self.hub.retire(&self.name);
        while let Some(input) = inputs.recv().await {
            self.hub.tell(&self.name, input).await;
        }
    }
}
