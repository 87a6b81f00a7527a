//! The layout of SRTCP packets (RFC 3711 section 3.4).

/// Bytes of an RTCP packet that are not encrypted: header and SSRC of the first packet.
pub(super) const RTCP_CLEAR_BYTES: usize = 8;
/// E flag and SRTCP index (RFC 3711 section 3.4).
pub(super) const INDEX_BYTES: usize = 4;
pub(super) const ENCRYPTED: u32 = 1 << 31;
