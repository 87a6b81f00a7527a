//! Settings: limits of participants, rooms and messages.

use std::time::Duration;

use spillway_settings::{Mistakes, Values};

use crate::limits;

/// Limits of participants, rooms and messages.
#[derive(Debug, Clone, Copy)]
pub struct SignalingLimits {
    /// Maximum number of participants in one room.
    pub participants: usize,
    /// Maximum number of tracks that one participant publishes.
    pub tracks: usize,
    /// Maximum size of one message in bytes.
    pub message_bytes: usize,
    /// Messages per second from one socket.
    pub messages_per_second: u32,
    /// Time for which a participant stays in the room without a socket.
    pub grace: Duration,
    /// Time after the expiry of its token during which a participant can resume without a new
    /// token, in seconds.
    pub resume_allowance_s: u64,
    /// Accepted clock difference between this host and the issuers of tokens, in seconds.
    pub token_leeway_s: u64,
}

/// Reads the limits from the settings.
pub(super) fn signaling_limits(
    values: &Values,
    mistakes: &mut Mistakes,
) -> Option<SignalingLimits> {
    let participants = values.parse_within(
        "max-participants-per-room",
        limits::PARTICIPANTS_PER_ROOM,
        mistakes,
    );
    let tracks = values.parse_within(
        "max-tracks-per-participant",
        limits::TRACKS_PER_PARTICIPANT,
        mistakes,
    );
    let message_bytes = values.parse_within("max-message-bytes", limits::MESSAGE_BYTES, mistakes);
    let messages_per_second =
        values.parse_within("messages-per-second", limits::MESSAGES_PER_SECOND, mistakes);
    let grace = values.parse_within("grace-seconds", limits::GRACE_SECONDS, mistakes);
    let resume_allowance_s = values.parse_within(
        "resume-allowance-seconds",
        limits::RESUME_ALLOWANCE_SECONDS,
        mistakes,
    );
    let token_leeway_s = values.parse_within(
        "token-leeway-seconds",
        limits::TOKEN_LEEWAY_SECONDS,
        mistakes,
    );
    Some(SignalingLimits {
        participants: participants?,
        tracks: tracks?,
        message_bytes: message_bytes?,
        messages_per_second: messages_per_second?,
        grace: Duration::from_secs(grace?),
        resume_allowance_s: resume_allowance_s?,
        token_leeway_s: token_leeway_s?,
    })
}
