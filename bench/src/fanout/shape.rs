//! Sizes and times of a publisher's packets: frames of realistic sizes, cut and paced like libwebrtc.
//!
//! Open loop: the schedule does not wait, and a late caller gets all missed packets. Makes sizes and times;
//! [`super::payload`] makes the bytes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Video frames per second.
pub const FRAMES_PER_SECOND: u32 = 30;
/// Bytes of a packet besides its payload: RTP header, usual extensions and authentication tag.
pub const RTP_OVERHEAD_BYTES: usize = 12 + 16 + 16;
/// Maximum RTP packet of libwebrtc by default, in bytes.
pub const MAX_PACKET_BYTES: usize = 1_200;
/// Interval of periodic keyframes, besides requested ones.
const KEYFRAME_PERIOD_FRAMES: u32 = 10 * FRAMES_PER_SECOND;
/// Size of a keyframe as a multiple of other frames.
const KEYFRAME_SIZE: u32 = 5;
/// Variation of frame sizes, in percent.
const VARIATION_PERCENT: u32 = 20;
const VIDEO_CLOCK_HZ: u32 = 90_000;
/// Factor by which libwebrtc's pacer sends faster than the target bitrate.
const PACING_FACTOR: f64 = 2.5;

const AUDIO_PERIOD: Duration = Duration::from_millis(20);
const AUDIO_TICKS: u32 = 960;
const AUDIO_BYTES: std::ops::RangeInclusive<usize> = 80..=120;

/// One packet to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Payload bytes, codec header included.
    pub bytes: usize,
    /// RTP timestamp of the packet.
    pub time: u32,
    /// First packet of its frame.
    pub first: bool,
    /// Last packet of its frame.
    pub last: bool,
    /// Part of a keyframe.
    pub keyframe: bool,
    /// VP8 picture id: counts frames.
    pub picture: u16,
}

/// The schedule of one stream.
#[derive(Debug)]
pub enum Shape {
    /// Video frames of several packets.
    Video(Video),
    /// Audio packets of 20 ms.
    Audio(Audio),
}

/// Video frames and their pacer.
#[derive(Debug)]
pub struct Video {
    frame_bytes: usize,
    frames: u32,
    pictures: u16,
    since_keyframe: u32,
    keyframe_wanted: bool,
    start: Instant,
    rtp_start: u32,
    waiting: VecDeque<Piece>,
    pacer: Option<Pacer>,
    seed: u64,
    random: fastrand::Rng,
}

/// Leaky bucket: sent bytes are a debt that drains at the pacing rate. While it drains in less than the length of a
/// burst, the next packet is sent at once.
#[derive(Debug)]
struct Pacer {
    burst: Duration,
    bytes_per_second: f64,
    /// Bytes that were sent ahead of the rate, at the time `at`.
    debt_bytes: f64,
    at: Instant,
    /// Time when the debt is low enough for the next packet.
    next: Instant,
}

/// Opus at 50 packets a second.
#[derive(Debug)]
pub struct Audio {
    packets: u32,
    start: Instant,
    rtp_start: u32,
    random: fastrand::Rng,
}

impl Shape {
    /// Video at `bps` (of whole RTP packets). The pacer releases bursts of the length `burst` immediately; `None`: each
    /// frame is sent at once. The first frame is due at `start`.
    pub fn video(bps: u64, burst: Option<Duration>, start: Instant, seed: u64) -> Self {
        let frame_bytes = bps / 8 / u64::from(FRAMES_PER_SECOND);
        let frame_bytes = usize::try_from(frame_bytes).expect("bitrates are limited");
        let pacer = burst.map(|burst| Pacer {
            burst,
            bytes_per_second: bps as f64 * PACING_FACTOR / 8.0,
            debt_bytes: 0.0,
            at: start,
            next: start,
        });
        let mut random = fastrand::Rng::with_seed(seed);
        let periods_differ = random.u32(0..KEYFRAME_PERIOD_FRAMES);
        Self::Video(Video {
            frame_bytes,
            frames: 0,
            pictures: 0,
            since_keyframe: periods_differ,
            keyframe_wanted: true,
            start,
            rtp_start: fastrand::u32(..),
            waiting: VecDeque::new(),
            pacer,
            seed,
            random,
        })
    }

    /// Speech, due first at `start`.
    pub fn audio(start: Instant, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        Self::Audio(Audio {
            packets: 0,
            start,
            rtp_start: random.u32(..),
            random,
        })
    }

    /// Time of the next due packet.
    pub fn next(&self) -> Instant {
        match self {
            Self::Video(video) => video.next(),
            Self::Audio(audio) => audio.start + AUDIO_PERIOD * audio.packets,
        }
    }

    /// Appends the packets due at `now` to `out`.
    pub fn due(&mut self, now: Instant, out: &mut Vec<Piece>) {
        match self {
            Self::Video(video) => video.due(now, out),
            Self::Audio(audio) => audio.due(now, out),
        }
    }

    /// Makes the next frame a keyframe.
    pub fn request_keyframe(&mut self) {
        if let Self::Video(video) = self {
            video.keyframe_wanted = true;
        }
    }

    /// Continues at `start` after a pause.
    pub fn resume(&mut self, start: Instant) {
        match self {
            Self::Video(video) => video.resume(start),
            Self::Audio(audio) => {
                audio.rtp_start = audio.rtp_start.wrapping_add(audio.packets * AUDIO_TICKS);
                (audio.start, audio.packets) = (start, 0);
            }
        }
    }
}

impl Video {
    fn next(&self) -> Instant {
        match &self.pacer {
            Some(pacer) if !self.waiting.is_empty() => pacer.next.min(self.next_frame()),
            Some(_) | None => self.next_frame(),
        }
    }

    fn next_frame(&self) -> Instant {
        self.start + Duration::from_secs(1) * self.frames / FRAMES_PER_SECOND
    }

    fn due(&mut self, now: Instant, out: &mut Vec<Piece>) {
        loop {
            let at = self.next();
            if at > now {
                return;
            }
            if self.next_frame() <= at {
                self.cut_frame();
            }
            match &mut self.pacer {
                Some(pacer) => pacer.release(at, &mut self.waiting, out),
                None => out.extend(self.waiting.drain(..)),
            }
        }
    }

    /// Restarts the schedule, so that every window is the same.
    fn resume(&mut self, start: Instant) {
        self.rtp_start = self.rtp_time();
        (self.start, self.frames) = (start, 0);
        self.random = fastrand::Rng::with_seed(self.seed);
        self.since_keyframe = self.random.u32(0..KEYFRAME_PERIOD_FRAMES);
        self.waiting.clear();
        if let Some(pacer) = &mut self.pacer {
            (pacer.debt_bytes, pacer.at) = (0.0, start);
        }
    }

    fn rtp_time(&self) -> u32 {
        let ticks = self.frames.wrapping_mul(VIDEO_CLOCK_HZ / FRAMES_PER_SECOND);
        self.rtp_start.wrapping_add(ticks)
    }

    fn cut_frame(&mut self) {
        let keyframe = std::mem::take(&mut self.keyframe_wanted)
            || self.since_keyframe >= KEYFRAME_PERIOD_FRAMES;
        let bytes = self.frame_bytes(keyframe);
        self.since_keyframe = if keyframe { 0 } else { self.since_keyframe + 1 };
        let (time, picture) = (self.rtp_time(), self.pictures);
        let sizes = cut(bytes);
        let last = sizes.len() - 1;
        let pieces = sizes.into_iter().enumerate().map(|(index, bytes)| Piece {
            bytes,
            time,
            first: index == 0,
            last: index == last,
            keyframe,
            picture,
        });
        self.waiting.extend(pieces);
        self.frames += 1;
        self.pictures = (self.pictures + 1) & 0x7fff;
    }

    /// A random size around the mean, which is reduced for the keyframe of each period.
    fn frame_bytes(&mut self, keyframe: bool) -> usize {
        let others = KEYFRAME_PERIOD_FRAMES;
        let mean = self.frame_bytes * others as usize / (others + KEYFRAME_SIZE - 1) as usize;
        let size = mean * if keyframe { KEYFRAME_SIZE as usize } else { 1 };
        let percent = self
            .random
            .u32(100 - VARIATION_PERCENT..=100 + VARIATION_PERCENT);
        size * percent as usize / 100
    }
}

impl Pacer {
    /// Moves the packets that the pacer releases at `now` to `out`.
    fn release(&mut self, now: Instant, waiting: &mut VecDeque<Piece>, out: &mut Vec<Piece>) {
        let paid = now.saturating_duration_since(self.at).as_secs_f64() * self.bytes_per_second;
        (self.debt_bytes, self.at) = ((self.debt_bytes - paid).max(0.0), now);
        while !waiting.is_empty() {
            let drain = Duration::from_secs_f64(self.debt_bytes / self.bytes_per_second);
            if drain >= self.burst {
                self.next = now + drain;
                return;
            }
            let piece = waiting.pop_front().expect("it is not empty");
            self.debt_bytes += (piece.bytes + RTP_OVERHEAD_BYTES) as f64;
            out.push(piece);
        }
    }
}

impl Audio {
    fn due(&mut self, now: Instant, out: &mut Vec<Piece>) {
        while self.start + AUDIO_PERIOD * self.packets <= now {
            out.push(Piece {
                bytes: self.random.usize(AUDIO_BYTES),
                time: self.rtp_start.wrapping_add(self.packets * AUDIO_TICKS),
                first: true,
                last: self.packets == 0,
                keyframe: false,
                picture: 0,
            });
            self.packets += 1;
        }
    }
}

/// Payload sizes of a frame of `bytes` in all: the fewest possible packets, nearly equal, the larger ones last
/// (libwebrtc's `SplitAboutEqually`).
fn cut(bytes: usize) -> Vec<usize> {
    let count = bytes.div_ceil(MAX_PACKET_BYTES).max(1);
    let payload = bytes
        .saturating_sub(count * RTP_OVERHEAD_BYTES)
        .max(count * MIN_PAYLOAD_BYTES);
    let (each, larger) = (payload / count, payload % count);
    (0..count)
        .map(|index| each + usize::from(index >= count - larger))
        .collect()
}

/// Minimum size of a payload in bytes: space for the codec's header and the stamp.
const MIN_PAYLOAD_BYTES: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(
        shape: &mut Shape,
        start: Instant,
        time: Duration,
        step: Duration,
    ) -> Vec<(Duration, Piece)> {
        let (mut all, mut now) = (Vec::new(), start);
        while now < start + time {
            let mut out = Vec::new();
            shape.due(now, &mut out);
            all.extend(out.into_iter().map(|piece| (now - start, piece)));
            assert!(shape.next() > now);
            now += step;
        }
        all
    }

    #[test]
    fn video_keeps_its_bitrate_in_packets_that_differ_by_a_byte() {
        let start = Instant::now();
        for burst in [None, Some(Duration::from_millis(5))] {
            let mut shape = Shape::video(2_000_000, burst, start, 7);
            let step = Duration::from_millis(1);
            let pieces = collect(&mut shape, start, Duration::from_secs(60), step);
            let bytes: usize = pieces
                .iter()
                .map(|(_, p)| p.bytes + RTP_OVERHEAD_BYTES)
                .sum();
            let bps = bytes * 8 / 60;
            assert!((1_900_000..2_100_000).contains(&bps), "{bps}");
            for frame in pieces.chunk_by(|(_, a), (_, b)| a.time == b.time) {
                let sizes = frame.iter().map(|(_, piece)| piece.bytes);
                let (least, most) = (sizes.clone().min().unwrap(), sizes.max().unwrap());
                assert!(most - least <= 1, "{least} {most}");
                assert!(most + RTP_OVERHEAD_BYTES <= MAX_PACKET_BYTES);
                assert!(frame[0].1.first && frame.last().unwrap().1.last);
            }
            let key = |p: &Piece| p.keyframe && p.first;
            let keyframes = pieces.iter().filter(|(_, piece)| key(piece)).count();
            assert!((6..=7).contains(&keyframes), "{keyframes}");
        }
    }

    #[test]
    fn the_pacer_spreads_a_frame_and_a_late_caller_gets_all() {
        let start = Instant::now();
        let burst = Some(Duration::from_millis(5));
        let mut shape = Shape::video(2_000_000, burst, start, 7);
        let step = Duration::from_micros(500);
        let pieces = collect(&mut shape, start, Duration::from_secs(2), step);
        let most = pieces
            .chunk_by(|a, b| a.0 == b.0)
            .map(<[_]>::len)
            .max()
            .unwrap();
        assert!((2..=4).contains(&most), "{most} packets in a burst");

        let mut late = Shape::video(2_000_000, burst, start, 7);
        let mut all = Vec::new();
        late.due(start + Duration::from_millis(1_999), &mut all);
        // The counts may differ by the packets that the pacer still holds.
        assert!(
            pieces.len().abs_diff(all.len()) <= 10,
            "{} {}",
            pieces.len(),
            all.len()
        );
    }

    #[test]
    fn with_long_bursts_frames_leave_when_they_are_made_and_keyframes_in_two() {
        let start = Instant::now();
        let burst = Some(Duration::from_millis(40));
        let mut shape = Shape::video(2_000_000, burst, start, 7);
        let step = Duration::from_micros(500);
        let pieces = collect(&mut shape, start, Duration::from_secs(12), step);
        let (mut keyframes, mut at_once) = (0, 0);
        for frame in pieces.chunk_by(|(_, a), (_, b)| a.time == b.time) {
            let (first, last) = (frame[0].0, frame[frame.len() - 1].0);
            let ticks = frame[0].1.time.wrapping_sub(pieces[0].1.time);
            let made = Duration::from_secs_f64(f64::from(ticks) / f64::from(VIDEO_CLOCK_HZ));
            let late = first.saturating_sub(made);
            if frame[0].1.keyframe {
                keyframes += 1;
                assert!(late <= step, "{late:?}");
                assert!((20..=40).contains(&(last - first).as_millis()));
            } else {
                at_once += usize::from(late <= step && first == last);
            }
        }
        assert_eq!(keyframes, 2);
        // Frames behind a keyframe may be delayed.
        assert!((354..=358).contains(&at_once), "{at_once} of 358 frames");
    }

    #[test]
    fn audio_is_fifty_small_packets_a_second() {
        let start = Instant::now();
        let mut shape = Shape::audio(start, 1);
        let pieces = collect(
            &mut shape,
            start,
            Duration::from_secs(2),
            Duration::from_millis(3),
        );
        assert_eq!(pieces.len(), 100);
        assert!(
            pieces
                .iter()
                .all(|(_, piece)| AUDIO_BYTES.contains(&piece.bytes))
        );
    }

    #[test]
    fn every_window_has_the_same_frames() {
        let start = Instant::now();
        let mut shape = Shape::video(2_000_000, Some(Duration::from_millis(5)), start, 9);
        let window = |shape: &mut Shape, at: Instant| {
            shape.resume(at);
            let pieces = collect(shape, at, Duration::from_secs(12), Duration::from_millis(1));
            let sizes = pieces
                .into_iter()
                .map(|(_, piece)| (piece.bytes, piece.keyframe));
            sizes.collect::<Vec<_>>()
        };
        // The first frame is always a keyframe; later keyframes depend only on the schedule.
        shape.due(start, &mut Vec::new());
        let first = window(&mut shape, start + Duration::from_secs(1));
        assert_eq!(first, window(&mut shape, start + Duration::from_secs(20)));
    }

    #[test]
    fn a_keyframe_comes_when_asked_for() {
        let start = Instant::now();
        let mut shape = Shape::video(1_000_000, None, start, 3);
        let mut out = Vec::new();
        shape.due(start + Duration::from_millis(40), &mut out);
        out.clear();
        shape.request_keyframe();
        shape.due(start + Duration::from_millis(70), &mut out);
        assert!(out.iter().all(|piece| piece.keyframe) && out.len() > 10);
    }
}
