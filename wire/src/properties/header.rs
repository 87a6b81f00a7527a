//! Properties of RTP headers with their extensions, and of the detection of protocols.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{config, damaged};
use crate::demux::Protocol;
use crate::rtp::{ExtensionForm, FIXED_BYTES, Header, MAX_PADDING_BYTES, Received};
use crate::{demux, hostile, rtp};

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn any_datagram_is_classified_inside_its_bytes(bytes in damaged(written_header())) {
        hostile::demux(&bytes);
    }

    #[test]
    fn a_header_is_read_back_with_its_extensions(
        header in header(),
        (form, elements) in elements(),
        sources in vec(any::<u32>(), 0..=15),
        tail in vec(any::<u8>(), 0..40),
    ) {
        let mut packet = with_sources(write(&header, form, &elements), &sources);
        let length = packet.len();
        let expected = Received {
            payload_type: header.payload_type,
            seq: header.seq,
            ssrc: header.ssrc,
            length,
        };
        for cut in 0..length {
            prop_assert_eq!(Received::read(&packet[..cut]), None, "{} bytes", cut);
            prop_assert_eq!(rtp::extensions(&packet[..cut]).count(), 0);
        }
        packet.extend(tail);
        prop_assert_eq!(Received::read(&packet), Some(expected));
        let read: Vec<_> = rtp::extensions(&packet).map(|(id, value)| (id, value.to_vec())).collect();
        prop_assert_eq!(read, elements);
    }

    #[test]
    fn padding_ends_with_its_length(mut padding in vec(any::<u8>(), 1..=MAX_PADDING_BYTES)) {
        rtp::fill_padding(&mut padding);
        let length = padding.len();
        prop_assert_eq!(usize::from(padding[length - 1]), length);
        prop_assert!(padding[..length - 1].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_datagram_as_short_as_a_header_is_classified_by_its_length(first in any::<u8>(), second in any::<u8>()) {
        let shortest = match first {
            0..=3 => Some((Protocol::Stun, 20)),
            20..=63 => Some((Protocol::Dtls, 13)),
            64..=79 => Some((Protocol::TurnChannel, 4)),
            128..=191 if (192..=223).contains(&second) => Some((Protocol::Rtcp, 8)),
            128..=191 => Some((Protocol::Rtp, FIXED_BYTES)),
            _ => None,
        };
        for length in 0..24 {
            let datagram = [&[first, second][..], &[0; 22]].concat();
            let expected = shortest.filter(|(_, shortest)| length >= *shortest).map(|(protocol, _)| protocol);
            prop_assert_eq!(demux::protocol(&datagram[..length]), expected, "{} bytes", length);
        }
    }

    #[test]
    fn a_longer_datagram_has_the_same_protocol(bytes in damaged(written_header()), tail in vec(any::<u8>(), 1..30)) {
        let found = demux::protocol(&bytes);
        let longer = demux::protocol(&[&bytes[..], &tail].concat());
        prop_assert!(found.is_none() || longer == found);
    }
}

fn header() -> impl Strategy<Value = Header> {
    let fields = (any::<(bool, bool, u16, u32, u32)>(), 0..0x80_u8);
    fields.prop_map(|((marker, padded, seq, time, ssrc), payload_type)| Header {
        marker,
        padded,
        payload_type,
        seq,
        time,
        ssrc,
    })
}

type Elements = Vec<(u8, Vec<u8>)>;

fn elements() -> impl Strategy<Value = (ExtensionForm, Elements)> {
    let one = vec((rtp::EXTENSION_IDS, vec(any::<u8>(), 1..=16)), 0..6);
    let two = vec((1..=u8::MAX, vec(any::<u8>(), 0..=255)), 0..4);
    prop_oneof![
        one.prop_map(|elements| (ExtensionForm::OneByte, elements)),
        two.prop_map(|elements| (ExtensionForm::TwoByte, elements)),
    ]
}

fn written_header() -> impl Strategy<Value = Vec<u8>> {
    (header(), elements()).prop_map(|(header, (form, elements))| write(&header, form, &elements))
}

fn write(header: &Header, form: ExtensionForm, elements: &Elements) -> Vec<u8> {
    let values = elements.iter().map(|(_, value)| value.len()).sum();
    let mut out = vec![0xff; form.length(elements.len(), values).max(FIXED_BYTES + 4)];
    let elements = elements.iter().map(|(id, value)| (*id, &value[..]));
    let length = header.write(&mut out, form, elements);
    out.truncate(length);
    out
}

/// `packet` with contributing sources behind the fixed part of its header.
fn with_sources(mut packet: Vec<u8>, sources: &[u32]) -> Vec<u8> {
    packet[0] |= sources.len() as u8;
    let sources = sources.iter().flat_map(|source| source.to_be_bytes());
    packet.splice(FIXED_BYTES..FIXED_BYTES, sources);
    packet
}
