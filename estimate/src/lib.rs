//! How much the path to one receiver takes: send-side bandwidth estimation from transport-wide feedback
//! (draft-ietf-rmcat-gcc-02), with probes.
//!
//! Sans-IO: the caller says what it sends and hears, and asks for padding. What the estimate is used for,
//! and what a padding packet looks like, is not decided here. No clock is read, nothing is counted.

mod estimator; // all of it together
mod clock; // ours and the receiver's
mod sent; // what was sent, by sequence number
mod budget; // how much feedback is read
mod acked; // rates over half a second
mod arrival; // groups of packets, and how late they are
mod trendline; // whether the queue grows
mod queue; // how long packets stand in it
mod rate; // what delays allow
mod loss; // what losses allow
mod probe; // whether more would pass
mod sustain; // padding that keeps the rate up
mod reported; // the same of receivers that report losses alone

#[cfg(test)]
mod simulation; // a path in virtual time

pub use budget::FeedbackError;
pub use estimator::Estimator;
pub use rate::MIN_BPS;
pub use reported::Reported;
