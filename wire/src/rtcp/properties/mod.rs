//! Properties of RTCP for generated datagrams: no bytes are read past their end, and compound packets are read as they
//! were written, also when they are cut off or have more bytes behind them.

mod packet; // packets of all kinds, with their content

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use packet::{Content, compound, deltas, read, sender_info, transport_header};

use super::*;
use crate::hostile;
use crate::properties::{config, damaged};

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn any_datagram_is_read_inside_its_bytes(bytes in damaged(compound().prop_map(|all| all.concat_bytes()))) {
        hostile::rtcp(&bytes);
        for malformed in packets(&bytes).filter_map(Result::err) {
            let (Malformed::Short { at, .. } | Malformed::Version { at, .. } | Malformed::Length { at, .. }
                | Malformed::Padding { at, .. } | Malformed::Body { at, .. }) = malformed;
            prop_assert!(at < bytes.len());
        }
    }

    #[test]
    fn a_compound_is_read_back(all in compound(), tail in vec(any::<u8>(), 0..9)) {
        let mut bytes = all.concat_bytes();
        prop_assert_eq!(read(&bytes), all.contents());
        bytes.extend(tail);
        let longer = packets(&bytes).take(all.0.len()).map(|packet| packet.map(Content::of));
        let longer: Vec<_> = longer.map(Result::unwrap).collect();
        prop_assert_eq!(longer, all.contents());
    }

    #[test]
    fn a_cut_loses_the_packets_behind_it_and_changes_none(all in compound(), at in any::<Index>()) {
        let bytes = all.concat_bytes();
        let cut = at.index(bytes.len() + 1);
        let ends = all.0.iter().scan(0, |end, (_, bytes)| {
            *end += bytes.len();
            Some(*end)
        });
        let whole = ends.clone().filter(|end| *end <= cut).count();
        let is_between = cut == 0 || ends.into_iter().any(|end| end == cut);
        let found: Vec<_> = packets(&bytes[..cut]).map(|packet| packet.map(Content::of)).collect();
        let (kept, errors) = found.split_at(whole);
        prop_assert!(kept.iter().map(|packet| packet.clone().unwrap()).eq(all.contents().into_iter().take(whole)));
        prop_assert_eq!(errors.len(), usize::from(!is_between));
        prop_assert!(errors.iter().all(Result::is_err));
    }

    #[test]
    fn transport_feedback_is_read_back(head in transport_header(), deltas in deltas(3_000)) {
        let mut out = vec![0xff; 64 + deltas.len() * 4];
        let length = write_transport_feedback(&head, &deltas, &mut out).unwrap();
        let Some(Ok(Packet::TransportFeedback(feedback))) = packets(&out[..length]).next() else {
            panic!("no feedback");
        };
        prop_assert_eq!(feedback.header(), &head);
        prop_assert!(feedback.arrivals().map(|(_, ticks)| ticks).eq(deltas.iter().copied()));
        let seqs = (0..deltas.len()).map(|offset| head.base_seq.wrapping_add(offset as u16));
        prop_assert!(feedback.arrivals().map(|(seq, _)| seq).eq(seqs));
        prop_assert!(feedback.runs().all(|run| run.count == 1 || run.ticks.is_none() && run.count > 1));
        prop_assert_eq!(write_transport_feedback(&head, &deltas, &mut vec![0; length]), Some(length));
        prop_assert_eq!(write_transport_feedback(&head, &deltas, &mut vec![0; length - 1]), None);
    }

    #[test]
    fn a_delta_outside_16_bits_is_not_written(
        mut deltas in deltas(40),
        at in any::<Index>(),
        wide in prop_oneof![i32::MIN..i32::from(i16::MIN), i32::from(i16::MAX) + 1..=i32::MAX],
    ) {
        deltas.insert(at.index(deltas.len() + 1), Some(wide));
        let head = TransportHeader { sender_ssrc: 1, media_ssrc: 2, base_seq: 3, reference_time: 4, feedback_count: 5 };
        prop_assert_eq!(write_transport_feedback(&head, &deltas, &mut vec![0; 64 + deltas.len() * 4]), None);
    }

    #[test]
    fn a_sender_report_fits_the_length_that_is_announced(info in sender_info(), cname in "[a-z@.]{0,300}") {
        let length = sender_report_length(cname.len());
        let mut out = vec![0xff; length];
        let written = write_sender_report(&info, &cname, &mut out);
        prop_assert_eq!(written, (cname.len() <= CNAME_MAX_BYTES).then_some(length));
        prop_assert_eq!(write_sender_report(&info, &cname, &mut vec![0; length - 1]), None);
        if written.is_some() {
            prop_assert_eq!(read(&out), [Content::Sender(info, vec![]), Content::Other]);
            prop_assert_eq!(&out[28 + 8..][..2], &[1, cname.len() as u8]);
            prop_assert_eq!(&out[28 + 10..][..cname.len()], cname.as_bytes());
            let end = &out[28 + 10 + cname.len()..];
            prop_assert!(!end.is_empty() && end.iter().all(|byte| *byte == 0), "the items end with a zero byte");
        }
    }
}
