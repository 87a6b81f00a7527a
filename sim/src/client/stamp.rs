//! What a media packet says about itself, so that the invariants know it again wherever it arrives.

/// Place of a packet in its publisher's media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the track.
    pub track: u32,
    /// Layer of the track, lowest is 0.
    pub layer: u8,
    /// Number of the frame in its layer. A frame that is no keyframe needs the one before.
    pub frame: u32,
    /// Index of the packet in its frame.
    pub part: u8,
    /// Number of packets of the frame.
    pub parts: u8,
    /// True if the frame needs no other.
    pub is_key: bool,
    /// Number of the packet in its layer, from the start of the track.
    pub number: u32,
}

/// Bytes of a VP8 payload before the stamp: descriptor with a picture id of 15 bits, and the first byte of the payload
/// header (RFC 7741).
const VP8_BYTES: usize = 5;
/// First bytes of each stamp.
const MARK: [u8; 3] = *b"sim";
/// Bytes of a stamp.
const STAMP_BYTES: usize = 3 + 4 + 1 + 4 + 1 + 1 + 1 + 4;

impl Stamp {
    /// Payload of a VP8 packet of `bytes` bytes, or more if the stamp needs them.
    pub fn video(&self, bytes: usize) -> Vec<u8> {
        let start = if self.part == 0 { 0x90 } else { 0x80 };
        let [high, low] = (self.frame as u16).to_be_bytes();
        let mut payload = vec![start, 0x80, high | 0x80, low, u8::from(!self.is_key)];
        self.write(&mut payload, bytes);
        payload
    }

    /// Payload of an audio packet of `bytes` bytes, or more if the stamp needs them.
    pub fn audio(&self, bytes: usize) -> Vec<u8> {
        let mut payload = Vec::new();
        self.write(&mut payload, bytes);
        payload
    }

    /// Stamp of a payload; `None` if it has none, such as padding.
    pub fn read(payload: &[u8], is_audio: bool) -> Option<Self> {
        let bytes = match is_audio {
            true => payload,
            false => payload.get(VP8_BYTES..)?,
        };
        let (stamp, _) = bytes.split_first_chunk::<STAMP_BYTES>()?;
        let rest = stamp.strip_prefix(&MARK)?;
        let number = |at: usize| {
            let bytes = rest[at..at + 4].try_into();
            u32::from_be_bytes(bytes.expect("the slice has that length"))
        };
        Some(Self {
            track: number(0),
            layer: rest[4],
            frame: number(5),
            part: rest[9],
            parts: rest[10],
            is_key: rest[11] != 0,
            number: number(12),
        })
    }

    fn write(&self, payload: &mut Vec<u8>, bytes: usize) {
        payload.extend(MARK);
        payload.extend(self.track.to_be_bytes());
        payload.push(self.layer);
        payload.extend(self.frame.to_be_bytes());
        payload.extend([self.part, self.parts, u8::from(self.is_key)]);
        payload.extend(self.number.to_be_bytes());
        if payload.len() < bytes {
            payload.resize(bytes, 0x5a);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back_and_looks_like_its_codec() {
        let stamp = Stamp {
            track: 7,
            layer: 2,
            frame: 70_000,
            part: 0,
            parts: 3,
            is_key: true,
            number: 9,
        };
        let video = stamp.video(200);
        assert_eq!(video.len(), 200);
        assert_eq!(Stamp::read(&video, false), Some(stamp));
        assert!(spillway_wire::keyframe::vp8(&video));
        let delta = Stamp {
            is_key: false,
            ..stamp
        };
        assert!(!spillway_wire::keyframe::vp8(&delta.video(0)));
        let audio = stamp.audio(0);
        assert_eq!(Stamp::read(&audio, true), Some(stamp));
        assert_eq!(Stamp::read(&audio[..audio.len() - 1], true), None);
        assert_eq!(Stamp::read(&[0; 255], false), None);
    }
}
