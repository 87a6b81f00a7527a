//! Properties that must hold for any bytes: the fuzz targets search for violations, and the normal test run replays the
//! corpora.
//!
//! Each function panics when its property does not hold.

use std::net::Ipv6Addr;

use crate::{demux, keyframe, red, rtcp, rtp, stun, turn};

/// Property: a parsed message has attributes inside the message, in order, and an integrity that covers exactly the
/// bytes before it.
pub fn stun(bytes: &[u8]) {
    let Ok(message) = stun::Message::parse(bytes) else {
        return;
    };
    let mut next = 20;
    for attribute in message.attributes() {
        assert_eq!(attribute.at, next, "attributes follow each other");
        next += 4 + attribute.value.len().next_multiple_of(4);
    }
    assert_eq!(next, bytes.len(), "attributes fill the message");
    if let Some(integrity) = message.integrity() {
        let end = 20 + integrity.attributes.len();
        assert_eq!(&bytes[20..end], integrity.attributes);
        assert_eq!(&bytes[end + 4..end + 24], integrity.mac);
    }
    if let Some(ufrag) = message.receiver_ufrag() {
        assert!(!ufrag.contains(':'));
    }
}

/// Property: the fields of a request are slices of the request, before its integrity; written fields are read back
/// unchanged.
pub fn turn_fields(bytes: &[u8]) {
    let Ok(message) = stun::Message::parse(bytes) else {
        return;
    };
    let fields = turn::Fields::read(&message);
    let integrity = message
        .attributes()
        .map(|attribute| (attribute.kind, attribute.at))
        .find(|(kind, _)| {
            matches!(
                *kind,
                stun::kinds::MESSAGE_INTEGRITY | stun::kinds::MESSAGE_INTEGRITY_SHA256
            )
        });
    let end = integrity.map_or(bytes.len(), |(_, at)| at);
    assert_eq!(
        fields.has_integrity || fields.has_integrity_sha256,
        integrity.is_some()
    );
    if let Some(data) = fields.data.clone() {
        assert!(data.start >= 24 && data.end <= end);
    }
    assert!(fields.peers(&message).count() * 4 <= end);
    assert!(fields.unknown.value().1 <= 2 * turn::Unknown::MAX);
    let _ = message.fingerprint();
    let Some(peer) = fields.peer else {
        return;
    };
    let mut out = Vec::new();
    stun::Writer::new(&mut out, message.kind(), message.transaction())
        .xor_address(stun::kinds::XOR_PEER_ADDRESS, peer)
        .integrity_sha256(b"key")
        .fingerprint();
    let again = stun::Message::parse(&out).expect("what was written is a message");
    assert_eq!(turn::Fields::read(&again).peer, Some(peer));
    assert_eq!(again.fingerprint(), stun::Fingerprint::Fits);
}

/// Property: channel data has the length in its header, is inside the message, and is never STUN.
pub fn turn_channel(bytes: &[u8]) {
    let Ok(channel) = turn::ChannelData::parse(bytes) else {
        return;
    };
    assert!(stun::Message::parse(bytes).is_err());
    let length = u16::try_from(channel.data.len()).expect("the header has two bytes for it");
    let mut out = turn::ChannelData::header(channel.number, length).to_vec();
    out.extend_from_slice(channel.data);
    assert_eq!(out, bytes[..out.len()]);
}

/// Property: expiry and user are slices that cover the whole username; a user without expiry may look like an expiry.
pub fn turn_username(bytes: &[u8]) {
    let username = turn::Username::read(bytes);
    assert!(bytes.ends_with(username.user));
    let before = &bytes[..bytes.len() - username.user.len()];
    let digits = match before.split_last() {
        None => {
            assert!(!bytes.contains(&b':'));
            bytes
        }
        Some((colon, digits)) => {
            assert_eq!(*colon, b':');
            assert!(!digits.contains(&b':'), "the first colon ends the expiry");
            digits
        }
    };
    if let Some(expiry_s) = username.expiry_s {
        assert!(digits.iter().all(u8::is_ascii_digit));
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        let number = &digits[zeros..];
        assert!(number == expiry_s.to_string().as_bytes() || number.is_empty() && expiry_s == 0);
    }
}

/// Property: an IPv4 address behind a NAT64 prefix is found, for any other bits, and in addition to well-known
/// notations. The first byte chooses the prefix length, 16 more bytes are the address.
pub fn nat64(bytes: &[u8]) {
    let Some((selector, rest)) = bytes.split_first() else {
        return;
    };
    let Some(octets) = rest.first_chunk::<16>() else {
        return;
    };
    let ip = Ipv6Addr::from(*octets);
    let lengths = turn::NAT64_LENGTHS;
    let length = lengths[usize::from(*selector) % lengths.len()];
    let net = Ipv6Addr::from(u128::from(ip) & (u128::MAX << (128 - length)));
    let prefix: turn::Nat64Prefix = format!("{net}/{length}").parse().expect("a prefix");
    let found = prefix.embedded(ip.into()).expect("it has the prefix");
    // And back, according to RFC 6052 section 2.2.
    let (mut made, mut at) = (net.octets(), usize::from(length / 8));
    for octet in found.octets() {
        at += usize::from(at == 8);
        made[at] = octet;
        at += 1;
    }
    let kept = (0..at).filter(|at| *at != 8 || length == 96);
    kept.for_each(|at| assert_eq!(made[at], octets[at], "{ip} behind {prefix}"));
    assert_eq!(prefix.embedded(Ipv6Addr::from(made).into()), Some(found));
    let carried = turn::embedded(ip.into());
    if let Some(mapped) = ip.to_ipv4() {
        assert!(carried.contains(&Some(mapped)), "{ip}: {carried:?}");
    }
    if turn::in_v6(ip, turn::NAT64) {
        let last = [octets[12], octets[13], octets[14], octets[15]];
        assert!(carried.contains(&Some(last.into())), "{ip}: {carried:?}");
    }
}

/// Property: a stream is split into the same messages, and ends with the same error, however it is cut into pieces. The
/// splitter holds no more bytes than have arrived.
pub fn turn_stream(bytes: &[u8]) {
    cuts_agree::<turn::TurnStream>(bytes);
    cuts_agree::<turn::Prefixed>(bytes);
}

fn cuts_agree<F: turn::Framing>(bytes: &[u8]) {
    const LIMIT_BYTES: usize = 4_096;
    let step = 1 + bytes.first().map_or(0, |first| usize::from(first % 7));
    let whole = split::<F>(bytes, bytes.len().max(1), LIMIT_BYTES);
    assert_eq!(split::<F>(bytes, step, LIMIT_BYTES), whole);
    for message in &whole.0 {
        assert!(message.len() <= LIMIT_BYTES);
    }
}

/// All messages of `bytes`, and the framing error, if any.
fn split<F: turn::Framing>(
    bytes: &[u8],
    step: usize,
    limit_bytes: usize,
) -> (Vec<Vec<u8>>, Option<turn::FramingError>) {
    let mut splitter = turn::Splitter::<F>::new(limit_bytes);
    let mut messages = Vec::new();
    for mut piece in bytes.chunks(step) {
        loop {
            match splitter.next(&mut piece) {
                Ok(Some(message)) => messages.push(message.to_vec()),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
        assert!(piece.is_empty(), "what is not handed out is held");
        assert!(splitter.waits_for() > 0);
        assert!(splitter.held_bytes() <= (2 * bytes.len()).max(64));
    }
    (messages, None)
}

/// Property: a classified datagram is at least as long as the header of its protocol, and STUN is never taken for
/// media.
pub fn demux(bytes: &[u8]) {
    match demux::protocol(bytes) {
        Some(demux::Protocol::Rtp) => assert!(bytes.len() >= 12 && bytes[0] >> 6 == 2),
        Some(demux::Protocol::Rtcp) => assert!(bytes.len() >= 8 && bytes[0] >> 6 == 2),
        Some(demux::Protocol::Stun) => assert!(bytes.len() >= 20 && bytes[0] < 4),
        Some(demux::Protocol::Dtls) => assert!(bytes.len() >= 13),
        Some(demux::Protocol::TurnChannel) => assert!(bytes.len() >= 4),
        None => {}
    }
    if let Some(header) = rtp::Received::read(bytes) {
        assert!((12..=bytes.len()).contains(&header.length));
        let values = rtp::extensions(bytes).map(|(_, value)| value.len());
        assert!(values.sum::<usize>() <= header.length - 12);
    }
}

/// Property: no payload makes a reader read past its end, and an empty payload starts no keyframe.
pub fn payload(bytes: &[u8]) {
    let starts = [
        keyframe::vp8(bytes),
        keyframe::vp9(bytes),
        keyframe::h264(bytes),
        keyframe::av1(bytes),
    ];
    assert!(!bytes.is_empty() || starts == [false; 4]);
    if let Some(primary) = red::primary(bytes) {
        assert!(primary.len() < bytes.len());
        assert!(bytes.ends_with(primary));
    }
}

/// Property: iterators end, and yield no more than the bytes can contain.
pub fn rtcp(bytes: &[u8]) {
    let mut packets = 0;
    for packet in rtcp::packets(bytes).flatten() {
        packets += 1;
        match packet {
            rtcp::Packet::SenderReport { blocks, .. }
            | rtcp::Packet::ReceiverReport { blocks, .. } => {
                assert!(blocks.count() * 24 <= bytes.len());
            }
            rtcp::Packet::Nack { lost, .. } => assert!(lost.count() * 4 <= bytes.len() * 17),
            rtcp::Packet::Fir { entries } => assert!(entries.count() * 8 <= bytes.len()),
            rtcp::Packet::Remb(remb) => assert!(remb.ssrcs().count() * 4 <= bytes.len()),
            rtcp::Packet::TransportFeedback(feedback) => transport_feedback(&feedback, bytes),
            rtcp::Packet::Pli { .. } | rtcp::Packet::Bye | rtcp::Packet::Other => {}
        }
    }
    assert!(packets * 4 <= bytes.len());
}

/// Property: a feedback covers the number of packets in its header, and writing it again loses nothing.
fn transport_feedback(feedback: &rtcp::TransportFeedback<'_>, bytes: &[u8]) {
    let steps = feedback.runs().count();
    assert!(
        steps <= bytes.len() * 7,
        "{steps} steps, {} bytes",
        bytes.len()
    );
    let claimed: usize = feedback.runs().map(|run| usize::from(run.count)).sum();
    assert_eq!(claimed, usize::from(feedback.status_count()));
    let deltas: Vec<_> = feedback.arrivals().map(|(_, delta)| delta).collect();
    assert_eq!(deltas.len(), usize::from(feedback.status_count()));
    assert!(deltas.iter().flatten().count() <= bytes.len());
    let mut out = vec![0; 64 + deltas.len() * 3];
    let length = rtcp::write_transport_feedback(feedback.header(), &deltas, &mut out)
        .expect("there is room for what was read");
    let Some(Ok(rtcp::Packet::TransportFeedback(again))) = rtcp::packets(&out[..length]).next()
    else {
        panic!("what was written is no feedback");
    };
    assert_eq!(again.header(), feedback.header());
    assert!(again.arrivals().eq(feedback.arrivals()));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Every file of the corpus, also cut off and with single bits flipped.
    fn replay(target: &str, property: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/corpus")
            .join(target);
        let mut files = 0;
        for file in std::fs::read_dir(&folder).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            files += 1;
            for end in 0..=bytes.len() {
                property(&bytes[..end]);
            }
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                property(&flipped);
            }
        }
        assert!(files >= 4, "{} holds {files} files", folder.display());
    }

    #[test]
    fn the_stun_corpus_and_its_neighbours_hold() {
        replay("stun", super::stun);
    }

    #[test]
    fn the_demux_corpus_and_its_neighbours_hold() {
        replay("demux", super::demux);
    }

    #[test]
    fn the_payload_corpus_and_its_neighbours_hold() {
        replay("payload", super::payload);
    }

    #[test]
    fn the_turn_corpora_and_their_neighbours_hold() {
        replay("turn_fields", super::turn_fields);
        replay("turn_channel", super::turn_channel);
        replay("turn_stream", super::turn_stream);
        replay("turn_username", super::turn_username);
        replay("nat64", super::nat64);
    }

    #[test]
    fn the_rtcp_corpus_and_its_neighbours_hold() {
        replay("rtcp", super::rtcp);
    }
}
