//! Properties of RTP payloads: redundancy, the VP8 descriptor, and the first packets of keyframes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{config, damaged};
use crate::{hostile, keyframe, red, vp8};

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn any_payload_is_read_inside_its_bytes(bytes in damaged(payload())) {
        hostile::payload(&bytes);
        red::read(&bytes).into_iter().for_each(|redundant| {
            let earlier: usize = redundant.earlier().map(|block| 4 + block.payload.len()).sum();
            assert_eq!(earlier + 1 + redundant.primary.len(), bytes.len());
        });
        let mut same_length = bytes.clone();
        red::set_payload_type(&mut same_length, 96);
        prop_assert_eq!(red::read(&same_length).is_some(), red::read(&bytes).is_some());
        prop_assert!(!keyframe::vp8(&bytes) || vp8::Descriptor::parse(&bytes).is_some());
    }

    #[test]
    fn redundancy_is_read_back(
        earlier in vec((0..0x80_u8, 0..0x4000_u32, vec(any::<u8>(), 0..50)), 0..6),
        primary_type in 0..0x80_u8,
        primary in vec(any::<u8>(), 0..50),
        to in 0..0x80_u8,
    ) {
        let payload = redundant(&earlier, primary_type, &primary);
        let read = red::read(&payload).unwrap();
        prop_assert_eq!(read.payload_type, primary_type);
        prop_assert_eq!(read.primary, &primary[..]);
        let blocks = |payload: &[u8]| -> Vec<_> {
            let blocks = red::read(payload).unwrap().earlier();
            blocks.map(|block| (block.payload_type, block.time_offset, block.payload.to_vec())).collect()
        };
        prop_assert_eq!(blocks(&payload), earlier.clone());
        // The primary block has no length field, so a cut in it makes it shorter; any other cut is an error.
        for cut in 0..payload.len() {
            let left = (cut + primary.len()).checked_sub(payload.len());
            prop_assert_eq!(red::primary(&payload[..cut]), left.map(|left| &primary[..left]));
        }
        let mut renamed = payload.clone();
        red::set_payload_type(&mut renamed, to);
        let rename = |kind: u8| if kind == primary_type { to } else { kind };
        let expected: Vec<_> = earlier.into_iter().map(|(kind, time, bytes)| (rename(kind), time, bytes)).collect();
        prop_assert_eq!(blocks(&renamed), expected);
        prop_assert_eq!(red::read(&renamed).unwrap().payload_type, to);
        prop_assert_eq!(red::primary(&renamed).unwrap(), &primary[..]);
    }

    #[test]
    fn vp8_numbers_are_replaced_and_nothing_else(
        vp8 in vp8_payload(),
        picture_id in 0..=0x7fff_u16,
        tl0_pic_idx in any::<u8>(),
    ) {
        let descriptor = vp8::Descriptor::parse(&vp8.bytes).unwrap();
        prop_assert_eq!(descriptor.picture_id(), vp8.picture_id.map(|(id, _)| id));
        prop_assert_eq!(descriptor.tl0_pic_idx(), vp8.tl0_pic_idx);
        prop_assert_eq!(keyframe::vp8(&vp8.bytes), vp8.is_key);
        let mut rewritten = vp8.bytes.clone();
        descriptor.rewrite(&mut rewritten, picture_id, tl0_pic_idx);
        let again = vp8::Descriptor::parse(&rewritten).unwrap();
        prop_assert_eq!(again.picture_id(), vp8.picture_id.map(|(_, mask)| picture_id & mask));
        prop_assert_eq!(again.tl0_pic_idx(), vp8.tl0_pic_idx.map(|_| tl0_pic_idx));
        prop_assert_eq!(keyframe::vp8(&rewritten), vp8.is_key);
        if let (Some((id, _)), tl0) = (vp8.picture_id, vp8.tl0_pic_idx.unwrap_or_default()) {
            again.rewrite(&mut rewritten, id, tl0);
            prop_assert_eq!(rewritten, vp8.bytes);
        }
    }

    #[test]
    fn h264_starts_at_parameter_sets_in_any_aggregate(units in vec((1..=12_u8, vec(any::<u8>(), 0..9)), 1..6)) {
        let mut payload = vec![24]; // STAP-A
        for (kind, body) in &units {
            payload.extend((body.len() as u16 + 1).to_be_bytes());
            payload.push(0x60 | kind);
            payload.extend(body);
        }
        let has = |wanted| units.iter().any(|(kind, _)| *kind == wanted);
        prop_assert_eq!(keyframe::h264(&payload), has(7) && !has(1));
    }

    #[test]
    fn vp9_starts_at_a_keyframe_of_the_lowest_layer(
        (picture_id, layers, flexible) in (prop::option::of(any::<u16>()), prop::option::of(0..8_u8), any::<bool>()),
        structure in prop::option::of((0..8_u8, any::<bool>(), prop::option::of(vec(0..4_u8, 0..5)))),
        (predicted, begins, inter) in (any::<bool>(), any::<bool>(), any::<bool>()),
    ) {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut payload = vec![
            bit(picture_id.is_some(), 0x80) | bit(predicted, 0x40) | bit(layers.is_some(), 0x20)
                | bit(flexible, 0x10) | bit(begins, 0x08) | bit(structure.is_some(), 0x02),
        ];
        match picture_id {
            Some(id @ 0x80..) => payload.extend((id | 0x8000).to_be_bytes()),
            Some(id) => payload.push(id as u8),
            None => {}
        }
        if let Some(layer) = layers {
            payload.push(layer << 1);
            payload.extend((!flexible).then_some(7));
        }
        if let Some((spatial, sizes, pictures)) = &structure {
            payload.push(spatial << 5 | bit(*sizes, 0x10) | bit(pictures.is_some(), 0x08));
            payload.extend(vec![9; usize::from(*sizes) * 4 * (usize::from(*spatial) + 1)]);
            for references in pictures.iter() {
                payload.push(references.len() as u8);
                for count in references {
                    payload.push(count << 2);
                    payload.extend(vec![1; usize::from(*count)]);
                }
            }
        }
        payload.push(0x82 | bit(inter, 0x04));
        let is_key = begins && !predicted && layers.unwrap_or(0) == 0 && !inter;
        prop_assert_eq!(keyframe::vp9(&payload), is_key);
    }

    #[test]
    fn av1_starts_at_a_sequence_header(
        (continues, new_sequence, count) in (any::<bool>(), any::<bool>(), 0..4_u8),
        (kind, length, wide) in (0..16_u8, 1..0x7f_u8, 0..3_usize),
    ) {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut payload = vec![bit(continues, 0x80) | count << 4 | bit(new_sequence, 0x08)];
        if count != 1 {
            // leb128 may have more bytes than necessary.
            payload.push(length | bit(wide > 0, 0x80));
            payload.extend((1..=wide).map(|byte| bit(byte < wide, 0x80)));
        }
        payload.push(kind << 3);
        let expected = !continues && new_sequence && matches!(kind, 1 | 2);
        prop_assert_eq!(keyframe::av1(&payload), expected);
    }
}

fn redundant(earlier: &[(u8, u32, Vec<u8>)], primary_type: u8, primary: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (kind, time, bytes) in earlier {
        payload.push(0x80 | kind);
        payload.extend_from_slice(&(time << 10 | bytes.len() as u32).to_be_bytes()[1..]);
    }
    payload.push(primary_type);
    payload.extend(earlier.iter().flat_map(|(_, _, bytes)| bytes));
    payload.extend(primary);
    payload
}

#[derive(Debug, Clone)]
struct Vp8 {
    bytes: Vec<u8>,
    /// The picture id, and the mask of its width.
    picture_id: Option<(u16, u16)>,
    tl0_pic_idx: Option<u8>,
    is_key: bool,
}

fn vp8_payload() -> impl Strategy<Value = Vp8> {
    let picture_id = prop_oneof![
        (0..=0x7f_u16).prop_map(|id| (id, 0x7f)),
        (0..=0x7fff_u16).prop_map(|id| (id, 0x7fff)),
    ];
    let numbers = (prop::option::of(picture_id), prop::option::of(any::<u8>()));
    (numbers, any::<(u8, bool, u8)>()).prop_map(
        |((picture_id, tl0_pic_idx), (required, tid, frame))| {
            let mut bytes = vec![required & 0x7f];
            if picture_id.is_some() || tl0_pic_idx.is_some() || tid {
                let bit = |set: bool, bit: u8| if set { bit } else { 0 };
                bytes[0] |= 0x80;
                let tl0 = bit(tl0_pic_idx.is_some(), 0x40);
                bytes.push(bit(picture_id.is_some(), 0x80) | tl0 | bit(tid, 0x20));
                match picture_id {
                    Some((id, 0x7f)) => bytes.push(id as u8),
                    Some((id, _)) => bytes.extend((id | 0x8000).to_be_bytes()),
                    None => {}
                }
                bytes.extend(tl0_pic_idx);
                bytes.extend(tid.then_some(0xff));
            }
            bytes.push(frame);
            let starts = required & 0x10 != 0 && required & 7 == 0;
            let is_key = starts && frame & 1 == 0;
            Vp8 {
                bytes,
                picture_id,
                tl0_pic_idx,
                is_key,
            }
        },
    )
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let block = (0..0x80_u8, 0..0x4000_u32, vec(any::<u8>(), 0..20));
    let redundancy = (vec(block, 0..4), vec(any::<u8>(), 0..20));
    prop_oneof![
        vp8_payload().prop_map(|vp8| vp8.bytes),
        redundancy.prop_map(|(earlier, primary)| redundant(&earlier, 111, &primary)),
    ]
}
