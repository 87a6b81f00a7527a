//! Requests of the farm to a server, and events of the server, for every kind of server.

/// Number of a participant and of its address.
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

/// A request of the farm.
#[derive(Debug)]
pub struct Request {
    /// Index of the session.
    pub index: Index,
    /// Kind of the request, with its parameters.
    pub kind: RequestKind,
}

/// Request of a participant to the server.
#[derive(Debug)]
pub enum RequestKind {
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
    /// The answer to an offer of the server.
    Answer {
        /// Revision of the answered offer.
        revision: u64,
        /// SDP of the answer.
        sdp: String,
    },
}

/// Answer or event of the server.
#[derive(Debug)]
pub enum ServerEvent {
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
    /// The session could not be made, or ended.
    Failed {
        /// Index of the session; none when the server itself has ended.
        index: Option<Index>,
        /// Reason of the failure.
        why: String,
    },
}
