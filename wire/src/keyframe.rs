//! Detects the first packet of a keyframe, at which a receiver can join or change layers.
//!
//! Each function takes the RTP payload of one packet. Payloads are untrusted, so every read is checked.

/// VP8 (RFC 7741 sections 4.2 and 4.3): start of partition 0, and the P bit of the payload header is 0.
pub fn vp8(payload: &[u8]) -> bool {
    let Some((&required, mut rest)) = payload.split_first() else {
        return false;
    };
    let starts_first_partition = required & 0x10 != 0 && required & 0x07 == 0;
    if required & 0x80 != 0 {
        let Some((&extension, after)) = rest.split_first() else {
            return false;
        };
        let picture_id = match (extension & 0x80 != 0, after.first()) {
            (true, Some(first)) => 1 + usize::from(first & 0x80 != 0),
            (true, None) => return false,
            (false, _) => 0,
        };
        let tl0 = usize::from(extension & 0x40 != 0);
        let tid_or_key = usize::from(extension & 0x30 != 0);
        let Some(after) = after.get(picture_id + tl0 + tid_or_key..) else {
            return false;
        };
        rest = after;
    }
    starts_first_partition && rest.first().is_some_and(|header| header & 0x01 == 0)
}

/// VP9 (RFC 9628 section 4.2): the packet starts a frame that is not predicted from another one and, if layers are
/// signalled, belongs to the lowest spatial layer. If the packet contains the frame header, it must be a keyframe: an
/// intra-only frame keeps references of earlier frames.
pub fn vp9(payload: &[u8]) -> bool {
    const HAS_PICTURE_ID: u8 = 0x80;
    const PREDICTED: u8 = 0x40;
    const HAS_LAYERS: u8 = 0x20;
    const FLEXIBLE: u8 = 0x10;
    const BEGINS: u8 = 0x08;
    const HAS_STRUCTURE: u8 = 0x02;
    let Some((&required, mut rest)) = payload.split_first() else {
        return false;
    };
    if required & PREDICTED != 0 || required & BEGINS == 0 {
        return false;
    }
    if required & HAS_PICTURE_ID != 0 {
        let Some(first) = rest.first() else {
            return false;
        };
        let Some(after) = rest.get(1 + usize::from(first & 0x80 != 0)..) else {
            return false;
        };
        rest = after;
    }
    if required & HAS_LAYERS != 0 {
        let is_lowest = |layers: &u8| (layers >> 1) & 0x07 == 0;
        if !rest.first().is_some_and(is_lowest) {
            return false;
        }
        let tl0_pic_idx = usize::from(required & FLEXIBLE == 0);
        rest = rest.get(1 + tl0_pic_idx..).unwrap_or_default();
    }
    if required & HAS_STRUCTURE != 0 {
        rest = after_vp9_structure(rest).unwrap_or_default();
    }
    vp9_frame_is_key(rest)
}

/// The bytes behind a scalability structure (RFC 9628 section 4.2.1).
fn after_vp9_structure(payload: &[u8]) -> Option<&[u8]> {
    let (&flags, mut rest) = payload.split_first()?;
    let spatial_layers = usize::from(flags >> 5) + 1;
    if flags & 0x10 != 0 {
        rest = rest.get(4 * spatial_layers..)?; // width and height of each layer
    }
    if flags & 0x08 != 0 {
        let (&pictures, mut after) = rest.split_first()?;
        for _ in 0..pictures {
            let (&picture, references) = after.split_first()?;
            after = references.get(usize::from((picture >> 2) & 0x03)..)?;
        }
        rest = after;
    }
    Some(rest)
}

/// Frame type in the uncompressed header of a VP9 frame (VP9 bitstream specification section 6.2); true if the header
/// is cut off.
fn vp9_frame_is_key(frame: &[u8]) -> bool {
    let Some(&first) = frame.first() else {
        return true;
    };
    let is_frame = first >> 6 == 0b10;
    // Profile 3 has one more reserved bit here.
    let after_profile = match first & 0x30 == 0x30 {
        true => 3,
        false => 4,
    };
    let shows_existing = first & (1 << (after_profile - 1)) != 0;
    let is_inter = first & (1 << (after_profile - 2)) != 0;
    is_frame && !shows_existing && !is_inter
}

/// H.264 (RFC 6184 section 5): a sequence parameter set, alone, in a STAP-A, or at the start of an FU-A. An IDR slice
/// without it is not enough: the parameter sets were in an earlier packet, or the slice is not the first of its
/// picture.
pub fn h264(payload: &[u8]) -> bool {
    const SLICE: u8 = 1;
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let Some((&first, rest)) = payload.split_first() else {
        return false;
    };
    match first & 0x1f {
        STAP_A => {
            let kinds = || stap_units(rest).filter_map(|unit| Some(unit.first()? & 0x1f));
            // A predicted picture may come with repeated parameter sets.
            kinds().any(|kind| kind == SPS) && !kinds().any(|kind| kind == SLICE)
        }
        FU_A => rest
            .first()
            .is_some_and(|header| header & 0x80 != 0 && header & 0x1f == SPS),
        kind => kind == SPS,
    }
}

/// AV1 (RTP payload format section 4.4): the N bit says that the packet starts a coded video sequence, which starts
/// with a sequence header.
pub fn av1(payload: &[u8]) -> bool {
    const CONTINUES: u8 = 0x80;
    const NEW_SEQUENCE: u8 = 0x08;
    let Some((&aggregation, rest)) = payload.split_first() else {
        return false;
    };
    if aggregation & NEW_SEQUENCE == 0 || aggregation & CONTINUES != 0 || rest.is_empty() {
        return false;
    }
    // If the element count is 1, the element has no length field.
    let first = match aggregation & 0x30 {
        0x10 => Some(rest),
        _ => after_leb128(rest),
    };
    match first.and_then(<[u8]>::first) {
        Some(header) => matches!(
            (header >> 3) & 0x0f,
            OBU_SEQUENCE_HEADER | OBU_TEMPORAL_DELIMITER
        ),
        None => true, // cut off
    }
}

const OBU_SEQUENCE_HEADER: u8 = 1;
const OBU_TEMPORAL_DELIMITER: u8 = 2;

/// The bytes behind a leb128 number (AV1 specification section 4.10.5).
fn after_leb128(bytes: &[u8]) -> Option<&[u8]> {
    const MAX_BYTES: usize = 8;
    let last = bytes
        .iter()
        .take(MAX_BYTES)
        .position(|byte| byte & 0x80 == 0)?;
    bytes.get(last + 1..)
}

fn stap_units(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (size, after) = rest.split_first_chunk::<2>()?;
        let size = usize::from(u16::from_be_bytes(*size));
        let (unit, after) = after.split_at_checked(size)?;
        rest = after;
        Some(unit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vp8_frames() {
        let table: [(&[u8], bool); 8] = [
            (&[0x10, 0x00], true),                               // no extension
            (&[0x10, 0x01], false),                              // predicted
            (&[0x00, 0x00], false),                              // not the start
            (&[0x11, 0x00], false),                              // second partition
            (&[0x90, 0xe0, 0x81, 0x02, 0x03, 0x20, 0x00], true), // 15-bit picture id, tl0, tid
            (&[0x90, 0x80, 0x01, 0x00], true),                   // 7-bit picture id
            (&[0x90, 0xe0, 0x81, 0x02], false),                  // cut off
            (&[], false),
        ];
        for (payload, expected) in table {
            assert_eq!(vp8(payload), expected, "{payload:02x?}");
        }
    }

    #[test]
    fn vp9_frames() {
        let table: [(&[u8], bool); 14] = [
            (&[0x08], true),
            (&[0x48], false),                   // predicted
            (&[0x80, 0x01], false),             // not the start of a frame
            (&[0xa8, 0x01, 0x00], true),        // layer 0
            (&[0xa8, 0x81, 0x01, 0x02], false), // spatial layer 1
            (&[0xa8], false),
            (&[], false),
            (&[0x88, 0x01, 0x82], true),  // keyframe of profile 0
            (&[0x88, 0x01, 0x86], false), // intra-only frame
            (&[0x88, 0x01, 0x8a], false), // shows an earlier frame
            (&[0x88, 0x01, 0xb0], true),  // keyframe of profile 3
            (&[0x88, 0x01, 0xb2], false), // intra-only frame of profile 3
            // One layer of 320x240 and a picture with one reference; then a keyframe, an intra-only frame.
            (&[0x8a, 0x01, 0x18, 1, 64, 0, 240, 1, 0x04, 1, 0x82], true),
            (&[0x8a, 0x01, 0x18, 1, 64, 0, 240, 1, 0x04, 1, 0x86], false),
        ];
        for (payload, expected) in table {
            assert_eq!(vp9(payload), expected, "{payload:02x?}");
        }
    }

    #[test]
    fn h264_starts_with_parameter_sets() {
        let table: [(&[u8], bool); 12] = [
            (&[0x67, 1], true),
            (&[0x68, 1], false), // only the picture parameter set
            (&[0x65, 1], false), // IDR slice: may be the second one
            (&[0x41, 1], false),
            (&[0x7c, 0x85, 1], false), // FU-A start of IDR
            (&[0x7c, 0x05, 1], false), // FU-A middle of IDR
            (&[0x7c, 0x87, 1], true),  // FU-A start of SPS
            (&[0x78, 0, 1, 0x09, 0, 2, 0x67, 0x42], true), // STAP-A: AUD, SPS
            (&[0x78, 0, 1, 0x65, 0, 1, 0x65], false), // STAP-A: IDR slices
            (&[0x78, 0, 2, 0x67, 0x42, 0, 1, 0x41], false), // STAP-A: SPS, predicted slice
            (&[0x78, 0, 9, 0x67], false), // STAP-A with a length beyond the packet
            (&[], false),
        ];
        for (payload, expected) in table {
            assert_eq!(h264(payload), expected, "{payload:02x?}");
        }
    }

    #[test]
    fn av1_frames() {
        let table: [(&[u8], bool); 8] = [
            (&[0x08, 0x0a], true), // cut off
            (&[0x10, 0x0a], false),
            (&[0x88, 0x0a], false),
            (&[0x08], false),
            (&[0x18, 0x0a, 1], true),  // one element: sequence header
            (&[0x18, 0x32, 1], false), // one element: frame
            (&[0x28, 0x81, 0x00, 0x0a], true), // length of two bytes
            (&[0x28, 0x01, 0x32, 0x0a], false),
        ];
        for (payload, expected) in table {
            assert_eq!(av1(payload), expected, "{payload:02x?}");
        }
    }
}
