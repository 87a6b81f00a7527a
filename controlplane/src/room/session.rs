//! A session of a participant: its state on its node, and a queue of jobs. One command is in flight
//! at a time.
//!
//! A session stays here after its participant has left, until the node has closed it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::{PublishOffer, SocketId};
use crate::fleet::{Offer, Published};
use crate::ids::{NodeId, TrackId};
use crate::limits::SESSION_JOBS;

/// The socket and the request id that a reply goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReplyTo {
    pub(super) socket: SocketId,
    pub(super) id: Option<u32>,
}

/// A task of a session. It becomes a command when it is the first in the queue.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Job {
    /// The client's publish offer.
    Offer { to: ReplyTo, offer: PublishOffer },
    /// The client's answer to a subscribe offer.
    Answer {
        to: ReplyTo,
        revision: u64,
        sdp: String,
    },
    /// Pass a trickled candidate to the node.
    Candidate { to: ReplyTo, candidate: String },
    /// Send the mute state of the track to the node.
    Mute { track: TrackId },
    /// Create the subscribe session.
    Create,
    /// Update the subscriptions on the node.
    Subscribe,
    /// End the session on the node.
    Close { reason: &'static str },
}

/// The job of the command in flight, with the data needed for its result.
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
    Mute,
    Create,
    Subscribe {
        tracks: Vec<TrackId>,
    },
    Close {
        reason: &'static str,
    },
    /// A command of the room itself, from before the session began again. It may or may not have
    /// changed the subscriptions of `tracks`.
    Earlier {
        tracks: Vec<TrackId>,
    },
}

/// One session, its state and its jobs.
#[derive(Debug)]
pub(super) struct Session {
    /// Node of the session.
    pub(super) node: NodeId,
    pub(super) state: State,
    waiting: VecDeque<Job>,
    slot: CommandSlot,
}

/// State of a session on its node.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    /// The node has no such session.
    Absent,
    /// The node had no capacity, and the client was informed.
    Refused,
    /// The session ended. The publisher's tracks have no media. They are unpublished at `until`.
    Lost { until: Instant },
    /// The node has the session.
    Established {
        /// Shard of the connected session; `None` before it is connected.
        connected_shard: Option<u32>,
        /// The node's offer that the client has not answered.
        outstanding: Option<Offer>,
    },
    /// The session is being closed.
    Closing,
    /// The session is not this server's any more. It stays for the result of a command in flight,
    /// which must not be taken for that of a later command.
    Ended,
}

/// Whether the next command can be sent.
#[derive(Debug)]
enum CommandSlot {
    Free,
    /// A command is outstanding.
    InFlight(InFlight),
    /// A command failed. The next one is sent at `until`.
    Paused {
        until: Instant,
    },
}

impl State {
    /// Established, but not connected.
    pub(super) const NEW: Self = Self::Established {
        connected_shard: None,
        outstanding: None,
    };
}

impl Session {
    /// A session on `node`, which may not exist there yet.
    pub(super) fn new(node: NodeId, state: State) -> Self {
        Self {
            node,
            state,
            waiting: VecDeque::new(),
            slot: CommandSlot::Free,
        }
    }

    /// True if the node has the session, as far as the room knows.
    pub(super) fn is_established(&self) -> bool {
        matches!(self.state, State::Established { .. })
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state == State::Closing
    }

    /// True if the session is being closed, or is not this server's any more.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.state, State::Closing | State::Ended)
    }

    /// Time at which tracks without media are unpublished.
    pub(super) fn reoffer_until(&self) -> Option<Instant> {
        match self.state {
            State::Lost { until } => Some(until),
            State::Absent
            | State::Refused
            | State::Established { .. }
            | State::Closing
            | State::Ended => None,
        }
    }

    pub(super) fn connected_shard(&self) -> Option<u32> {
        match self.state {
            State::Established {
                connected_shard, ..
            } => connected_shard,
            State::Absent | State::Refused | State::Lost { .. } | State::Closing | State::Ended => {
                None
            }
        }
    }

    pub(super) fn outstanding(&self) -> Option<&Offer> {
        match &self.state {
            State::Established { outstanding, .. } => outstanding.as_ref(),
            State::Absent | State::Refused | State::Lost { .. } | State::Closing | State::Ended => {
                None
            }
        }
    }

    /// The node reports the shard of the session.
    pub(super) fn connected(&mut self, shard: Option<u32>) {
        if let State::Established {
            connected_shard, ..
        } = &mut self.state
        {
            *connected_shard = shard;
        }
    }

    /// Sets the node's unanswered offer. True if the client must get it.
    pub(super) fn offered(&mut self, offer: Option<&Offer>) -> bool {
        let revision = |offer: &Offer| offer.revision;
        let known = self.outstanding().map(revision);
        if !self.is_established() {
            self.state = State::NEW;
        }
        if let State::Established { outstanding, .. } = &mut self.state
            && known != offer.map(revision)
        {
            *outstanding = offer.cloned();
            return offer.is_some();
        }
        false
    }

    /// The node accepted the client's answer to the offer of `revision`.
    pub(super) fn answered(&mut self, revision: u64) {
        if let State::Established { outstanding, .. } = &mut self.state
            && outstanding.as_ref().is_some_and(|o| o.revision == revision)
        {
            *outstanding = None;
        }
    }

    /// Queues a job. False if too many jobs of the client wait; jobs of the room always fit.
    #[must_use]
    pub(super) fn push(&mut self, job: Job) -> bool {
        let own = matches!(job, Job::Create | Job::Subscribe | Job::Close { .. });
        if own && self.waiting.contains(&job) {
            return true;
        }
        if self.waiting.len() >= SESSION_JOBS && !own {
            return false;
        }
        self.waiting.push_back(job);
        true
    }

    /// Replaces all jobs with one that closes the session.
    pub(super) fn close(&mut self, reason: &'static str) {
        self.state = State::Closing;
        self.waiting.clear();
        self.waiting.push_back(Job::Close { reason });
        self.end_pause();
    }

    /// The next job, if no command is in flight.
    pub(super) fn next_job(&mut self, now: Instant) -> Option<Job> {
        match &self.slot {
            CommandSlot::InFlight(_) => return None,
            CommandSlot::Paused { until } if *until > now => return None,
            CommandSlot::Paused { .. } | CommandSlot::Free => self.slot = CommandSlot::Free,
        }
        self.waiting.pop_front()
    }

    /// A command was sent.
    pub(super) fn sent(&mut self, in_flight: InFlight) {
        self.slot = CommandSlot::InFlight(in_flight);
    }

    /// True if no job waits and no command has to be answered.
    pub(super) fn is_at_rest(&self) -> bool {
        self.waiting.is_empty() && !self.has_command_in_flight()
    }

    /// True while a command has no result.
    pub(super) fn has_command_in_flight(&self) -> bool {
        matches!(self.slot, CommandSlot::InFlight(_))
    }

    /// The job of the command whose result arrived.
    pub(super) fn replied(&mut self) -> Option<InFlight> {
        match std::mem::replace(&mut self.slot, CommandSlot::Free) {
            CommandSlot::InFlight(in_flight) => Some(in_flight),
            paused_or_free => {
                self.slot = paused_or_free;
                None
            }
        }
    }

    /// Queues `job` again, first in the queue, after `pause`.
    pub(super) fn retry(&mut self, job: Job, pause: Duration, now: Instant) {
        if !self.waiting.contains(&job) {
            self.waiting.push_front(job);
        }
        if !matches!(self.slot, CommandSlot::InFlight(_)) {
            self.slot = CommandSlot::Paused { until: now + pause };
        }
    }

    /// Ends the pause after a failed command.
    pub(super) fn end_pause(&mut self) {
        if let CommandSlot::Paused { .. } = self.slot {
            self.slot = CommandSlot::Free;
        }
    }

    /// Drops all jobs of a lost session. Returns the requests that still need a reply.
    pub(super) fn reset(&mut self) -> Vec<ReplyTo> {
        let waiting = std::mem::take(&mut self.waiting);
        self.end_pause();
        let reply_to = |job| match job {
            Job::Offer { to, .. } | Job::Answer { to, .. } | Job::Candidate { to, .. } => Some(to),
            Job::Mute { .. } | Job::Create | Job::Subscribe | Job::Close { .. } => None,
        };
        waiting.into_iter().filter_map(reply_to).collect()
    }

    /// The session is not this server's any more: its node lost it while it was being closed, or
    /// another server owns it. Returns false if it can be forgotten at once.
    pub(super) fn end(&mut self) -> bool {
        self.state = State::Ended;
        self.waiting.clear();
        self.end_pause();
        !self.is_done()
    }

    /// The participant is back on this server. A command in flight stays the only one.
    pub(super) fn begin_again(&mut self, node: NodeId, state: State) {
        (self.node, self.state) = (node, state);
        self.waiting.clear();
        if let CommandSlot::InFlight(in_flight) = &mut self.slot {
            let tracks = match in_flight {
                InFlight::Subscribe { tracks } | InFlight::Earlier { tracks } => {
                    std::mem::take(tracks)
                }
                InFlight::Create | InFlight::Close { .. } => Vec::new(),
                InFlight::Offer { .. }
                | InFlight::Answer { .. }
                | InFlight::Candidate { .. }
                | InFlight::Mute => return,
            };
            *in_flight = InFlight::Earlier { tracks };
        }
    }

    /// True if the session has ended and no job is left.
    pub(super) fn is_done(&self) -> bool {
        self.is_ending()
            && self.waiting.is_empty()
            && !matches!(self.slot, CommandSlot::InFlight(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session::new("node".parse().expect("a name"), State::Absent)
    }

    fn candidate(number: u32) -> Job {
        let to = ReplyTo {
            socket: SocketId(1),
            id: Some(number),
        };
        let candidate = String::new();
        Job::Candidate { to, candidate }
    }

    #[test]
    fn one_command_is_on_its_way_and_the_others_keep_their_order() {
        let (mut session, now) = (session(), crate::clock::now());
        for number in 0..SESSION_JOBS as u32 {
            assert!(session.push(candidate(number)));
        }
        assert!(!session.push(candidate(99)), "a client's have a bound");
        assert!(session.push(Job::Subscribe) && session.push(Job::Subscribe));
        assert_eq!(session.next_job(now), Some(candidate(0)));
        session.sent(InFlight::Create);
        assert_eq!(session.next_job(now), None);
        assert!(session.replied().is_some() && session.replied().is_none());
        session.retry(candidate(0), Duration::from_secs(1), now);
        assert_eq!(session.next_job(now), None, "paused");
        assert_eq!(
            session.next_job(now + Duration::from_secs(1)),
            Some(candidate(0))
        );
        assert_eq!(session.reset().len(), SESSION_JOBS - 1);
        assert_eq!(
            session.next_job(now),
            None,
            "the room's own are forgotten, too"
        );
    }

    #[test]
    fn a_session_is_done_when_its_end_was_answered() {
        let (mut session, now) = (session(), crate::clock::now());
        session.push(Job::Create).then_some(()).expect("it fits");
        session.close("left");
        assert_eq!(session.next_job(now), Some(Job::Close { reason: "left" }));
        session.sent(InFlight::Close { reason: "left" });
        assert!(session.is_closing() && !session.is_done());
        session.replied();
        assert!(session.is_done());
    }

    #[test]
    fn an_offer_is_told_once_and_its_answer_ends_it() {
        let mut session = session();
        let offer = |revision| Offer {
            revision,
            sdp: String::new(),
            tracks: Vec::new(),
        };
        assert!(session.offered(Some(&offer(1))) && session.is_established());
        assert!(!session.offered(Some(&offer(1))), "known");
        assert!(session.offered(Some(&offer(2))));
        session.answered(1);
        assert_eq!(session.outstanding(), Some(&offer(2)), "of an older one");
        session.answered(2);
        assert_eq!(session.outstanding(), None);
    }
}
