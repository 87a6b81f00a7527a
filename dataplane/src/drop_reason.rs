//! Reasons why a packet was not forwarded. The code that drops a packet counts its reason; every dropped packet is
//! counted.

/// Reason to drop a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum DropReason {
    /// Longer than the maximum datagram.
    Truncated,
    /// Neither STUN, DTLS, RTP nor RTCP, or too short for its header.
    Unclassified,
    /// STUN with a length field that contradicts the message.
    MalformedStun,
    /// STUN for no known session: not a connectivity check, a check without USERNAME, or a check with the right
    /// password for a session that has just ended.
    UnknownUfrag,
    /// A check that is not from the agent of the client's SDP or lacks a required attribute, or a STUN response to no
    /// request of ours.
    CheckRefused,
    /// A connectivity check with a wrong password.
    BadIntegrity,
    /// DTLS, RTP or RTCP from an address that no session receives from.
    UnknownSource,
    /// A session or shard has too many addresses.
    TooManyAddresses,
    /// A check from an address that another session is using.
    AddressInUse,
    /// A datagram to an unproven address, beyond 3 times the bytes that came from it.
    UnprovenAddress,
    /// Refused by the session layer, such as malformed RTP or DTLS records.
    Rejected,
    /// SRTP of a publisher with an SSRC unknown to the session layer that does not authenticate.
    BadSrtp,
    /// RTP without a packet to forward: padding, a duplicate, or failed authentication.
    NothingToForward,
    /// RTP on an m-line that is not a declared track, or of an undeclared layer.
    NoTrack,
    /// The code of the session panicked; the session was closed.
    SessionPanicked,
    /// The ring to another shard was full.
    MeshFull,
    /// The queue of a link to another node was full.
    LinkFull,
    /// The backlog of media is full: the shard cannot send as fast as it receives.
    BacklogFull,
    /// A late packet from before a layer switch or the start of a subscription, or a packet whose sequence number is
    /// already used.
    BeforeSwitch,
    /// A late packet of an earlier epoch of the publisher's sequence numbers.
    LateNumbers,
    /// The subscriber has no keys or no path yet.
    NotConnected,
    /// RTCP that does not authenticate, is replayed, cannot be parsed, or is not possible for its sender.
    BadRtcp,
    /// Transport-wide feedback about packets that were never sent, or too often about the same packets.
    BadFeedback,
    /// A requested retransmission of a packet that is not stored any more, or beyond the allowance.
    NotResent,
    /// The subscriber negotiated no codec of the packet, or has not answered yet.
    NoCodec,
    /// The socket's send buffer is full, so frames of low layers are dropped.
    FrameShed,
    /// The socket's send buffer is full, and so is the send arena.
    SendBufferFull,
    /// The kernel refused to send to the destination.
    SendRefused,
    /// TURN did not relay the packet, or its client has gone; the counters of TURN have the reason.
    NotRelayed,
}

impl DropReason {
    /// All reasons, in the order of their counters.
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

    /// Label of the counter.
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

/// A counter per reason.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    /// Counts one dropped packet.
    pub fn count(&mut self, reason: DropReason) {
        self.count_many(reason, 1);
    }

    /// Counts `packets` dropped packets.
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
