//! What the farm asks a server for and what it is told, whatever server that is.

/// Number of a participant: also that of its address.
pub type Index = usize;

/// A track to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its m-line.
    pub mid: String,
    /// Speech, or video.
    pub audio: bool,
    /// Layers: rid and height, lowest first.
    pub layers: Vec<(&'static str, u32)>,
}

/// A need of one participant of the farm.
#[derive(Debug)]
pub struct Ask {
    /// The participant that needs it.
    pub index: Index,
    /// What.
    pub want: Want,
}

/// What a participant needs of the server.
#[derive(Debug)]
pub enum Want {
    /// A session that sends.
    Publish {
        /// Its offer.
        offer: String,
        /// Its track.
        track: Published,
    },
    /// A session that receives.
    Subscribe {
        /// The publishers it watches.
        watches: Vec<Index>,
        /// Speech, or video.
        audio: bool,
    },
    /// The answer to an offer it was told.
    Answer {
        /// Which offer.
        revision: u64,
        /// The answer.
        sdp: String,
    },
}

/// What the server says.
#[derive(Debug)]
pub enum Told {
    /// The answer to a publisher's offer.
    Answered {
        /// Whose.
        index: Index,
        /// The answer.
        sdp: String,
    },
    /// An offer to a subscriber.
    Offered {
        /// Whose.
        index: Index,
        /// Which one.
        revision: u64,
        /// The offer.
        sdp: String,
    },
    /// A session will not come to be, or ended.
    Failed {
        /// Whose; none when the server itself is gone.
        index: Option<Index>,
        /// Why.
        why: String,
    },
}
