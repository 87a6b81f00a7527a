//! The VP8 payload descriptor (RFC 7741 section 4.2): the numbers that must be continuous for a receiver, and their
//! offsets.

/// Fields of a descriptor that are rewritten, with their offsets in the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Descriptor {
    picture_id: Option<(u8, PictureId)>,
    tl0_pic_idx: Option<(u8, u8)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PictureId {
    Bits7(u8),
    Bits15(u16),
}

/// Mask of the 15-bit form of the picture id.
const LONG: u16 = 0x7fff;
/// Mask of the 7-bit form of the picture id.
const SHORT: u8 = 0x7f;
/// M bit: the picture id has 15 bits.
const IS_LONG: u8 = 0x80;

impl Descriptor {
    /// Parses the descriptor at the start of `payload`; `None` when it is cut off.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let required = *payload.first()?;
        let mut found = Self::default();
        if required & 0x80 == 0 {
            return Some(found);
        }
        let extension = *payload.get(1)?;
        let mut at = 2_u8;
        if extension & 0x80 != 0 {
            let first = *payload.get(usize::from(at))?;
            if first & IS_LONG != 0 {
                let second = *payload.get(usize::from(at) + 1)?;
                let id = u16::from_be_bytes([first, second]) & LONG;
                found.picture_id = Some((at, PictureId::Bits15(id)));
                at += 2;
            } else {
                found.picture_id = Some((at, PictureId::Bits7(first)));
                at += 1;
            }
        }
        if extension & 0x40 != 0 {
            found.tl0_pic_idx = Some((at, *payload.get(usize::from(at))?));
        }
        Some(found)
    }

    /// The picture id, if present.
    pub fn picture_id(&self) -> Option<u16> {
        self.picture_id.map(|(_, id)| match id {
            PictureId::Bits7(id) => u16::from(id),
            PictureId::Bits15(id) => id,
        })
    }

    /// TL0PICIDX (index of base layer frames), if present.
    pub fn tl0_pic_idx(&self) -> Option<u8> {
        self.tl0_pic_idx.map(|(_, index)| index)
    }

    /// Replaces the numbers in `payload`, whose descriptor this is. The picture id keeps its width.
    pub fn rewrite(&self, payload: &mut [u8], picture_id: u16, tl0_pic_idx: u8) {
        match self.picture_id {
            Some((at, PictureId::Bits15(_))) => {
                let bytes = (picture_id | u16::from(IS_LONG) << 8).to_be_bytes();
                payload[usize::from(at)..usize::from(at) + 2].copy_from_slice(&bytes);
            }
            Some((at, PictureId::Bits7(_))) => {
                payload[usize::from(at)] = picture_id as u8 & SHORT;
            }
            None => {}
        }
        if let Some((at, _)) = self.tl0_pic_idx {
            payload[usize::from(at)] = tl0_pic_idx;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_and_replaced_where_they_are() {
        // (payload, picture id, TL0PICIDX, payload after writing 0x1234 and 9)
        let table: [(&[u8], _, _, &[u8]); 5] = [
            (&[0x10, 0xaa], None, None, &[0x10, 0xaa]),
            (
                &[0x90, 0x80, 0x05, 0xaa],
                Some(5),
                None,
                &[0x90, 0x80, 0x34, 0xaa],
            ),
            (
                &[0x90, 0xc0, 0x81, 0x02, 7, 0xaa],
                Some(0x102),
                Some(7),
                &[0x90, 0xc0, 0x92, 0x34, 9, 0xaa],
            ),
            (
                &[0x90, 0x40, 7, 0xaa],
                None,
                Some(7),
                &[0x90, 0x40, 9, 0xaa],
            ),
            (&[0x90, 0x20, 7, 0xaa], None, None, &[0x90, 0x20, 7, 0xaa]),
        ];
        for (payload, picture_id, tl0, rewritten) in table {
            let descriptor = Descriptor::parse(payload).unwrap();
            assert_eq!(descriptor.picture_id(), picture_id);
            assert_eq!(descriptor.tl0_pic_idx(), tl0);
            let mut bytes = payload.to_vec();
            descriptor.rewrite(&mut bytes, 0x1234, 9);
            assert_eq!(bytes, rewritten);
        }
    }

    #[test]
    fn a_descriptor_that_is_cut_off_is_none() {
        let whole = [0x90, 0xc0, 0x81, 0x02, 7];
        for end in 0..whole.len() {
            assert_eq!(Descriptor::parse(&whole[..end]), None, "{end}");
        }
    }
}
