//! A session's commands in their order: one on its way to the data plane, the others waiting.
//!
//! A lane outlives its participant until the session is closed, so that nothing is left behind.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::ids::TrackId;
use crate::limits::LANE_CALLS;
use crate::signaling::Offer;

use super::SocketId;
use super::member::Published;

/// Whom to answer, and with which number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReplyTo {
    pub(super) socket: SocketId,
    pub(super) id: Option<u32>,
}

/// Something a session needs done; turned into a command when its turn comes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Job {
    /// The client's publish offer.
    Offer { to: ReplyTo, offer: Offer },
    /// The client's answer to a subscribe offer.
    Answer {
        to: ReplyTo,
        revision: u64,
        sdp: String,
    },
    /// A trickled candidate.
    Candidate { to: ReplyTo, candidate: String },
    /// The track's mute state, as the room knows it.
    Annotate { track: TrackId },
    /// Create the subscribe session.
    Create,
    /// Bring what is subscribed to what is wanted.
    Subscribe,
    /// End the session.
    Close { reason: &'static str },
}

/// What a command on its way is for.
#[derive(Debug)]
pub(super) enum InFlight {
    Offer {
        to: ReplyTo,
        tracks: BTreeMap<TrackId, Published>,
    },
    Answer {
        to: ReplyTo,
        revision: u64,
    },
    Candidate {
        to: ReplyTo,
    },
    Annotate,
    Create,
    Subscribe {
        tracks: Vec<TrackId>,
    },
    Close {
        reason: &'static str,
    },
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Lane {
    waiting: VecDeque<Job>,
    /// A command is with the data plane; its reply is for `InFlight`.
    pub(super) in_flight: Option<InFlight>,
    /// Nothing is sent before.
    pub(super) paused_until: Option<Instant>,
    /// The participant is gone.
    pub(super) closing: bool,
}

impl Lane {
    /// False when the lane is full.
    #[must_use]
    pub(super) fn push(&mut self, job: Job) -> bool {
        let own = matches!(job, Job::Create | Job::Subscribe | Job::Close { .. });
        if own && self.waiting.contains(&job) {
            return true;
        }
        if self.waiting.len() >= LANE_CALLS && !own {
            return false;
        }
        self.waiting.push_back(job);
        true
    }

    /// Nothing else matters any more.
    pub(super) fn close(&mut self, reason: &'static str) {
        self.closing = true;
        self.waiting.clear();
        self.waiting.push_back(Job::Close { reason });
        self.paused_until = None;
    }

    /// The next job, if the lane is free.
    pub(super) fn take(&mut self, now: Instant) -> Option<Job> {
        if self.in_flight.is_some() || self.paused_until.is_some_and(|until| until > now) {
            return None;
        }
        self.paused_until = None;
        self.waiting.pop_front()
    }

    /// Does `job` again after `pause`.
    pub(super) fn again(&mut self, job: Job, pause: Duration, now: Instant) {
        if !self.waiting.contains(&job) {
            self.waiting.push_front(job);
        }
        self.paused_until = Some(now + pause);
    }

    /// Jobs nobody needs once the session is lost; those whose client waits are returned.
    pub(super) fn reset(&mut self) -> Vec<ReplyTo> {
        let waiting = std::mem::take(&mut self.waiting);
        self.paused_until = None;
        let reply_to = |job| match job {
            Job::Offer { to, .. } | Job::Answer { to, .. } | Job::Candidate { to, .. } => Some(to),
            Job::Annotate { .. } | Job::Create | Job::Subscribe | Job::Close { .. } => None,
        };
        waiting.into_iter().filter_map(reply_to).collect()
    }

    /// Whether the session is closed and the lane has nothing to do.
    pub(super) fn is_done(&self) -> bool {
        self.closing && self.waiting.is_empty() && self.in_flight.is_none()
    }
}
