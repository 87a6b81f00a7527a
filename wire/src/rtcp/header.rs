//! The common header of RTCP packets (RFC 3550 section 6.4.1): constants, and fields by offset.

pub(super) const HEADER_BYTES: usize = 4;
pub(super) const VERSION: u8 = 2 << 6;
pub(super) const PADDING: u8 = 1 << 5;
/// The five bits with the number of blocks, or the format of a feedback message.
pub(super) const COUNT_MASK: u8 = 0x1f;

pub(super) const SENDER_REPORT: u8 = 200;
pub(super) const RECEIVER_REPORT: u8 = 201;
pub(super) const SOURCE_DESCRIPTION: u8 = 202;
pub(super) const BYE: u8 = 203;
pub(super) const TRANSPORT_LAYER: u8 = 205;
pub(super) const PAYLOAD_SPECIFIC: u8 = 206;

pub(super) const NACK: u8 = 1; // RFC 4585 section 6.2.1
pub(super) const TRANSPORT_WIDE: u8 = 15; // draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1
pub(super) const PLI: u8 = 1; // RFC 4585 section 6.3.1
pub(super) const FIR: u8 = 4; // RFC 5104 section 4.3.1
pub(super) const APPLICATION_LAYER: u8 = 15; // RFC 4585 section 6.4

/// The header of a packet of `length` bytes.
pub(super) fn header(count: u8, kind: u8, length: usize) -> [u8; HEADER_BYTES] {
    debug_assert!(length.is_multiple_of(4) && count <= COUNT_MASK);
    let [high, low] = ((length / 4 - 1) as u16).to_be_bytes();
    [VERSION | count, kind, high, low]
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*field))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*field))
}
