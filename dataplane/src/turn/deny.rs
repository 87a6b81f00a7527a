//! Reasons to refuse a message: each has a counter, and an error response or none.

/// Reason to refuse or to ignore a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum DenyReason {
    /// Neither STUN nor ChannelData, or a length field that contradicts the message.
    Malformed,
    /// The FINGERPRINT is wrong.
    WrongFingerprint,
    /// A message that no client sends to a server.
    Unexpected,
    /// An answer to an unproven address would be longer than its request, and the network has used up its budget.
    ReflectionBudget,
    /// A request with missing, malformed or contradictory attributes.
    BadRequest,
    /// A request without credentials: the first step of every client.
    NoCredentials,
    /// Credentials that have expired, whose expiry is too far ahead, or that have no expiry.
    Expired,
    /// Credentials of another secret or another realm.
    Unauthorized,
    /// A comprehension-required attribute that is not supported.
    UnknownAttribute,
    /// A nonce that is not ours, is another client's, or is too old.
    StaleNonce,
    /// A request for an allocation that does not exist, or a second Allocate of the same client.
    Mismatch,
    /// Valid credentials, but other credentials than the allocation was made with.
    WrongCredentials,
    /// An address family for which there is no relayed address.
    FamilyNotSupported,
    /// A REQUESTED-TRANSPORT other than UDP.
    TransportNotSupported,
    /// A peer whose address family the allocation does not have.
    FamilyMismatch,
    /// The user has the maximum number of allocations.
    UserQuota,
    /// The client's source address has the maximum number of allocations.
    SourceQuota,
    /// The shard has the maximum number of allocations, or no suitable port is free.
    Capacity,
    /// The allocation has the maximum number of permissions or channels.
    AllocationFull,
    /// A peer in a special-purpose range, in any notation.
    PeerSpecial,
    /// A peer that the operator denies.
    PeerDenied,
    /// A peer that is not a media node.
    PeerOutsideCluster,
    /// A peer that is this server.
    PeerOurselves,
    /// Data from a client without an allocation, or to a relayed address without an allocation.
    NoAllocation,
    /// Data on a channel that is not bound.
    NoChannel,
    /// Data to or from a peer without permission.
    NoPermission,
    /// Data that is too long for the receiving side.
    TooLong,
    /// The allocation has used up its bandwidth limit.
    Bandwidth,
    /// The shard has used up the bandwidth limit of all allocations.
    TotalBandwidth,
}

impl DenyReason {
    /// Number of reasons in this enum.
    pub const COUNT: usize = Self::TotalBandwidth as usize + 1;

    /// All reasons, in the order of their counters.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Malformed,
        Self::WrongFingerprint,
        Self::Unexpected,
        Self::ReflectionBudget,
        Self::BadRequest,
        Self::NoCredentials,
        Self::Expired,
        Self::Unauthorized,
        Self::UnknownAttribute,
        Self::StaleNonce,
        Self::Mismatch,
        Self::WrongCredentials,
        Self::FamilyNotSupported,
        Self::TransportNotSupported,
        Self::FamilyMismatch,
        Self::UserQuota,
        Self::SourceQuota,
        Self::Capacity,
        Self::AllocationFull,
        Self::PeerSpecial,
        Self::PeerDenied,
        Self::PeerOutsideCluster,
        Self::PeerOurselves,
        Self::NoAllocation,
        Self::NoChannel,
        Self::NoPermission,
        Self::TooLong,
        Self::Bandwidth,
        Self::TotalBandwidth,
    ];

    /// Label of the counter.
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::WrongFingerprint => "wrong_fingerprint",
            Self::Unexpected => "unexpected",
            Self::ReflectionBudget => "reflection_budget",
            Self::BadRequest => "bad_request",
            Self::NoCredentials => "no_credentials",
            Self::Expired => "expired",
            Self::Unauthorized => "unauthorized",
            Self::UnknownAttribute => "unknown_attribute",
            Self::StaleNonce => "stale_nonce",
            Self::Mismatch => "mismatch",
            Self::WrongCredentials => "wrong_credentials",
            Self::FamilyNotSupported => "family_not_supported",
            Self::TransportNotSupported => "transport_not_supported",
            Self::FamilyMismatch => "family_mismatch",
            Self::UserQuota => "user_quota",
            Self::SourceQuota => "source_quota",
            Self::Capacity => "capacity",
            Self::AllocationFull => "allocation_full",
            Self::PeerSpecial => "peer_special",
            Self::PeerDenied => "peer_denied",
            Self::PeerOutsideCluster => "peer_outside_cluster",
            Self::PeerOurselves => "peer_ourselves",
            Self::NoAllocation => "no_allocation",
            Self::NoChannel => "no_channel",
            Self::NoPermission => "no_permission",
            Self::TooLong => "too_long",
            Self::Bandwidth => "bandwidth",
            Self::TotalBandwidth => "total_bandwidth",
        }
    }

    /// Index into per-reason arrays.
    pub fn index(self) -> usize {
        self as usize
    }

    /// ERROR-CODE and its reason phrase (RFC 8489 section 14.8, RFC 8656 section 19); `None` for no response.
    pub(super) fn answer(self) -> Option<(u16, &'static str)> {
        Some(match self {
            Self::BadRequest => (400, "Bad Request"),
            Self::NoCredentials | Self::Expired | Self::Unauthorized => (401, "Unauthorized"),
            Self::PeerSpecial
            | Self::PeerDenied
            | Self::PeerOutsideCluster
            | Self::PeerOurselves => (403, "Forbidden"),
            Self::UnknownAttribute => (420, "Unknown Attribute"),
            Self::Mismatch => (437, "Mismatch"),
            Self::StaleNonce => (438, "Stale Nonce"),
            Self::FamilyNotSupported => (440, "Family"),
            Self::WrongCredentials => (441, "Wrong Credentials"),
            Self::TransportNotSupported => (442, "Transport"),
            Self::FamilyMismatch => (443, "Peer Family"),
            Self::UserQuota | Self::SourceQuota => (486, "Quota"),
            Self::Capacity | Self::AllocationFull => (508, "Capacity"),
            Self::Malformed
            | Self::WrongFingerprint
            | Self::Unexpected
            | Self::ReflectionBudget
            | Self::NoAllocation
            | Self::NoChannel
            | Self::NoPermission
            | Self::TooLong
            | Self::Bandwidth
            | Self::TotalBandwidth => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place_and_label() {
        let mut labels = std::collections::HashSet::new();
        for (index, reason) in DenyReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert!(labels.insert(reason.label()));
        }
    }

    #[test]
    fn operators_are_told_what_each_reason_means() {
        let told = include_str!("../../../docs/operating/metrics.md");
        let (_, told) = told.split_once("### Reasons of TURN").unwrap();
        let (table, _) = told.split_once("\n#").unwrap();
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
        let told = rows.filter_map(|row| row.split('`').next());
        let told: Vec<_> = told.skip(1).collect(); // without the table's header
        assert_eq!(told, DenyReason::ALL.map(DenyReason::label));
    }
}
