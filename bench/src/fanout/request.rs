//! Requests of the farm to a server and their answers, for every kind of server.

/// Number of a participant: also that of its address.
pub type Index = usize;

/// A track to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The mid of the track's m-line.
    pub mid: String,
    /// True for audio, false for video.
    pub audio: bool,
    /// Layers: rid and height, lowest first.
    pub layers: Vec<(&'static str, u32)>,
}

/// What the farm wants.
#[derive(Debug)]
pub struct Ask {
    /// Index of the session that asks.
    pub index: Index,
    /// The request of the session.
    pub want: Want,
}

/// What a participant needs of the server.
#[derive(Debug)]
pub enum Want {
    /// A session that sends.
    Publish {
        /// SDP of the offer.
        offer: String,
        /// The track that the session publishes.
        track: Published,
    },
    /// A session that receives.
    Subscribe {
        /// The publishers it watches.
        watches: Vec<Index>,
        /// True for audio, false for video.
        audio: bool,
    },
    /// The answer to an offer it was told.
    Answer {
        /// Revision of the answered offer.
        revision: u64,
        /// SDP of the answer.
        sdp: String,
    },
}

/// What the server says.
#[derive(Debug)]
pub enum Told {
    /// The answer to a publisher's offer.
    Answered {
        /// Index of the session.
        index: Index,
        /// SDP of the answer.
        sdp: String,
    },
    /// An offer to a subscriber.
    Offered {
        /// Index of the session.
        index: Index,
        /// Revision of the offer.
        revision: u64,
        /// SDP of the offer.
        sdp: String,
    },
    /// A session will not come to be, or ended.
    Failed {
        /// Index of the session; none when the server itself has ended.
        index: Option<Index>,
        /// Reason of the failure.
        why: String,
    },
}
