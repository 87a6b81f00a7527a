//! Planted bugs, by which the invariants of the simulator are tested: a bug that no invariant finds shows that an
//! invariant is blind.
//!
//! The code that a bug changes asks [`is_planted`]. Without the feature `planted` the answer is a constant, and the bug is not
//! compiled. Only the suite `sim-mutants` has the feature.

/// A planted bug. The documentation says what goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// A shard does not tell the new home of a track which layers it needs: after the publisher moved to another shard, or
    /// published again, the subscribers of other shards get nothing.
    NewHomeHearsNoDemand,
    /// The RTX numbers of an m-line start again at a random number after each negotiation: receivers drop retransmissions
    /// as too old, and a number can be used twice under one key.
    RtxNumbersRestart,
    /// The first packet after a switch is looked up in the source before it: a NACK for it is answered with a packet of the
    /// old layer, or not at all.
    SwitchPacketFromOldSource,
    /// Media goes to a nominated address before the client has proven that it is there.
    MediaToUnprovenAddress,
    /// A subscription keeps its layer when the track ends: when the track is published again, packets of the new session
    /// are forwarded as if they continued the old one, without a keyframe and with wrong numbers.
    RepublishedTrackContinues,
    /// A session keeps its first owner when another server takes it over: it ends when the lease of the old server expires.
    LeaseStaysWithOldServer,
    /// The socket that a resume replaced still belongs to the participant: when it closes, the participant counts as away,
    /// and is removed after the grace time.
    ReplacedSocketEndsStay,
    /// A resuming client gets missed messages that were for other participants.
    PrivateMessageAtResume,
    /// An event that comes while the history is read for a resume is missing in what the client gets.
    EventDuringResumeLost,
    /// The memory store keeps the presence of participants that have left, so it grows while the room exists.
    PresenceOutlivesParticipant,
    /// A keyframe request is lost between two shards.
    KeyframeRequestLost,
    /// The first packet after a layer switch has the number of the packet before it.
    SwitchReusesNumber,
    /// A layer switch does not wait for a keyframe.
    SwitchWithoutKeyframe,
    /// Some SRTCP indices are used twice.
    RtcpIndexRepeats,
    /// A lease keeps the end of its first renewal: the sessions of a server that lives are closed.
    LeaseNeverRenewed,
    /// Subscriptions to a track stay when the track is unpublished.
    SubscriptionOutlivesTrack,
    /// A node goes on sending a track that was unsubscribed.
    UnsubscribeIgnored,
}

impl Mutant {
    /// All planted bugs, with their names.
    pub const ALL: &[(Mutant, &str)] = &[
        (Mutant::NewHomeHearsNoDemand, "new-home-hears-no-demand"),
        (Mutant::RtxNumbersRestart, "rtx-numbers-restart"),
        (
            Mutant::SwitchPacketFromOldSource,
            "switch-packet-from-old-source",
        ),
        (Mutant::MediaToUnprovenAddress, "media-to-unproven-address"),
        (
            Mutant::RepublishedTrackContinues,
            "republished-track-continues",
        ),
        (
            Mutant::LeaseStaysWithOldServer,
            "lease-stays-with-old-server",
        ),
        (Mutant::ReplacedSocketEndsStay, "replaced-socket-ends-stay"),
        (Mutant::PrivateMessageAtResume, "private-message-at-resume"),
        (Mutant::EventDuringResumeLost, "event-during-resume-lost"),
        (
            Mutant::PresenceOutlivesParticipant,
            "presence-outlives-participant",
        ),
        (Mutant::KeyframeRequestLost, "keyframe-request-lost"),
        (Mutant::SwitchReusesNumber, "switch-reuses-number"),
        (Mutant::SwitchWithoutKeyframe, "switch-without-keyframe"),
        (Mutant::RtcpIndexRepeats, "rtcp-index-repeats"),
        (Mutant::LeaseNeverRenewed, "lease-never-renewed"),
        (
            Mutant::SubscriptionOutlivesTrack,
            "subscription-outlives-track",
        ),
        (Mutant::UnsubscribeIgnored, "unsubscribe-ignored"),
    ];

    /// Name of the bug in reports and options.
    pub fn label(self) -> &'static str {
        let mut all = Self::ALL.iter();
        all.find(|(mutant, _)| *mutant == self)
            .map_or("", |(_, label)| label)
    }
}

/// True if this thread runs with the bug `mutant`.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn is_planted(_mutant: Mutant) -> bool {
    false
}

#[cfg(feature = "planted")]
pub use planted::{is_planted, plant};

#[cfg(feature = "planted")]
mod planted {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// True if this thread runs with the bug `mutant`.
    pub fn is_planted(mutant: Mutant) -> bool {
        PLANTED.get() == Some(mutant)
    }

    /// Lets this thread run with the bug `mutant` from now on; `None`: without a bug.
    pub fn plant(mutant: Option<Mutant>) {
        PLANTED.set(mutant);
    }
}
