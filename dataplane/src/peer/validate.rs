//! Checks of commands that need no session.

use super::command::{Command, CommandError};
use super::sdp::limits::check_sizes;
use crate::limits::{
    MAX_CANDIDATE_BYTES, MAX_OFFER_BYTES, MAX_OFFER_MEDIA_LINES, MAX_SDP_BYTES,
    MAX_SUBSCRIPTIONS_PER_SESSION,
};

impl Command {
    /// Checks what can be checked without the session.
    pub fn validate(&self) -> Result<(), CommandError> {
        let at_most = |what, got, limit| {
            if got <= limit {
                Ok(())
            } else {
                Err(CommandError::TooMany { what, got, limit })
            }
        };
        match self {
            Command::Publish { offer, .. } => {
                at_most("bytes of an offer", offer.len(), MAX_OFFER_BYTES)?;
                at_most("sdp media lines", media_lines(offer), MAX_OFFER_MEDIA_LINES)?;
                check_sizes(offer)
            }
            Command::Subscribe { put, .. } => {
                at_most("subscriptions", put.len(), MAX_SUBSCRIPTIONS_PER_SESSION)
            }
            Command::Answer { sdp, .. } => {
                at_most("sdp bytes", sdp.len(), MAX_SDP_BYTES)?;
                at_most(
                    "sdp media lines",
                    media_lines(sdp),
                    MAX_SUBSCRIPTIONS_PER_SESSION,
                )?;
                check_sizes(sdp)
            }
            Command::Candidate(line) => at_most("candidate bytes", line.len(), MAX_CANDIDATE_BYTES),
            Command::Close { .. } => Ok(()),
        }
    }
}

fn media_lines(sdp: &str) -> usize {
    sdp.lines().filter(|line| line.starts_with("m=")).count()
}
