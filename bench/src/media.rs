//! Synthetic packets that can be counted and timed where they arrive.
//!
//! Audio has the form of Opus at 50 packets per second, video of VP8 at 30 frames per second with three packets each.
//! Each payload contains a counter and its creation time.

use std::time::{Duration, Instant};

use str0m::media::MediaKind;

/// Creates the packets of one track.
#[derive(Debug)]
pub struct Source {
    kind: MediaKind,
    counter: u32,
    picture_id: u16,
    rtp_time: u32,
    next: Instant,
    needs_keyframe: bool,
}

/// One packet to send.
#[derive(Debug)]
pub struct Packet {
    /// RTP payload of the packet.
    pub payload: Vec<u8>,
    /// RTP timestamp of the packet.
    pub time: u32,
    /// Number of the packet in its track; also its sequence number.
    pub counter: u32,
    /// Last packet of its frame.
    pub marker: bool,
}

/// Counter and time in a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the packet in its track.
    pub counter: u32,
    /// Time of creation, since the start of the process.
    pub made: Duration,
}

const MAGIC: [u8; 4] = *b"SpWy";
const STAMP_BYTES: usize = MAGIC.len() + 4 + 8;
const AUDIO_PERIOD: Duration = Duration::from_millis(20);
const AUDIO_BYTES: usize = 80;
const AUDIO_TICKS: u32 = 960;
const VIDEO_PERIOD: Duration = Duration::from_nanos(33_333_333);
const VIDEO_TICKS: u32 = 3_000;
const VIDEO_BYTES: usize = 1_100;
const VIDEO_PACKETS: u32 = 3;

impl Source {
    /// The first packet is due at `now`.
    pub fn new(kind: MediaKind, now: Instant) -> Self {
        Self {
            kind,
            counter: 0,
            picture_id: 0,
            rtp_time: fastrand::u32(..),
            next: now,
            needs_keyframe: true,
        }
    }

    /// Time of the next due packet.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Number of packets created so far.
    pub fn counter(&self) -> u32 {
        self.counter
    }

    /// Makes the next frame a keyframe.
    pub fn request_keyframe(&mut self) {
        self.needs_keyframe = true;
    }

    /// The packets due at `now`. Open loop: a late caller gets all packets that it missed.
    pub fn due(&mut self, now: Instant, epoch: Instant) -> Vec<Packet> {
        let mut packets = Vec::new();
        while self.next <= now {
            let made = now.duration_since(epoch);
            match self.kind {
                MediaKind::Audio => {
                    packets.push(self.packet(Vec::new(), AUDIO_BYTES, made, true));
                    self.next += AUDIO_PERIOD;
                    self.rtp_time = self.rtp_time.wrapping_add(AUDIO_TICKS);
                }
                MediaKind::Video => {
                    let keyframe = std::mem::take(&mut self.needs_keyframe);
                    for part in 0..VIDEO_PACKETS {
                        let descriptor = self.vp8_descriptor(part == 0, keyframe);
                        let last = part + 1 == VIDEO_PACKETS;
                        packets.push(self.packet(descriptor, VIDEO_BYTES, made, last));
                    }
                    self.picture_id = (self.picture_id + 1) & 0x7fff;
                    self.next += VIDEO_PERIOD;
                    self.rtp_time = self.rtp_time.wrapping_add(VIDEO_TICKS);
                }
            }
        }
        packets
    }

    fn packet(
        &mut self,
        mut payload: Vec<u8>,
        bytes: usize,
        made: Duration,
        marker: bool,
    ) -> Packet {
        let counter = self.counter;
        Stamp { counter, made }.write(&mut payload);
        payload.resize(bytes, 0);
        self.counter += 1;
        Packet {
            payload,
            time: self.rtp_time,
            counter,
            marker,
        }
    }

    /// RFC 7741: extended, with a 15-bit picture id; then the payload header. Its lowest bit is set in frames that
    /// depend on others.
    fn vp8_descriptor(&self, first: bool, keyframe: bool) -> Vec<u8> {
        let [high, low] = self.picture_id.to_be_bytes();
        let start = if first { 0x90 } else { 0x80 };
        vec![start, 0x80, 0x80 | high, low, u8::from(!keyframe)]
    }
}

impl Stamp {
    /// Appends the stamp to `payload`.
    pub fn write(self, payload: &mut Vec<u8>) {
        let made = u64::try_from(self.made.as_nanos()).unwrap_or(u64::MAX);
        payload.extend(MAGIC);
        payload.extend(self.counter.to_be_bytes());
        payload.extend(made.to_be_bytes());
    }

    /// Finds and reads a stamp of [`write`](Self::write) behind a codec header of any length.
    pub fn read(payload: &[u8]) -> Option<Self> {
        Self::split(payload).map(|(stamp, _)| stamp)
    }

    /// As [`read`](Self::read), with the bytes behind the stamp.
    pub fn split(payload: &[u8]) -> Option<(Self, &[u8])> {
        let at = payload
            .windows(MAGIC.len())
            .take(16)
            .position(|window| window == MAGIC)?;
        let (stamp, rest) = payload.get(at..)?.split_first_chunk::<STAMP_BYTES>()?;
        let (_, numbers) = stamp.split_at(MAGIC.len());
        let (counter, made) = numbers.split_first_chunk::<4>()?;
        let stamp = Self {
            counter: u32::from_be_bytes(*counter),
            made: Duration::from_nanos(u64::from_be_bytes(made.try_into().ok()?)),
        };
        Some((stamp, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_at_their_rate_and_say_what_they_are() {
        let epoch = Instant::now();
        for (kind, per_second) in [(MediaKind::Audio, 50), (MediaKind::Video, 90)] {
            let mut source = Source::new(kind, epoch);
            assert!(source.due(epoch, epoch).len() <= 3);
            let later = epoch + Duration::from_millis(999);
            let packets = source.due(later, epoch);
            assert!(
                (per_second - 3..=per_second).contains(&(packets.len() as i32)),
                "{kind}"
            );
            for packet in packets {
                let stamp = Stamp::read(&packet.payload).unwrap();
                assert_eq!(
                    stamp,
                    Stamp {
                        counter: packet.counter,
                        made: Duration::from_millis(999)
                    }
                );
            }
        }
        assert_eq!(Stamp::read(b"no stamp in here"), None);
        assert_eq!(Stamp::read(b"SpWy"), None);
    }
}
