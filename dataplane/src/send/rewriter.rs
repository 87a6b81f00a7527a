//! Outgoing sequence numbers, timestamps and picture ids, continuous for the receiver when layers or tracks change.
//! Used by hop 5.
//!
//! One [`Rewriter`] belongs to one outgoing SSRC for its whole life, so each sequence number is used once under a key.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use spillway_mutants::{Mutant, is_planted};

use crate::key::{LayerIndex, TrackKey};
use crate::media::packet::MediaPacket;

/// State of the numbers of one outgoing SSRC.
#[derive(Debug)]
pub struct Rewriter {
    /// The next unused sequence number.
    next_seq: u64,
    /// Bitmap of used numbers below `next_seq`; bit 0 is `next_seq - 1`.
    used: u128,
    /// The packet with the highest timestamp so far; `None` before the first packet.
    last: Option<Last>,
    /// Offsets of the current source; `None` before the first packet.
    source: Option<Source>,
    /// Earlier sources, oldest first: receivers may still request retransmissions of their packets.
    past: VecDeque<Source>,
}

/// Outgoing numbers of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// Extended sequence number for the receiver.
    pub seq: u64,
    /// RTP timestamp for the receiver.
    pub time: u32,
    /// VP8 picture id, for payload descriptors that have one.
    pub picture_id: u16,
    /// VP8 TL0PICIDX, for payload descriptors that have one.
    pub tl0_pic_idx: u8,
    /// Frame number, for dependency descriptors.
    pub frame_number: u16,
}

/// Relation of a new source to the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splice {
    /// No packet was forwarded before.
    First,
    /// The new source uses the same publisher clock, so timestamps continue.
    SameClock,
    /// The new source uses another clock: the next sender report has a new relation of timestamp and wall clock.
    OtherClock,
}

/// The publisher's packet behind an outgoing sequence number.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// Track of the packet.
    pub track: TrackKey,
    /// Layer of the packet.
    pub layer: LayerIndex,
    /// Epoch of the publisher's sequence numbers.
    pub epoch: u32,
    /// Extended sequence number of the publisher.
    pub seq: u64,
    source: Source,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    time: u32,
    at: Instant,
    picture_id: u16,
    tl0_pic_idx: u8,
    /// Outgoing frame number of the latest packet with a dependency descriptor.
    frame_number: Option<u16>,
}

#[derive(Debug, Clone, Copy)]
struct Source {
    track: TrackKey,
    layer: LayerIndex,
    epoch: u32,
    first_seq: u64,
    seq_base: u64,
    time_offset: u32,
    picture_id_offset: u16,
    tl0_pic_idx_offset: u8,
    /// Difference of outgoing and publisher's frame number; `None` before the first packet with a frame number.
    frame_number_offset: Option<u16>,
    sender_report: Option<(SystemTime, u32)>,
}

/// If the timestamp step by sender reports and the step by arrival times differ by more than this, the clock of a
/// report is wrong, and the step by arrival times is used.
const IMPLAUSIBLE: Duration = Duration::from_millis(500);
/// The minimum timestamp step between two frames is 1/`MIN_STEP_HZ` s. It is used when the clocks give less.
const MIN_STEP_HZ: u32 = 1_000;
const PICTURE_ID_MASK: u16 = 0x7fff;
/// No sender report is sent when the last packet was sent this long ago.
const MAX_SILENCE: Duration = Duration::from_secs(10);
/// Maximum step of timestamps: a step of half the range would look like a step back.
const MAX_STEP: u32 = 1 << 30;
/// Number of earlier sources for which retransmission requests are answered.
const PAST_SOURCES: usize = 4;

impl Rewriter {
    /// Sequence numbers start at `first_seq`, which must be below 2^16, because receivers assume a rollover count of 0.
    pub fn new(first_seq: u16) -> Self {
        Self {
            next_seq: u64::from(first_seq),
            used: 0,
            last: None,
            source: None,
            past: VecDeque::new(),
        }
    }

    /// Starts a new source with `packet`, the first of another layer, track or epoch. `clock_rate` of the RTP
    /// timestamps is in Hz.
    pub fn switch(&mut self, packet: &MediaPacket, clock_rate: u32) -> Splice {
        let splice = match self.source {
            None => Splice::First,
            Some(before) if (before.track, before.layer) == (packet.track, packet.layer) => {
                Splice::OtherClock // the sequence numbers restarted
            }
            Some(before) if before.track == packet.track => Splice::SameClock,
            Some(_) => Splice::OtherClock,
        };
        let vp8 = packet.vp8.as_ref();
        let picture_id = vp8.and_then(|vp8| vp8.picture_id()).unwrap_or(0);
        let tl0_pic_idx = vp8.and_then(|vp8| vp8.tl0_pic_idx()).unwrap_or(0);
        let (time, next_picture_id, next_tl0) = match self.last {
            None => (packet.time, picture_id, tl0_pic_idx),
            Some(last) => (
                last.time
                    .wrapping_add(self.step_since(last, packet, clock_rate)),
                last.picture_id.wrapping_add(1),
                last.tl0_pic_idx.wrapping_add(1),
            ),
        };
        if self.past.len() == PAST_SOURCES {
            self.past.pop_front();
        }
        self.past.extend(self.source);
        self.source = Some(Source {
            track: packet.track,
            layer: packet.layer,
            epoch: packet.epoch,
            first_seq: packet.seq,
            seq_base: self.next_seq - u64::from(is_planted(Mutant::SwitchReusesNumber)),
            time_offset: time.wrapping_sub(packet.time),
            picture_id_offset: next_picture_id.wrapping_sub(picture_id) & PICTURE_ID_MASK,
            tl0_pic_idx_offset: next_tl0.wrapping_sub(tl0_pic_idx),
            frame_number_offset: None,
            sender_report: packet.sender_report,
        });
        splice
    }

    /// Outgoing numbers of `packet`; `None` when the packet is older than the switch, or its number is used already.
    pub fn rewrite(&mut self, packet: &MediaPacket) -> Option<Rewritten> {
        let source = self.source.as_mut()?;
        let seq = packet.seq.checked_sub(source.first_seq)? + source.seq_base;
        source.sender_report = packet.sender_report.or(source.sender_report);
        if source.frame_number_offset.is_none()
            && let Some(first) = packet.extensions.frame_number()
        {
            // A late packet of an earlier frame would get a used frame number; forwarded media starts with a keyframe.
            let next = self.last.and_then(|last| last.frame_number);
            let next = next.map_or(first, |last| last.wrapping_add(1));
            source.frame_number_offset = Some(next.wrapping_sub(first));
        }
        let numbers = source.numbers(seq, packet);
        let is_newest = seq >= self.next_seq;
        if !self.claim(seq) {
            return None;
        }
        if is_newest {
            self.last = Some(Last {
                time: numbers.time,
                at: packet.arrived,
                picture_id: numbers.picture_id,
                tl0_pic_idx: numbers.tl0_pic_idx,
                frame_number: packet
                    .extensions
                    .frame_number()
                    .map(|_| numbers.frame_number)
                    .or(self.last.and_then(|last| last.frame_number)),
            });
        }
        Some(numbers)
    }

    /// The publisher's packet that was sent with sequence number `seq`, if it is still known.
    pub fn sent(&self, seq: u16) -> Option<Sent> {
        let newest = self.next_seq.checked_sub(1)?;
        let seq = newest.checked_sub(u64::from((newest as u16).wrapping_sub(seq)))?;
        let sources = self.source.iter().chain(self.past.iter().rev());
        let end = seq + u64::from(!is_planted(Mutant::SwitchPacketFromOldSource));
        let source = sources.into_iter().find(|source| source.seq_base < end)?;
        Some(Sent {
            track: source.track,
            layer: source.layer,
            epoch: source.epoch,
            seq: seq - source.seq_base + source.first_seq,
            source: *source,
        })
    }

    /// The publisher's wall clock and the outgoing timestamp at `now`, for a sender report. `None` before both are
    /// known.
    pub fn clock(&self, now: Instant, clock_rate: u32) -> Option<(SystemTime, u32)> {
        let (source, last) = (self.source?, self.last?);
        let (wall, report_time) = source.sender_report?;
        let since_last = now.saturating_duration_since(last.at);
        if since_last > MAX_SILENCE {
            return None; // timestamps may continue from another source
        }
        let ticks = (since_last.as_secs_f64() * f64::from(clock_rate)) as u32;
        let time = last.time.wrapping_add(ticks);
        let in_time = time.wrapping_sub(source.time_offset);
        let distance = f64::from(in_time.wrapping_sub(report_time) as i32) / f64::from(clock_rate);
        let distance_abs = Duration::from_secs_f64(distance.abs());
        let wall = if distance < 0.0 {
            wall.checked_sub(distance_abs)?
        } else {
            wall.checked_add(distance_abs)?
        };
        Some((wall, time))
    }

    /// Marks `seq` as used. False when it is used already, or too old to be known.
    fn claim(&mut self, seq: u64) -> bool {
        if let Some(ahead) = seq.checked_sub(self.next_seq) {
            let shift = u32::try_from(ahead + 1).unwrap_or(u32::MAX);
            self.used = self.used.checked_shl(shift).unwrap_or(0) | 1;
            self.next_seq = seq + 1;
            return true;
        }
        let age = self.next_seq - 1 - seq;
        let known = age < u64::from(u128::BITS);
        let fresh = known && self.used & 1 << age == 0;
        if fresh {
            self.used |= 1 << age;
        }
        fresh
    }

    /// Timestamp step from the last sent packet to the first packet of another source.
    ///
    /// The publisher's sender reports relate the timestamps of both layers to one clock. Arrival times are used until
    /// both layers have a report.
    fn step_since(&self, last: Last, packet: &MediaPacket, clock_rate: u32) -> u32 {
        let elapsed = packet.arrived.saturating_duration_since(last.at);
        let min_step = clock_rate / MIN_STEP_HZ;
        let ticks = (elapsed.as_secs_f64() * f64::from(clock_rate)) as u32; // saturates
        let by_arrival = ticks.clamp(min_step, MAX_STEP);
        let Some(by_report) = self.step_by_reports(last, packet, clock_rate) else {
            return by_arrival;
        };
        let implausible = IMPLAUSIBLE.as_secs_f64() * f64::from(clock_rate);
        if (f64::from(by_arrival) - by_report).abs() > implausible {
            return by_arrival;
        }
        (by_report.max(0.0) as u32).max(min_step)
    }

    fn step_by_reports(&self, last: Last, packet: &MediaPacket, clock_rate: u32) -> Option<f64> {
        let source = self.source?;
        let (old_wall, old_time) = source.sender_report?;
        let (new_wall, new_time) = packet.sender_report?;
        let between = match new_wall.duration_since(old_wall) {
            Ok(later) => later.as_secs_f64(),
            Err(earlier) => -earlier.duration().as_secs_f64(),
        };
        // Distance of each packet from the sender report of its layer, in ticks.
        let last_in = last.time.wrapping_sub(source.time_offset);
        let old_ticks = f64::from(last_in.wrapping_sub(old_time) as i32);
        let new_ticks = f64::from(packet.time.wrapping_sub(new_time) as i32);
        Some(between * f64::from(clock_rate) + new_ticks - old_ticks)
    }
}

impl Sent {
    /// The outgoing numbers that `packet` was sent with.
    pub fn numbers(&self, packet: &MediaPacket) -> Rewritten {
        let seq = self.seq - self.source.first_seq + self.source.seq_base;
        self.source.numbers(seq, packet)
    }
}

impl Source {
    fn numbers(&self, seq: u64, packet: &MediaPacket) -> Rewritten {
        let vp8 = packet.vp8.as_ref();
        let picture_id = vp8.and_then(|vp8| vp8.picture_id()).unwrap_or(0);
        let tl0_pic_idx = vp8.and_then(|vp8| vp8.tl0_pic_idx()).unwrap_or(0);
        Rewritten {
            seq,
            time: packet.time.wrapping_add(self.time_offset),
            picture_id: picture_id.wrapping_add(self.picture_id_offset) & PICTURE_ID_MASK,
            tl0_pic_idx: tl0_pic_idx.wrapping_add(self.tl0_pic_idx_offset),
            frame_number: packet
                .extensions
                .frame_number()
                .unwrap_or(0)
                .wrapping_add(self.frame_number_offset.unwrap_or(0)),
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use spillway_wire::vp8::Descriptor;

    use super::*;
    use crate::media::extensions::{CarriedExtensions, ExtensionKind};
    use crate::media::subscription::tests::packet;

    const CLOCK: u32 = 90_000;

    #[test]
    fn sequence_numbers_are_continuous_over_switches_and_keep_the_publishers_gaps() {
        let mut rewriter = Rewriter::new(100);
        rewriter.switch(&packet(0, 5_000, true), CLOCK);
        // (incoming layer and seq, outgoing seq)
        for (seq, expected) in [
            (5_000, Some(100)),
            (5_001, Some(101)),
            (5_003, Some(103)),
            (5_002, Some(102)),
        ] {
            let out = rewriter.rewrite(&packet(0, seq, false)).map(|out| out.seq);
            assert_eq!(out, expected, "{seq}");
        }
        rewriter.switch(&packet(1, 70_000, true), CLOCK);
        assert_eq!(rewriter.rewrite(&packet(1, 70_000, true)).unwrap().seq, 104);
        assert!(
            rewriter.rewrite(&packet(1, 69_999, false)).is_none(),
            "from before the switch"
        );
        assert_eq!(
            rewriter.rewrite(&packet(1, 70_001, false)).unwrap().seq,
            105
        );
    }

    #[test]
    fn timestamps_follow_arrival_until_sender_reports_tie_the_layers_together() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rewriter = Rewriter::new(0);
        let mut low = packet(0, 1, true);
        (low.time, low.arrived) = (1_000_000, at(0));
        rewriter.switch(&low, CLOCK);
        assert_eq!(rewriter.rewrite(&low).unwrap().time, 1_000_000);

        let mut high = packet(1, 1, true);
        (high.time, high.arrived) = (77, at(40));
        rewriter.switch(&high, CLOCK);
        assert_eq!(
            rewriter.rewrite(&high).unwrap().time,
            1_000_000 + 40 * 90,
            "40 ms later"
        );

        // Now both layers have sender reports: the next low frame was captured 33 ms after `high`, but arrives 90 ms
        // later.
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        high.sender_report = Some((wall, 77));
        (high.seq, high.marker) = (2, false);
        rewriter.rewrite(&high);
        let mut low = packet(0, 9, true);
        (low.time, low.arrived) = (1_010_000, at(130));
        low.sender_report = Some((wall + Duration::from_millis(33), 1_010_000));
        rewriter.switch(&low, CLOCK);
        assert_eq!(
            rewriter.rewrite(&low).unwrap().time,
            1_000_000 + 40 * 90 + 33 * 90
        );

        // A sender report from a wrong clock is ignored.
        let mut high = packet(1, 9, true);
        (high.time, high.arrived) = (500, at(163));
        high.sender_report = Some((wall + Duration::from_secs(60), 500));
        rewriter.switch(&high, CLOCK);
        assert_eq!(
            rewriter.rewrite(&high).unwrap().time,
            1_000_000 + (40 + 33 + 33) * 90
        );
    }

    #[test]
    fn a_number_is_given_out_once() {
        let mut rewriter = Rewriter::new(0);
        rewriter.switch(&packet(0, 1_000, true), CLOCK);
        for (seq, given) in [
            (1_000, true),
            (1_000, false),
            (1_002, true),
            (1_001, true),
            (1_001, false),
            (1_400, true),
            (1_300, true),
            (1_300, false),
            (1_003, false), // too old to be known
        ] {
            let numbers = rewriter.rewrite(&packet(0, seq, false));
            assert_eq!(numbers.is_some(), given, "{seq}");
        }
    }

    #[test]
    fn what_was_sent_is_found_again_over_switches_and_rollovers() {
        let mut rewriter = Rewriter::new(65_530);
        rewriter.switch(&packet(0, 5_000, true), CLOCK);
        let mut given = Vec::new();
        for seq in 5_000..5_010 {
            let packet = packet(0, seq, false);
            given.push((0, seq, rewriter.rewrite(&packet).unwrap()));
        }
        rewriter.switch(&packet(2, 70_000, true), CLOCK);
        for seq in 70_000..70_010 {
            let packet = packet(2, seq, false);
            given.push((2, seq, rewriter.rewrite(&packet).unwrap()));
        }
        for (layer, seq, numbers) in given {
            let sent = rewriter.sent(numbers.seq as u16).unwrap();
            assert_eq!((sent.layer.0, sent.seq), (layer, seq));
            assert_eq!(sent.numbers(&packet(layer, seq, false)), numbers);
        }
        assert!(rewriter.sent(65_529).is_none(), "before the first");
        assert!(Rewriter::new(0).sent(7).is_none());
    }

    #[test]
    fn timestamps_never_stand_still_at_a_switch() {
        let now = Instant::now();
        let mut rewriter = Rewriter::new(0);
        let mut first = packet(0, 1, true);
        first.arrived = now;
        rewriter.switch(&first, CLOCK);
        let before = rewriter.rewrite(&first).unwrap().time;
        let mut second = packet(1, 1, true);
        second.arrived = now;
        rewriter.switch(&second, CLOCK);
        assert!(rewriter.rewrite(&second).unwrap().time > before);
    }

    fn vp8_packet(layer: u8, seq: u64, picture_id: u16, tl0: u8) -> MediaPacket {
        let [high, low] = picture_id.to_be_bytes();
        let payload = [0x90, 0xe0, 0x80 | high, low, tl0, 0x20, 0x00, 0xaa];
        let vp8 = Some(Descriptor::parse(&payload).unwrap());
        MediaPacket {
            vp8,
            payload: Arc::from(payload),
            ..packet(layer, seq, true)
        }
    }

    fn ids(rewriter: &mut Rewriter, packet: &MediaPacket) -> (u16, u8) {
        let out = rewriter.rewrite(packet).unwrap();
        (out.picture_id, out.tl0_pic_idx)
    }

    #[test]
    fn vp8_picture_ids_are_continuous_and_wrap() {
        let mut rewriter = Rewriter::new(0);
        let first = vp8_packet(0, 1, 0x7fff, 255);
        rewriter.switch(&first, CLOCK);
        assert_eq!(ids(&mut rewriter, &first), (0x7fff, 255));
        let other = vp8_packet(1, 40, 300, 7);
        rewriter.switch(&other, CLOCK);
        assert_eq!(
            ids(&mut rewriter, &other),
            (0, 0),
            "one on, modulo 2^15 and 2^8"
        );
        assert_eq!(ids(&mut rewriter, &vp8_packet(1, 41, 301, 8)), (1, 1));
    }

    fn with_frame(layer: u8, seq: u64, number: u16) -> MediaPacket {
        let [high, low] = number.to_be_bytes();
        let descriptor = [0x80, high, low];
        let value = (ExtensionKind::DependencyDescriptor, &descriptor[..]);
        MediaPacket {
            extensions: CarriedExtensions::new([value].into_iter()),
            ..packet(layer, seq, true)
        }
    }

    #[test]
    fn frame_numbers_go_on_from_layer_to_layer_and_are_known_when_sent_again() {
        let mut rewriter = Rewriter::new(100);
        // (packet, whether it switches, the frame number it gets)
        let story = [
            (with_frame(0, 1, 65_534), true, 65_534),
            (with_frame(0, 2, 0), false, 0),
            (with_frame(1, 700, 12), true, 1),
            (with_frame(1, 701, 12), false, 1),
            (with_frame(1, 702, 14), false, 3),
            // A layer without descriptors in between, and one that begins in the middle.
            (packet(2, 5, true), true, 0),
            (with_frame(0, 90, 400), true, 4),
        ];
        let mut sent = Vec::new();
        for (packet, switches, expected) in story {
            if switches {
                rewriter.switch(&packet, CLOCK);
            }
            let numbers = rewriter.rewrite(&packet).unwrap();
            assert_eq!(numbers.frame_number, expected, "layer {}", packet.layer.0);
            sent.push((packet, numbers));
        }
        for (packet, numbers) in sent {
            let known = rewriter.sent(numbers.seq as u16).unwrap();
            assert_eq!(known.numbers(&packet), numbers);
        }
    }
}
