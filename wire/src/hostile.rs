//! What has to hold for any bytes whatever: the properties that the fuzz targets look for violations of,
//! and that the corpora are replayed against in the normal test run.
//!
//! Each function panics when its property does not hold.

use crate::{demux, keyframe, red, stun};

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
}
