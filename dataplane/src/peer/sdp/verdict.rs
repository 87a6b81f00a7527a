//! Decision about each m-line of an offer.

use str0m::media::Mid;

use super::extensions::Extension;
use super::formats::Format;
use super::read::{Direction, MediaLine};
use super::simulcast::Layer;

/// An m-line of the offer with the decision about it.
pub(super) struct Line<'a> {
    pub(super) media: MediaLine<'a>,
    pub(super) mid: Option<&'a str>,
    pub(super) verdict: Verdict<'a>,
}

/// Decision about an m-line.
pub(super) enum Verdict<'a> {
    /// The m-line is answered with port 0, for this reason.
    Rejected(String),
    /// The m-line is negotiated with these values.
    Taken(Box<Taken<'a>>),
}

/// An m-line that is negotiated.
pub(super) struct Taken<'a> {
    /// The session library's mid.
    pub(super) name: Mid,
    /// Direction in the client's offer.
    pub(super) direction: Direction,
    pub(super) formats: Vec<Format<'a>>,
    pub(super) extensions: Vec<Extension>,
    pub(super) layers: Vec<Layer<'a>>,
}
