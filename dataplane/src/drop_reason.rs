//! Reasons why a packet was not forwarded. The code that drops a packet counts its reason; no packet is lost without
//! one.

/// Reason to drop a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum DropReason {
    /// Longer than a datagram may be.
    Truncated,
    /// Neither STUN, DTLS, RTP nor RTCP, or too short for its header.
    Unclassified,
    /// STUN with a length field that contradicts the message.
    MalformedStun,
    /// STUN that names no session: no connectivity check, one without a username, or one with the right
    /// password for a session that has just ended.
    UnknownUfrag,
    /// A check that is not from the agent of the client's SDP or lacks what checks have to have, or a STUN response to no
    /// request of ours.
    CheckRefused,
    /// A connectivity check with a wrong password.
    BadIntegrity,
    /// DTLS, RTP or RTCP from an address no session receives from.
    UnknownSource,
    /// A session received from more addresses than the limit.
    TooManyAddresses,
    /// A check from an address that another session is using.
    AddressInUse,
    /// A datagram to an unproven address, beyond 3 times the bytes that came from it.
    UnprovenAddress,
    /// The session layer refused it: malformed RTP, broken DTLS records.
    Rejected,
    /// SRTP of a publisher with an SSRC that the session layer does not know, which does not authenticate.
    BadSrtp,
    /// RTP that held no packet to forward: padding, a duplicate, or failed authentication.
    NothingToForward,
    /// RTP on an m-line that was declared as no track, or of an undeclared layer.
    NoTrack,
    /// The session's code panicked; the session was closed.
    SessionPanicked,
    /// The ring to another shard was full.
    MeshFull,
    /// The queue to another node was full.
    LinkFull,
    /// The shard cannot send as fast as it receives.
    BacklogFull,
    /// A late packet from before the layer switch or the start of the subscription, or one with a used sequence
    /// number.
    BeforeSwitch,
    /// A late packet from before the publisher's numbers began anew.
    LateNumbers,
    /// The subscriber has no keys or no path yet.
    NotConnected,
    /// RTCP that does not authenticate, was received before, cannot be parsed, or makes no sense from its sender.
    BadRtcp,
    /// Transport-wide feedback about packets that were never sent, or about each packet too often.
    BadFeedback,
    /// Asked for again, but no longer kept, or too much was asked for.
    NotResent,
    /// The subscriber negotiated no codec for it, or not yet.
    NoCodec,
    /// The socket's send buffer is full, and the frame's layer goes first.
    FrameShed,
    /// The socket's send buffer stayed full, and what waits for it, too.
    SendBufferFull,
    /// The kernel refused the destination.
    SendRefused,
    /// TURN does not let it through to its client, or that client has gone; TURN's own counters say why.
    NotRelayed,
}

impl DropReason {
    /// All of them, in the order of their counters.
    pub const ALL: [DropReason; 29] = [
        DropReason::Truncated,
        DropReason::Unclassified,
        DropReason::MalformedStun,
        DropReason::UnknownUfrag,
        DropReason::CheckRefused,
        DropReason::BadIntegrity,
        DropReason::UnknownSource,
        DropReason::TooManyAddresses,
        DropReason::AddressInUse,
        DropReason::UnprovenAddress,
        DropReason::Rejected,
        DropReason::BadSrtp,
        DropReason::NothingToForward,
        DropReason::NoTrack,
        DropReason::SessionPanicked,
        DropReason::MeshFull,
        DropReason::LinkFull,
        DropReason::BacklogFull,
        DropReason::BeforeSwitch,
        DropReason::LateNumbers,
        DropReason::NotConnected,
        DropReason::BadRtcp,
        DropReason::BadFeedback,
        DropReason::NotResent,
        DropReason::NoCodec,
        DropReason::FrameShed,
        DropReason::SendBufferFull,
        DropReason::SendRefused,
        DropReason::NotRelayed,
    ];

    /// The label of its counter.
    pub fn label(self) -> &'static str {
        match self {
            DropReason::Truncated => "truncated",
            DropReason::Unclassified => "unclassified",
            DropReason::MalformedStun => "malformed_stun",
            DropReason::UnknownUfrag => "unknown_ufrag",
            DropReason::CheckRefused => "check_refused",
            DropReason::BadIntegrity => "bad_integrity",
            DropReason::UnknownSource => "unknown_source",
            DropReason::TooManyAddresses => "too_many_addresses",
            DropReason::AddressInUse => "address_in_use",
            DropReason::UnprovenAddress => "unproven_address",
            DropReason::Rejected => "rejected",
            DropReason::BadSrtp => "bad_srtp",
            DropReason::NothingToForward => "nothing_to_forward",
            DropReason::NoTrack => "no_track",
            DropReason::SessionPanicked => "session_panicked",
            DropReason::MeshFull => "mesh_full",
            DropReason::LinkFull => "link_full",
            DropReason::BacklogFull => "backlog_full",
            DropReason::BeforeSwitch => "before_switch",
            DropReason::LateNumbers => "late_numbers",
            DropReason::NotConnected => "not_connected",
            DropReason::BadRtcp => "bad_rtcp",
            DropReason::BadFeedback => "bad_feedback",
            DropReason::NotResent => "not_resent",
            DropReason::NoCodec => "no_codec",
            DropReason::FrameShed => "frame_shed",
            DropReason::SendBufferFull => "send_buffer_full",
            DropReason::SendRefused => "send_refused",
            DropReason::NotRelayed => "not_relayed",
        }
    }
}

/// A counter for each reason.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    /// Counts one dropped packet.
    pub fn count(&mut self, reason: DropReason) {
        self.count_many(reason, 1);
    }

    /// Counts `packets` at once.
    pub fn count_many(&mut self, reason: DropReason, packets: usize) {
        self.0[reason as usize] += packets as u64;
    }

    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Drops) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    /// Number of packets dropped for `reason`.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Sum of the drops of all reasons.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_label() {
        let mut drops = Drops::default();
        let mut labels = std::collections::HashSet::new();
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert!(labels.insert(reason.label()));
            drops.count_many(reason, index + 1);
        }
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(drops.of(reason), index as u64 + 1);
        }
    }
}
