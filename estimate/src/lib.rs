//! Send-side bandwidth estimation for the path to one receiver, from transport-wide feedback
//! (draft-ietf-rmcat-gcc-02), with probes.
//!
//! Sans-IO: the caller reports sent packets and feedback, and asks for the padding that is due. The caller decides how
//! to use the estimate, and makes the padding packets. This crate reads no clock.

mod estimator; // the bandwidth estimator
mod clock; // our clock and the receiver's
mod sent; // sent packets by sequence number
mod budget; // limit of feedback per sent packet
mod acked; // rates over the last 500 ms
mod arrival; // groups of packets and their delays
mod trendline; // detects a growing queue
mod queue; // length of the queue
mod rate; // delay-based estimate
mod loss; // loss-based bound
mod probe; // probes at a higher rate
mod sustain; // padding that sustains the sent rate
mod reported; // estimate from receiver reports and REMB

#[cfg(test)]
mod simulation; // tests: a simulated path in virtual time

#[cfg(test)]
mod properties; // what the properties for generated input share

pub use budget::FeedbackError;
pub use estimator::Estimator;
pub use rate::MIN_BPS;
pub use reported::Reported;
