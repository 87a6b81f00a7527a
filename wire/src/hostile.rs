//! What has to hold for any bytes whatever: the properties that the fuzz targets look for violations of,
//! and that the corpora are replayed against in the normal test run.
//!
//! Each function panics when its property does not hold.

use crate::{demux, keyframe, red, rtcp, stun};

/// A message that parses has attributes that lie inside it, in order, and an integrity that covers
/// exactly what precedes it.
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

/// What is classified is long enough for the header of its protocol, and STUN never passes for media.
pub fn demux(bytes: &[u8]) {
    match demux::protocol(bytes) {
        Some(demux::Protocol::Rtp) => assert!(bytes.len() >= 12 && bytes[0] >> 6 == 2),
        Some(demux::Protocol::Rtcp) => assert!(bytes.len() >= 8 && bytes[0] >> 6 == 2),
        Some(demux::Protocol::Stun) => assert!(bytes.len() >= 20 && bytes[0] < 4),
        Some(demux::Protocol::Dtls) => assert!(bytes.len() >= 13),
        Some(demux::Protocol::TurnChannel) => assert!(bytes.len() >= 4),
        None => {}
    }
}

/// No payload makes a reader go past its end, and an empty one starts nothing.
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

/// Packets come to an end, and none yields more than its bytes can hold.
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

/// A feedback speaks of as many packets as it says, and writing it again loses nothing.
fn transport_feedback(feedback: &rtcp::TransportFeedback<'_>, bytes: &[u8]) {
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

    /// Every file of the corpora, and each of them cut off and with single bits flipped.
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
    fn the_rtcp_corpus_and_its_neighbours_hold() {
        replay("rtcp", super::rtcp);
    }
}
