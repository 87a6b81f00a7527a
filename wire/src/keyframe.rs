//! Where a video frame that needs no other starts: the only place a receiver can join or change layers.
//!
//! Each function takes the RTP payload of one packet and says whether it is the first of such a frame.
//! Payloads are the publisher's bytes: every read is checked.

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

/// VP9 (RFC 9628 section 4.2): begins a frame, is not predicted from another one and, where layers are
/// signalled, is of the lowest spatial layer.
pub fn vp9(payload: &[u8]) -> bool {
    let Some(&required) = payload.first() else {
        return false;
    };
    let has_picture_id = required & 0x80 != 0;
    let predicted = required & 0x40 != 0;
    let has_layers = required & 0x20 != 0;
    let begins = required & 0x08 != 0;
    if predicted || !begins {
        return false;
    }
    if !has_layers {
        return true;
    }
    let picture_id = match (has_picture_id, payload.get(1)) {
        (true, Some(first)) => 1 + usize::from(first & 0x80 != 0),
        (true, None) => return false,
        (false, _) => 0,
    };
    payload
        .get(1 + picture_id)
        .is_some_and(|layers| (layers >> 1) & 0x07 == 0)
}

/// H.264 (RFC 6184 section 5): a sequence parameter set or an IDR slice, alone, in a STAP-A, or at the
/// start of an FU-A.
pub fn h264(payload: &[u8]) -> bool {
    const IDR: u8 = 5;
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let starts = |kind: u8| kind == IDR || kind == SPS;
    let Some((&first, rest)) = payload.split_first() else {
        return false;
    };
    match first & 0x1f {
        STAP_A => stap_units(rest).any(|unit| unit.first().is_some_and(|nal| starts(nal & 0x1f))),
        FU_A => rest
            .first()
            .is_some_and(|header| header & 0x80 != 0 && starts(header & 0x1f)),
        kind => starts(kind),
    }
}

/// AV1 (RTP payload format section 4.4): the N bit says that this packet begins a coded video sequence.
pub fn av1(payload: &[u8]) -> bool {
    const CONTINUES: u8 = 0x80;
    const NEW_SEQUENCE: u8 = 0x08;
    payload.len() > 1 && payload[0] & NEW_SEQUENCE != 0 && payload[0] & CONTINUES == 0
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
        let table: [(&[u8], bool); 7] = [
            (&[0x08], true),
            (&[0x48], false),                   // predicted
            (&[0x80, 0x01], false),             // not the beginning
            (&[0xa8, 0x01, 0x00], true),        // layer 0
            (&[0xa8, 0x81, 0x01, 0x02], false), // spatial layer 1
            (&[0xa8], false),
            (&[], false),
        ];
        for (payload, expected) in table {
            assert_eq!(vp9(payload), expected, "{payload:02x?}");
        }
    }

    #[test]
    fn h264_frames() {
        let table: [(&[u8], bool); 8] = [
            (&[0x67, 1], true),
            (&[0x65, 1], true),
            (&[0x41, 1], false),
            (&[0x7c, 0x85, 1], true),  // FU-A start of IDR
            (&[0x7c, 0x05, 1], false), // FU-A middle of IDR
            (&[0x78, 0, 1, 0x09, 0, 2, 0x67, 0x42], true), // STAP-A: AUD, SPS
            (&[0x78, 0, 9, 0x67], false), // STAP-A that lies
            (&[], false),
        ];
        for (payload, expected) in table {
            assert_eq!(h264(payload), expected, "{payload:02x?}");
        }
    }

    #[test]
    fn av1_frames() {
        let table: [(&[u8], bool); 4] = [
            (&[0x08, 0x0a], true),
            (&[0x10, 0x0a], false),
            (&[0x88, 0x0a], false),
            (&[0x08], false),
        ];
        for (payload, expected) in table {
            assert_eq!(av1(payload), expected, "{payload:02x?}");
        }
    }
}
