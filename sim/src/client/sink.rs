//! Media that a viewer receives: finds gaps and asks for what is missing, joins frames and asks for keyframes, reports.

use std::collections::BTreeMap;
use std::time::Duration;

use spillway_dataplane::srtp::packet_index;
use spillway_wire::rtcp::{
    DELTA_US, Packet, REFERENCE_US, TransportHeader, packets, write_transport_feedback,
};
use spillway_wire::rtp::extensions;

use super::rtcp::{Block, write_nack, write_pli, write_receiver_report};
use super::sdp::{Remote, TRANSPORT_WIDE};
use super::stamp::Stamp;
use super::transport::{Rtp, Transport};
use crate::clock::Time;
use crate::coverage::State;

/// Everything that a viewer receives in one session.
pub struct Sink {
    /// Our SSRC in feedback.
    ssrc: u32,
    kinds: BTreeMap<u32, Kind>,
    streams: BTreeMap<u32, Stream>,
    transport_wide: Option<u8>,
    /// Transport-wide numbers with their arrival times, since the last feedback.
    arrivals: BTreeMap<u64, Time>,
    highest_wide: Option<u64>,
    feedback_count: u8,
    next_feedback: Time,
    next_report: Time,
    /// True while the viewer sends no feedback, like a page that sleeps.
    pub is_asleep: bool,
    /// Time of the latest frame that was decoded, by track.
    decoded_at: BTreeMap<u32, Time>,
    /// Time of the latest padding, with which the other side probes.
    padding_at: Time,
}

/// What an SSRC carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Audio,
    Video,
    /// Retransmissions of this SSRC (RFC 4588).
    Rtx(u32),
}

/// One RTP stream that a viewer receives.
#[derive(Default)]
struct Stream {
    is_video: bool,
    first: Option<u64>,
    highest: Option<u64>,
    received: u64,
    missing: BTreeMap<u64, Missing>,
    /// Counts at the last report: expected, received.
    reported: (u64, u64),
    last_sr: Option<(u32, Time)>,
    /// Frames that are not decoded, by track, layer and number.
    frames_by_place: BTreeMap<(u32, u8, u32), Parts>,
    /// Track, layer and number of the last frame that could be decoded.
    decoded: Option<(u32, u8, u32)>,
    /// Number of decoded frames.
    frames: u64,
    /// Time of the latest change of the layer.
    switched_at: Option<Time>,
    /// First packet since the last decoded frame.
    stuck_since: Option<Time>,
    asked_for_key: Option<Time>,
}

/// Packets of a frame that have arrived.
#[derive(Debug, Default, Clone, Copy)]
struct Parts {
    /// A bit for each packet.
    got: u32,
    is_complete: bool,
}

struct Missing {
    since: Time,
    asked_at: Option<Time>,
    tries: u8,
}

/// Time after which a gap is no reordering.
const PATIENCE: Duration = Duration::from_millis(20);
/// Time between requests for the same packet.
const NACK_PAUSE: Duration = Duration::from_millis(80);
/// Requests for a packet before it is given up.
const NACK_TRIES: u8 = 6;
/// Time without a decoded frame after which a keyframe is requested, and between requests.
const KEY_PAUSE: Duration = Duration::from_millis(300);
/// Time between transport feedback.
const FEEDBACK: Duration = Duration::from_millis(100);
/// Time between receiver reports.
const REPORT: Duration = Duration::from_secs(1);
/// Frames that are kept until they are complete.
const MAX_FRAMES: usize = 64;
/// Gaps that are remembered.
const MAX_MISSING: usize = 512;

impl Sink {
    /// A viewer whose feedback has this SSRC.
    pub fn new(ssrc: u32) -> Self {
        Self {
            ssrc,
            kinds: BTreeMap::new(),
            streams: BTreeMap::new(),
            transport_wide: None,
            arrivals: BTreeMap::new(),
            highest_wide: None,
            feedback_count: 0,
            next_feedback: Time::ZERO,
            next_report: Time::ZERO,
            is_asleep: false,
            decoded_at: BTreeMap::new(),
            padding_at: Time::ZERO,
        }
    }

    /// Handles an offer of the other side.
    pub fn set_remote(&mut self, remote: &Remote) {
        self.transport_wide = remote.extension(TRANSPORT_WIDE).or(self.transport_wide);
        for line in &remote.lines {
            for ssrc in &line.ssrcs {
                let main = line.rtx.iter().find(|(_, rtx)| rtx == ssrc);
                let kind = match main {
                    Some((main, _)) => Kind::Rtx(*main),
                    None if line.is_audio => Kind::Audio,
                    None => Kind::Video,
                };
                self.kinds.insert(*ssrc, kind);
            }
        }
    }

    /// The stamp of `rtp`, with the SSRC and the index of its stream; retransmissions belong to the stream that they repair.
    pub fn stamp(&self, rtp: &Rtp) -> Option<(u32, u64, Stamp)> {
        let (ssrc, payload) = (rtp.header.ssrc, rtp.payload());
        match self.kinds.get(&ssrc)? {
            Kind::Audio => Some((ssrc, rtp.index, Stamp::read(payload, true)?)),
            Kind::Video => Some((ssrc, rtp.index, Stamp::read(payload, false)?)),
            Kind::Rtx(main) => {
                let (seq, payload) = payload.split_first_chunk()?;
                let highest = self.streams.get(main).and_then(|stream| stream.highest);
                let index = packet_index(highest, u16::from_be_bytes(*seq));
                let is_audio = self.kinds.get(main) == Some(&Kind::Audio);
                Some((*main, index, Stamp::read(payload, is_audio)?))
            }
        }
    }

    /// True if `ssrc` carries retransmissions.
    pub fn is_rtx(&self, ssrc: u32) -> bool {
        matches!(self.kinds.get(&ssrc), Some(Kind::Rtx(_)))
    }

    /// True if `ssrc` carries video.
    pub fn is_video(&self, ssrc: u32) -> bool {
        self.kinds.get(&ssrc) == Some(&Kind::Video)
    }

    /// Number of frames that could be decoded.
    pub fn frames(&self) -> u64 {
        self.streams.values().map(|stream| stream.frames).sum()
    }

    /// Handles an RTP packet of the node.
    pub fn receive(&mut self, rtp: &Rtp, now: Time) {
        if let Some(id) = self.transport_wide {
            let wide = extensions(&rtp.bytes).find(|(found, _)| *found == id);
            if let Some(seq) = wide.and_then(|(_, value)| value.try_into().ok()) {
                let index = packet_index(self.highest_wide, u16::from_be_bytes(seq));
                self.highest_wide = self.highest_wide.max(Some(index));
                self.arrivals.insert(index, now);
            }
        }
        let stamped = self.stamp(rtp);
        if stamped.is_none() {
            self.padding_at = now;
        }
        let is_rtx = self.is_rtx(rtp.header.ssrc);
        let is_video = self.is_video(rtp.header.ssrc);
        if !is_rtx {
            let stream = self.streams.entry(rtp.header.ssrc).or_default();
            stream.is_video |= is_video;
            stream.count(rtp.index, now);
        }
        if let Some((ssrc, index, stamp)) = stamped {
            let stream = self.streams.entry(ssrc).or_default();
            stream.missing.remove(&index);
            if stream.take(stamp, now) {
                self.decoded_at.insert(stamp.track, now);
            }
        }
    }

    /// What the viewer is in the middle of; `None`: media flows.
    pub fn state(&self, now: Time) -> Option<State> {
        let video = || self.streams.values().filter(|stream| stream.is_video);
        let switched = |stream: &Stream| {
            let at = stream.switched_at;
            at.is_some_and(|at| now.since(at) < KEY_PAUSE)
        };
        if self.is_asleep || self.streams.is_empty() {
            Some(State::Idle)
        } else if video().any(|stream| stream.frames == 0 && stream.received > 0) {
            Some(State::AwaitingKeyframe)
        } else if video().any(switched) {
            Some(State::SwitchingLayer)
        } else if self
            .streams
            .values()
            .any(|stream| !stream.missing.is_empty())
        {
            Some(State::Resending)
        } else if now.since(self.padding_at) < KEY_PAUSE && self.padding_at > Time::ZERO {
            Some(State::Probing)
        } else {
            None
        }
    }

    /// Time of the latest frame of `track` that was decoded.
    pub fn decoded_at(&self, track: u32) -> Option<Time> {
        self.decoded_at.get(&track).copied()
    }

    /// Handles RTCP of the other side.
    pub fn reports(&mut self, compound: &[u8], now: Time) {
        for packet in packets(compound).filter_map(Result::ok) {
            if let Packet::SenderReport { info, .. } = packet {
                let stream = self.streams.entry(info.ssrc).or_default();
                stream.last_sr = Some(((info.ntp >> 16) as u32, now));
            }
        }
    }

    /// Time of the next [`handle_timeout`](Self::handle_timeout).
    pub fn deadline(&self) -> Time {
        self.next_feedback.min(self.next_report)
    }

    /// Sends the feedback that is due.
    pub fn handle_timeout(&mut self, transport: &mut Transport, now: Time) {
        let mut out = Vec::new();
        if self.next_feedback <= now {
            // NACKs and keyframe requests are due with it, at a finer time.
            self.next_feedback = now + FEEDBACK / 5;
            for (ssrc, stream) in &mut self.streams {
                let lost = stream.overdue(now);
                if !lost.is_empty() {
                    write_nack(&mut out, self.ssrc, *ssrc, &lost);
                }
                if stream.needs_key(now) {
                    write_pli(&mut out, self.ssrc, *ssrc);
                }
            }
            self.write_feedback(&mut out, now);
        }
        if self.next_report <= now {
            self.next_report = now + REPORT;
            let blocks: Vec<Block> = self
                .streams
                .iter_mut()
                .filter_map(|(ssrc, stream)| stream.block(*ssrc, now))
                .collect();
            write_receiver_report(&mut out, self.ssrc, &blocks);
        }
        if !out.is_empty() && !self.is_asleep {
            transport.send_rtcp(&out);
        }
    }

    /// Appends transport feedback about the packets since the last one, if that was long enough ago.
    fn write_feedback(&mut self, out: &mut Vec<u8>, now: Time) {
        let Some((base, first)) = self.arrivals.first_key_value().map(|(k, v)| (*k, *v)) else {
            return;
        };
        if now.since(first) < FEEDBACK {
            return;
        }
        let us = |time: Time| time.since_start().as_micros() as i64;
        let reference = us(first) / REFERENCE_US;
        let mut last_ticks = reference * REFERENCE_US / DELTA_US;
        let (mut deltas, mut next) = (Vec::new(), base);
        for (index, at) in std::mem::take(&mut self.arrivals) {
            deltas.resize(deltas.len() + (index - next) as usize, None);
            let ticks = us(at) / DELTA_US;
            deltas.push(Some((ticks - last_ticks) as i32));
            (last_ticks, next) = (ticks, index + 1);
        }
        let head = TransportHeader {
            sender_ssrc: self.ssrc,
            media_ssrc: 0,
            base_seq: base as u16,
            reference_time: reference as u32,
            feedback_count: self.feedback_count,
        };
        self.feedback_count = self.feedback_count.wrapping_add(1);
        let mut bytes = vec![0; 64 + deltas.len() * 3];
        // Longer feedback than one packet can hold is left out, as if it was lost.
        if let Some(length) = write_transport_feedback(&head, &deltas, &mut bytes) {
            out.extend(&bytes[..length]);
        }
    }
}

impl Stream {
    /// Counts a packet of the stream itself, and finds gaps before it.
    fn count(&mut self, index: u64, now: Time) {
        self.received += 1;
        self.first.get_or_insert(index);
        let next = self.highest.map_or(index, |highest| highest + 1);
        for lost in next..index {
            let missing = Missing {
                since: now,
                asked_at: None,
                tries: 0,
            };
            self.missing.insert(lost, missing);
        }
        while self.missing.len() > MAX_MISSING {
            self.missing.pop_first();
        }
        self.missing.remove(&index);
        self.highest = self.highest.max(Some(index));
    }

    /// Adds a packet to its frame. True if a frame was decoded.
    fn take(&mut self, stamp: Stamp, now: Time) -> bool {
        if !self.is_video {
            self.frames += 1;
            return true;
        }
        let place = (stamp.track, stamp.layer, stamp.frame);
        let is_old = |(track, layer, frame): (u32, u8, u32)| {
            (track, layer) == (stamp.track, stamp.layer) && stamp.frame <= frame
        };
        if self.decoded.is_some_and(is_old) {
            return false;
        }
        self.stuck_since.get_or_insert(now);
        let parts = self.frames_by_place.entry(place).or_default();
        parts.got |= 1 << stamp.part;
        parts.is_complete = parts.got == (1 << stamp.parts) - 1;
        let is_complete = parts.is_complete;
        let before = (stamp.track, stamp.layer, stamp.frame.wrapping_sub(1));
        let is_decoded = is_complete && (stamp.is_key || self.decoded == Some(before));
        if is_decoded {
            self.decode(place, now);
        }
        while self.frames_by_place.len() > MAX_FRAMES {
            self.frames_by_place.pop_first();
        }
        is_decoded
    }

    /// Decodes a frame, and the later ones that waited for it.
    fn decode(&mut self, (track, layer, frame): (u32, u8, u32), now: Time) {
        if self.decoded.is_some_and(|(_, before, _)| before != layer) {
            self.switched_at = Some(now);
        }
        let mut last = frame;
        self.frames += 1;
        let next = |frame| (track, layer, frame + 1);
        while self
            .frames_by_place
            .get(&next(last))
            .is_some_and(|parts| parts.is_complete)
        {
            last += 1;
            self.frames += 1;
        }
        self.decoded = Some((track, layer, last));
        self.frames_by_place
            .retain(|(of, on, frame), _| (*of, *on) == (track, layer) && *frame > last);
        self.stuck_since = (!self.frames_by_place.is_empty()).then_some(now);
        self.asked_for_key = None;
    }

    /// Sequence numbers to ask for now.
    fn overdue(&mut self, now: Time) -> Vec<u16> {
        self.missing.retain(|_, missing| missing.tries < NACK_TRIES);
        let mut lost = Vec::new();
        for (index, missing) in &mut self.missing {
            let is_due = match missing.asked_at {
                Some(asked_at) => now.since(asked_at) >= NACK_PAUSE,
                None => now.since(missing.since) >= PATIENCE,
            };
            if is_due {
                missing.asked_at = Some(now);
                missing.tries += 1;
                lost.push(*index as u16);
            }
        }
        lost
    }

    /// True if a keyframe must be requested now.
    fn needs_key(&mut self, now: Time) -> bool {
        let is_stuck = self
            .stuck_since
            .is_some_and(|since| now.since(since) >= KEY_PAUSE);
        let has_asked = self
            .asked_for_key
            .is_some_and(|asked| now.since(asked) < KEY_PAUSE);
        let needs_key = self.is_video && is_stuck && !has_asked;
        if needs_key {
            self.asked_for_key = Some(now);
        }
        needs_key
    }

    fn block(&mut self, ssrc: u32, now: Time) -> Option<Block> {
        let (first, highest) = self.first.zip(self.highest)?;
        let expected = highest + 1 - first.min(highest);
        let received = self.received.min(expected);
        let (expected_before, received_before) = self.reported;
        self.reported = (expected, received);
        let fresh = expected.saturating_sub(expected_before);
        let lost = fresh.saturating_sub(received.saturating_sub(received_before));
        let fraction = (lost * 256).checked_div(fresh).unwrap_or(0).min(255);
        let (last_sr, received_at) = self.last_sr.unwrap_or((0, now));
        let delay_us = now.since(received_at).as_micros() as u64;
        Some(Block {
            ssrc,
            fraction_lost: fraction as u8,
            lost: (expected - received) as u32,
            highest_seq: highest as u32,
            last_sr,
            delay_since_last_sr: (delay_us * 65_536 / 1_000_000) as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(frame: u32, is_key: bool, part: u8) -> Stamp {
        Stamp {
            track: 1,
            layer: 0,
            frame,
            part,
            parts: if is_key { 3 } else { 1 },
            is_key,
            number: 0,
        }
    }

    fn video() -> Stream {
        Stream {
            is_video: true,
            ..Stream::default()
        }
    }

    #[test]
    fn frames_are_decoded_in_the_order_of_their_references() {
        let mut stream = video();
        let now = Time::from_ms(1);
        stream.take(stamp(5, false, 0), now);
        assert_eq!(stream.frames, 0, "no keyframe yet");
        for part in 0..3 {
            stream.take(stamp(6, true, part), now);
        }
        stream.take(stamp(8, false, 0), now);
        assert_eq!(stream.frames, 1, "frame 7 is missing");
        stream.take(stamp(7, false, 0), now);
        assert_eq!(stream.frames, 3);
        stream.take(stamp(7, false, 0), now);
        assert_eq!((stream.frames, stream.stuck_since), (3, None));
        for part in [2, 0, 1] {
            let layer = 1;
            let switched = stamp(2, true, part);
            stream.take(Stamp { layer, ..switched }, now);
        }
        assert_eq!(stream.decoded, Some((1, 1, 2)), "another layer");
    }

    #[test]
    fn a_viewer_that_is_stuck_asks_for_a_keyframe_and_again_later() {
        let mut stream = video();
        stream.take(stamp(5, false, 0), Time::from_ms(0));
        assert!(!stream.needs_key(Time::from_ms(299)));
        assert!(stream.needs_key(Time::from_ms(300)));
        assert!(!stream.needs_key(Time::from_ms(500)));
        assert!(stream.needs_key(Time::from_ms(600)));
    }

    #[test]
    fn a_gap_is_asked_for_after_a_while_and_not_for_ever() {
        let mut stream = video();
        for index in [10, 13] {
            stream.count(index, Time::ZERO);
        }
        assert!(stream.overdue(Time::from_ms(19)).is_empty());
        assert_eq!(stream.overdue(Time::from_ms(20)), [11, 12]);
        assert!(stream.overdue(Time::from_ms(40)).is_empty());
        stream.count(11, Time::from_ms(50));
        let asked = (1..20).map(|n| stream.overdue(Time::from_ms(n * 100)).len());
        assert_eq!(asked.sum::<usize>(), usize::from(NACK_TRIES) - 1);
    }

    #[test]
    fn a_report_counts_what_is_lost_since_the_last_one() {
        let mut stream = video();
        for index in [100, 101, 103] {
            stream.count(index, Time::ZERO);
        }
        let block = stream.block(7, Time::ZERO).unwrap();
        assert_eq!(
            (block.fraction_lost, block.lost, block.highest_seq),
            (64, 1, 103)
        );
        stream.count(104, Time::ZERO);
        let block = stream.block(7, Time::ZERO).unwrap();
        assert_eq!((block.fraction_lost, block.lost), (0, 1));
    }
}
