//! Properties of TURN for generated input: fields of requests, ChannelData, and streams that arrive in any pieces.

use std::net::{IpAddr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::hostile;
use crate::properties::{config, damaged};
use crate::stun::{Class, Fingerprint, Message, Method, TransactionId, Writer, kinds};

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn any_request_has_its_fields_inside_its_bytes(bytes in damaged(request())) {
        hostile::turn_fields(&bytes);
    }

    #[test]
    fn any_channel_data_is_inside_its_bytes(bytes in damaged(channel_data())) {
        hostile::turn_channel(&bytes);
    }

    #[test]
    fn any_stream_is_split_the_same_however_it_is_cut(
        bytes in damaged(vec(message(), 0..5).prop_map(|all| padded(&all))),
    ) {
        hostile::turn_stream(&bytes);
    }

    #[test]
    fn any_username_is_an_expiry_and_a_user(
        bytes in prop_oneof![vec(any::<u8>(), 0..30), "[0-9:+a]{0,24}".prop_map(String::into_bytes)],
    ) {
        hostile::turn_username(&bytes);
    }

    #[test]
    fn any_prefix_has_its_address(selector in any::<u8>(), octets in any::<[u8; 16]>()) {
        hostile::nat64(&[&[selector][..], &octets].concat());
    }

    #[test]
    fn channel_data_has_a_number_in_the_range(number in any::<u16>()) {
        let bytes = [&number.to_be_bytes()[..], &[0, 1, 7]].concat();
        let is_channel = ChannelNumber::RANGE.contains(&number);
        prop_assert_eq!(ChannelData::parse(&bytes).is_ok(), is_channel);
        let error = ChannelData::parse(&bytes).err();
        prop_assert_eq!(error, (!is_channel).then_some(ChannelError::Number(number)));
    }

    #[test]
    fn channel_data_is_read_back(bytes in channel_data(), padding in 0..4_usize) {
        let whole = ChannelData::parse(&bytes).unwrap();
        prop_assert_eq!(whole.data, &bytes[4..]);
        prop_assert!(ChannelNumber::RANGE.contains(&whole.number.get()));
        prop_assert_eq!(ChannelData::header(whole.number, whole.data.len() as u16), &bytes[..4]);
        for cut in 0..bytes.len() {
            prop_assert!(ChannelData::parse(&bytes[..cut]).is_err());
        }
        let longer = [&bytes[..], &[0; 3][..padding]].concat();
        prop_assert_eq!(ChannelData::parse(&longer), Ok(whole));
    }

    #[test]
    fn a_stream_comes_apart_into_its_messages(all in vec(message(), 0..6), cuts in vec(any::<Index>(), 0..12)) {
        prop_assert_eq!(split::<TurnStream>(&padded(&all), &cuts), all.clone());
        let prefix = |message: &Vec<u8>| [&(message.len() as u16).to_be_bytes()[..], message].concat();
        let prefixed: Vec<u8> = all.iter().flat_map(prefix).collect();
        prop_assert_eq!(split::<Prefixed>(&prefixed, &cuts), all);
    }

    #[test]
    fn fields_are_those_before_the_integrity(
        lifetime_s in any::<u32>(),
        channel in any::<u16>(),
        peers in vec((any::<IpAddr>(), any::<u16>()), 0..4),
        data in vec(any::<u8>(), 0..30),
        unknown in vec(0x4000..0x7fff_u16, 0..12),
        later in vec((any::<IpAddr>(), any::<u16>()), 0..2),
    ) {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Method::CreatePermission.kind(Class::Request), TransactionId([5; 12]));
        let peers: Vec<_> = peers.into_iter().map(SocketAddr::from).collect();
        writer.number(kinds::LIFETIME, lifetime_s);
        writer.number(kinds::CHANNEL_NUMBER, u32::from(channel) << 16);
        for peer in &peers {
            writer.xor_address(kinds::XOR_PEER_ADDRESS, *peer);
        }
        writer.attribute(kinds::DATA, &data);
        for kind in &unknown {
            writer.attribute(*kind, &[]);
        }
        writer.integrity_sha1(b"key");
        for peer in later {
            writer.xor_address(kinds::XOR_PEER_ADDRESS, peer.into());
        }
        writer.number(kinds::LIFETIME, !lifetime_s).fingerprint();
        let message = Message::parse(&out).unwrap();
        let fields = Fields::read(&message);
        prop_assert_eq!(fields.lifetime_s, Some(lifetime_s));
        prop_assert_eq!(fields.channel, Some(channel));
        prop_assert_eq!(fields.peer, peers.first().copied());
        prop_assert!(fields.peers(&message).eq(peers.iter().copied().map(Some)));
        prop_assert_eq!(&out[fields.data.clone().unwrap()], &data[..]);
        prop_assert_eq!(fields.malformed, None);
        let mut listed: Vec<u16> = Vec::new();
        for kind in unknown {
            if !listed.contains(&kind) && listed.len() < Unknown::MAX {
                listed.push(kind);
            }
        }
        let listed: Vec<u8> = listed.iter().flat_map(|kind| kind.to_be_bytes()).collect();
        let (value, length) = fields.unknown.value();
        prop_assert_eq!(&value[..length], &listed[..]);
        prop_assert_eq!(message.fingerprint(), Fingerprint::Fits);
    }
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop::sample::select(vec![
        kinds::USERNAME,
        kinds::LIFETIME,
        kinds::REQUESTED_TRANSPORT,
        kinds::REQUESTED_ADDRESS_FAMILY,
        kinds::EVEN_PORT,
        kinds::RESERVATION_TOKEN,
        kinds::DONT_FRAGMENT,
        kinds::CHANNEL_NUMBER,
        kinds::XOR_PEER_ADDRESS,
        kinds::DATA,
        kinds::MESSAGE_INTEGRITY,
        kinds::MESSAGE_INTEGRITY_SHA256,
        kinds::FINGERPRINT,
        0x7777,
    ]);
    let value = prop_oneof![
        vec(any::<u8>(), 0..24),
        vec(any::<u8>(), 4),
        vec(any::<u8>(), 8),
        Just(vec![])
    ];
    vec((kind, value), 0..8).prop_map(|attributes| {
        let mut out = Vec::new();
        let kind = Method::Allocate.kind(Class::Request);
        let mut writer = Writer::new(&mut out, kind, TransactionId([3; 12]));
        for (kind, value) in attributes {
            writer.attribute(kind, &value);
        }
        out
    })
}

fn channel_data() -> impl Strategy<Value = Vec<u8>> {
    (ChannelNumber::RANGE, vec(any::<u8>(), 0..60)).prop_map(|(number, data)| {
        let number = ChannelNumber::new(number).unwrap();
        [&ChannelData::header(number, data.len() as u16)[..], &data].concat()
    })
}

/// A message of a TURN stream, without padding.
fn message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![request(), channel_data()]
}

/// The messages as a stream: each is padded to four bytes.
fn padded(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for message in messages {
        stream.extend(message);
        stream.resize(stream.len().next_multiple_of(4), 0);
    }
    stream
}

/// All messages of a stream that arrives in pieces, which end at `cuts`.
fn split<F: Framing>(stream: &[u8], cuts: &[Index]) -> Vec<Vec<u8>> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    cuts.push(stream.len());
    cuts.sort_unstable();
    let mut splitter = Splitter::<F>::new(MAX_FRAME_BYTES);
    let (mut messages, mut start) = (Vec::new(), 0);
    for cut in cuts {
        let mut piece = &stream[start..cut];
        start = cut;
        while let Some(message) = splitter.next(&mut piece).unwrap() {
            messages.push(message.to_vec());
        }
        assert!(piece.is_empty());
    }
    assert!(!splitter.is_within_message());
    messages
}
