//! The state of one signaling socket, without I/O.
//!
//! Contract: call `handle_*` for each input, then drain [`Session::poll_output`]. At the time of
//! [`Session::poll_timeout`] call [`Session::handle_timeout`]. The session decodes messages, limits
//! their rate, and checks token and grants. Permitted requests go to the room. [`Output::Close`] is
//! the last output.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::TokenBucket;
use super::dialect::spillway::{
    self, ClientMessage, Join, Resume, ServerMessage, Stage, Undecodable,
};
use super::upgrade::OverQuota;
use crate::auth::{Entry, Grants, Keys, ResumeClaims, ResumeRefused, TokenRefused};
use crate::config::SignalingLimits;
use crate::hub::Frame;
use crate::json;
use crate::limits::{
    BURST_SECONDS, BYTES_PER_MESSAGE, FIRST_MESSAGE_BYTES, IDLE_TIME, JOIN_TIME, STRIKES,
};
use crate::room::{CloseCode, ErrorCode, JoinRequest, Refusal, Request, ResumePoint};

/// An output for the task of the socket.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Write this message to the socket.
    Send(Frame),
    /// Send this join to the room. All later requests go to the same room.
    Join(JoinRequest),
    /// Send this request to the room.
    Request {
        /// Id of the request, repeated in the reply.
        id: Option<u32>,
        /// The request, which the token permits.
        request: Request,
    },
    /// Close the socket with a code.
    Close {
        /// Code of the close frame.
        code: CloseCode,
        /// Reason in the close frame.
        reason: String,
    },
}

#[derive(Debug)]
enum State {
    AwaitingJoin { until: Instant },
    Joined { grants: Grants },
    Closed,
}

/// One signaling socket: waits for `join`, then has joined, then is closed.
#[derive(Debug)]
pub struct Session {
    keys: Arc<Keys>,
    limits: SignalingLimits,
    state: State,
    messages: TokenBucket,
    strikes: TokenBucket,
    last_received: Instant,
    foreign: Option<String>,
    outputs: VecDeque<Output>,
}

impl Session {
    /// A session of a socket that was opened at `now`.
    pub fn new(keys: Arc<Keys>, limits: SignalingLimits, now: Instant) -> Self {
        let rate = limits.messages_per_second;
        let most = spillway::Request::MAX_COST + units_of_length(limits.message_bytes);
        let burst = rate.saturating_mul(BURST_SECONDS).max(most);
        Self {
            keys,
            limits,
            state: State::AwaitingJoin {
                until: now + JOIN_TIME,
            },
            messages: TokenBucket::new(burst, rate, now),
            strikes: TokenBucket::new(STRIKES, 1, now),
            last_received: now,
            foreign: None,
            outputs: VecDeque::new(),
        }
    }

    /// Sets the reason why the page's origin must not use demo tokens; `None` if it may.
    pub fn of_origin(self, foreign: Option<String>) -> Self {
        Self { foreign, ..self }
    }

    /// Handles one text frame of the client.
    pub fn handle_text(&mut self, text: &str, now: Instant, unix_s: u64) {
        self.last_received = now;
        if matches!(self.state, State::Closed) {
            return;
        }
        if text.len() > self.message_bytes() {
            return self.end_oversized(json::id_of(text), text.len());
        }
        // A message counts as one before it is parsed, and additionally by its length.
        let read = 1 + units_of_length(text.len());
        if !self.messages.take_all(read, now) {
            return self.refuse_too_fast(json::id_of(text), read, now);
        }
        let stage = match self.state {
            State::AwaitingJoin { .. } => Stage::BeforeJoin,
            State::Joined { .. } | State::Closed => Stage::Joined,
        };
        match spillway::decode_at(text, stage) {
            Err(Undecodable { id, refusal }) => self.refuse(id, &refusal, now),
            Ok(message) => {
                let cost = message.request.cost();
                if self.messages.take_all(cost - 1, now) {
                    self.handle_message(message, now, unix_s);
                } else {
                    self.refuse_too_fast(message.id, cost, now);
                }
            }
        }
    }

    /// Maximum size of a message in the current state, in bytes.
    pub fn message_bytes(&self) -> usize {
        match self.state {
            State::AwaitingJoin { .. } => FIRST_MESSAGE_BYTES,
            State::Joined { .. } | State::Closed => self.limits.message_bytes,
        }
    }

    fn refuse_too_fast(&mut self, id: Option<u32>, cost: u32, now: Instant) {
        let rate = self.limits.messages_per_second;
        let counted = match cost {
            1 => String::new(),
            cost => format!(", and this one counts as {cost}"),
        };
        let message = format!("more than {rate} messages per second{counted}");
        self.refuse(id, &Refusal::new(ErrorCode::TooFast, message), now);
    }

    /// Handles a binary frame, which the protocol does not have.
    pub fn handle_binary(&mut self, bytes: &[u8], now: Instant) {
        self.last_received = now;
        let id = std::str::from_utf8(bytes).ok().and_then(json::id_of);
        let read = 1 + units_of_length(bytes.len());
        if !self.messages.take_all(read, now) {
            return self.refuse_too_fast(id, read, now);
        }
        let refusal = Refusal::new(ErrorCode::BadMessage, "messages are text frames");
        self.refuse(id, &refusal, now);
    }

    /// Handles a frame that was too large to be read. `bytes` is the known part of its size.
    pub fn handle_oversized(&mut self, bytes: usize) {
        self.end_oversized(None, bytes);
    }

    fn end_oversized(&mut self, id: Option<u32>, bytes: usize) {
        let limit = self.message_bytes();
        let when = match self.state {
            State::AwaitingJoin { .. } => " before join",
            State::Joined { .. } | State::Closed => "",
        };
        let message = format!("message has {bytes} bytes or more, the limit{when} is {limit}");
        self.end_too_large(id, message);
    }

    /// Handles a socket that sent more bytes before `join` than allowed, in any number of messages.
    pub(super) fn handle_over_quota(&mut self, said: &OverQuota) {
        self.end_too_large(None, said.to_string());
    }

    fn end_too_large(&mut self, id: Option<u32>, message: String) {
        let refusal = Refusal::new(ErrorCode::TooLarge, message);
        self.send(spillway::refusal(id, &refusal));
        self.close(CloseCode::TooLarge, &refusal.message);
    }

    /// Handles a ping or pong frame: the client is alive.
    pub fn handle_alive(&mut self, now: Instant) {
        self.last_received = now;
    }

    /// Closes the socket for the room or the process.
    pub fn handle_close(&mut self, code: CloseCode, reason: &str) {
        self.close(code, reason);
    }

    /// Time of the next [`Session::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let idle = self.last_received + IDLE_TIME;
        match &self.state {
            State::AwaitingJoin { until } => Some(idle.min(*until)),
            State::Joined { .. } => Some(idle),
            State::Closed => None,
        }
    }

    /// Handles timeouts that are due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let seconds = |time: Duration| time.as_secs();
        match &self.state {
            State::AwaitingJoin { until } if *until <= now => {
                let reason = format!("no join within {} s", seconds(JOIN_TIME));
                self.close(CloseCode::Silent, &reason);
            }
            State::AwaitingJoin { .. } | State::Joined { .. } => {
                if self.last_received + IDLE_TIME <= now {
                    let reason = format!("nothing received for {} s", seconds(IDLE_TIME));
                    self.close(CloseCode::Silent, &reason);
                }
            }
            State::Closed => {}
        }
    }

    /// The next output for the task of the socket.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            // An idle socket keeps no memory for outputs.
            self.outputs = VecDeque::new();
        }
        output
    }

    fn handle_message(&mut self, message: ClientMessage, now: Instant, unix_s: u64) {
        let ClientMessage { id, request } = message;
        let request = match (&self.state, request) {
            (State::Closed, _) => return,
            (_, spillway::Request::Ping {}) => {
                return self.send(spillway::plain(&ServerMessage::Pong { id }));
            }
            (State::AwaitingJoin { .. }, spillway::Request::Join(join)) => {
                return self.join(id, join, unix_s);
            }
            (State::Joined { .. }, spillway::Request::Join(_)) => {
                let refusal = Refusal::new(ErrorCode::AlreadyJoined, "this socket has joined");
                return self.refuse(id, &refusal, now);
            }
            (_, request) => request,
        };
        // Before `join`, other messages are refused by the decoder.
        let (State::Joined { grants }, Some(request)) = (&self.state, request.into_room_request())
        else {
            return;
        };
        match request.permitted_by(grants) {
            Ok(()) => self.outputs.push_back(Output::Request { id, request }),
            Err(refused) => {
                let refusal = Refusal::new(ErrorCode::NotPermitted, refused.to_string());
                self.refuse(id, &refusal, now);
            }
        }
    }

    fn join(&mut self, id: Option<u32>, join: Join, unix_s: u64) {
        match self.check(&join, unix_s) {
            Ok(mut request) => {
                request.id = id;
                self.state = State::Joined {
                    grants: request.grants.clone(),
                };
                self.outputs.push_back(Output::Join(request));
            }
            Err(refusal) => {
                self.send(spillway::refusal(id, &refusal));
                self.close(CloseCode::TokenRefused, &refusal.message);
            }
        }
    }

    fn check(&self, join: &Join, unix_s: u64) -> Result<JoinRequest, Refusal> {
        let entry = self
            .keys
            .check(&join.token, unix_s, self.limits.token_leeway_s)
            .map_err(refusal)?;
        if let Some(foreign) = self.foreign.as_ref().filter(|_| entry.is_demo) {
            return Err(Refusal::new(ErrorCode::NotPermitted, foreign.clone()));
        }
        let proven = self.check_resume(join, &entry, unix_s)?;
        // A valid token sets the grants. From an expired token only the identity is used.
        let (grants, token_ends_s) = match (entry.expired, &proven) {
            (None, _) => (entry.grants, entry.ends_s),
            (Some(_), Some(proven)) => (proven.grants.clone(), proven.token_ends_s),
            (Some(age_s), None) => return Err(refusal(TokenRefused::Expired(age_s))),
        };
        let resume = match (proven, &join.resume) {
            (Some(proven), Some(resume)) => {
                let ends_s = entry.expired.map(|age_s| {
                    let ends_s = proven.stays_until(self.limits.resume_allowance_s);
                    (age_s, ends_s)
                });
                if let Some((age_s, ends_s)) = ends_s
                    && ends_s <= unix_s
                {
                    let said = format!(
                        "token expired {age_s} s ago, and the time to come back without another ended {} s ago",
                        unix_s - ends_s
                    );
                    return Err(Refusal::new(ErrorCode::TokenExpired, said));
                }
                Some(resume_point(
                    resume,
                    proven,
                    ends_s.map(|(_, ends_s)| ends_s),
                ))
            }
            _ => None,
        };
        Ok(JoinRequest {
            id: None,
            room: entry.room,
            identity: entry.identity,
            name: entry.name,
            grants,
            auto_subscribe: join.auto_subscribe,
            resume,
            token_ends_s,
            expired: entry.expired,
            unix_s,
        })
    }

    /// Checks the resume key. `None` if there is no key, or if it has expired.
    fn check_resume(
        &self,
        join: &Join,
        entry: &Entry,
        unix_s: u64,
    ) -> Result<Option<ResumeClaims>, Refusal> {
        let Some(resume) = &join.resume else {
            return Ok(None);
        };
        let owner = (&entry.room, &resume.participant, &entry.identity);
        match self.keys.check_resume(&resume.key, owner, unix_s) {
            Ok(claims) => Ok(Some(claims)),
            // An expired key proves nothing, but a valid token still permits a new join.
            Err(ResumeRefused::Expired) => Ok(None),
            Err(error @ ResumeRefused::OtherRoom) => {
                Err(Refusal::new(ErrorCode::TokenWrongRoom, error.to_string()))
            }
            Err(error @ (ResumeRefused::Invalid | ResumeRefused::OtherParticipant)) => {
                Err(Refusal::new(ErrorCode::TokenInvalid, error.to_string()))
            }
        }
    }

    /// Sends an error. Before `join` it also closes the socket. After `join`, wrong messages count
    /// against the rate like all messages. Only a client that exceeds the rate for some time is
    /// disconnected; it may resume.
    fn refuse(&mut self, id: Option<u32>, refusal: &Refusal, now: Instant) {
        self.send(spillway::refusal(id, refusal));
        let is_flood = refusal.code == ErrorCode::TooFast;
        match self.state {
            State::AwaitingJoin { .. } if is_flood => {
                self.close(CloseCode::TooFast, &refusal.message);
            }
            State::AwaitingJoin { .. } => self.close(CloseCode::ProtocolError, &refusal.message),
            State::Joined { .. } if is_flood && !self.strikes.take(now) => {
                let reason = format!("too many messages, the last: {}", refusal.message);
                self.close(CloseCode::TooFast, &reason);
            }
            State::Joined { .. } | State::Closed => {}
        }
    }

    fn send(&mut self, frame: Frame) {
        if !matches!(self.state, State::Closed) {
            self.outputs.push_back(Output::Send(frame));
        }
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        if matches!(self.state, State::Closed) {
            return;
        }
        let after = match code {
            CloseCode::TooFast => Duration::from_secs(2),
            CloseCode::GoingAway => Duration::from_secs(1),
            CloseCode::Left
            | CloseCode::ProtocolError
            | CloseCode::TokenRefused
            | CloseCode::Silent
            | CloseCode::Replaced
            | CloseCode::TooLarge => Duration::ZERO,
        };
        if code != CloseCode::Left {
            self.send(spillway::plain(&ServerMessage::Closing {
                code: code.number(),
                reason,
                resume: code.resume(),
                after_ms: after.as_millis().try_into().unwrap_or(u64::MAX),
            }));
        }
        self.outputs.push_back(Output::Close {
            code,
            reason: reason.to_owned(),
        });
        self.state = State::Closed;
    }
}

/// The resume point that the key permits: events from before the participant's join are not sent.
fn resume_point(said: &Resume, proven: ResumeClaims, ends_s: Option<u64>) -> ResumePoint {
    let is_same = said.epoch == proven.epoch;
    ResumePoint {
        participant: proven.participant,
        seen: is_same.then(|| (said.epoch.clone(), said.offset.max(proven.since))),
        since: (proven.epoch, proven.since),
        grants: proven.grants,
        joined_s: proven.joined_s,
        ends_s,
    }
}

/// Number of messages that a message of `bytes` additionally counts as.
fn units_of_length(bytes: usize) -> u32 {
    u32::try_from(bytes / BYTES_PER_MESSAGE).unwrap_or(u32::MAX)
}

/// Converts a refused token into an error of the protocol.
fn refusal(refused: TokenRefused) -> Refusal {
    let code = match &refused {
        TokenRefused::Invalid(_) => ErrorCode::TokenInvalid,
        TokenRefused::Expired(_) => ErrorCode::TokenExpired,
        TokenRefused::NoJoin => ErrorCode::NotPermitted,
    };
    Refusal::new(code, refused.to_string())
}
