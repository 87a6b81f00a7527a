//! Hop 5: the outgoing numbers of a packet, continuous for the receiver whatever layer or track feeds
//! the m-line.
//!
//! One [`Rewriter`] belongs to one outgoing SSRC and lives as long as it: sequence numbers never go back
//! under one key. Comes from [`super::fanout`], goes to [`super::seal`].

use std::time::{Duration, Instant, SystemTime};

use crate::track::MediaPacket;

/// Numbers of one outgoing SSRC.
#[derive(Debug)]
pub struct Rewriter {
    /// The next sequence number nobody has used.
    next_seq: u64,
    /// Highest timestamp sent, and when.
    last: Option<Sent>,
    /// What is added to the numbers of what flows now; `None` before anything did.
    source: Option<Source>,
}

/// What a packet gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// Extended sequence number.
    pub seq: u64,
    /// RTP timestamp.
    pub time: u32,
    /// VP8 picture id, where the payload descriptor has one.
    pub picture_id: Option<u16>,
    /// VP8 TL0PICIDX, where the payload descriptor has one.
    pub tl0_pic_idx: Option<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    time: u32,
    at: Instant,
    picture_id: u16,
    tl0_pic_idx: u8,
}

#[derive(Debug, Clone, Copy)]
struct Source {
    first_seq: u64,
    seq_base: u64,
    time_offset: u32,
    picture_id_offset: u16,
    tl0_pic_idx_offset: u8,
    sender_report: Option<(SystemTime, u32)>,
}

/// A step of time that two sender reports disagree on by more than this comes from a wrong clock.
const IMPLAUSIBLE: Duration = Duration::from_millis(500);
/// Least distance of two frames, in parts of a second: what a timestamp moves when clocks say less.
const MIN_STEP_HZ: u32 = 1_000;
const PICTURE_ID_MASK: u16 = 0x7fff;

impl Rewriter {
    /// Starts at `first_seq`, which has to be below 2^16: receivers assume a rollover count of 0.
    pub fn new(first_seq: u16) -> Self {
        Self {
            next_seq: u64::from(first_seq),
            last: None,
            source: None,
        }
    }

    /// `packet` is the first of another layer or track; `clock_rate` is of its RTP timestamps, in Hz.
    pub fn switch(&mut self, packet: &MediaPacket, clock_rate: u32) {
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
        self.source = Some(Source {
            first_seq: packet.seq,
            seq_base: self.next_seq,
            time_offset: time.wrapping_sub(packet.time),
            picture_id_offset: next_picture_id.wrapping_sub(picture_id) & PICTURE_ID_MASK,
            tl0_pic_idx_offset: next_tl0.wrapping_sub(tl0_pic_idx),
            sender_report: packet.sender_report,
        });
    }

    /// The numbers of `packet`; `None` when it is from before the switch.
    pub fn rewrite(&mut self, packet: &MediaPacket) -> Option<Rewritten> {
        let source = self.source.as_mut()?;
        let seq = packet.seq.checked_sub(source.first_seq)? + source.seq_base;
        let time = packet.time.wrapping_add(source.time_offset);
        source.sender_report = packet.sender_report.or(source.sender_report);
        let is_newest = seq >= self.next_seq;
        self.next_seq = self.next_seq.max(seq + 1);

        let source = *source;
        let picture_id = packet.vp8.and_then(|vp8| vp8.picture_id());
        let picture_id =
            picture_id.map(|id| id.wrapping_add(source.picture_id_offset) & PICTURE_ID_MASK);
        let tl0_pic_idx = packet.vp8.and_then(|vp8| vp8.tl0_pic_idx());
        let tl0_pic_idx = tl0_pic_idx.map(|idx| idx.wrapping_add(source.tl0_pic_idx_offset));
        if is_newest {
            self.last = Some(Sent {
                time,
                at: packet.arrived,
                picture_id: picture_id.unwrap_or(0),
                tl0_pic_idx: tl0_pic_idx.unwrap_or(0),
            });
        }
        Some(Rewritten {
            seq,
            time,
            picture_id,
            tl0_pic_idx,
        })
    }

    /// How far the timestamp moves from the last packet sent to the first of another source.
    ///
    /// The publisher's sender reports tie the timestamps of both layers to one clock; until both have
    /// come, arrival times have to do.
    fn step_since(&self, last: Sent, packet: &MediaPacket, clock_rate: u32) -> u32 {
        let elapsed = packet.arrived.saturating_duration_since(last.at);
        let min_step = clock_rate / MIN_STEP_HZ;
        let by_arrival = ((elapsed.as_secs_f64() * f64::from(clock_rate)) as u32).max(min_step);
        let Some(by_report) = self.step_by_reports(last, packet, clock_rate) else {
            return by_arrival;
        };
        let implausible = IMPLAUSIBLE.as_secs_f64() * f64::from(clock_rate);
        if (f64::from(by_arrival) - by_report).abs() > implausible {
            return by_arrival;
        }
        (by_report.max(0.0) as u32).max(min_step)
    }

    fn step_by_reports(&self, last: Sent, packet: &MediaPacket, clock_rate: u32) -> Option<f64> {
        let source = self.source?;
        let (old_wall, old_time) = source.sender_report?;
        let (new_wall, new_time) = packet.sender_report?;
        let between = match new_wall.duration_since(old_wall) {
            Ok(later) => later.as_secs_f64(),
            Err(earlier) => -earlier.duration().as_secs_f64(),
        };
        // Distance of each packet from the report of its own layer, in ticks.
        let last_in = last.time.wrapping_sub(source.time_offset);
        let old_ticks = f64::from(last_in.wrapping_sub(old_time) as i32);
        let new_ticks = f64::from(packet.time.wrapping_sub(new_time) as i32);
        Some(between * f64::from(clock_rate) + new_ticks - old_ticks)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use str0m::rtp::Vp8Descriptor;

    use super::*;
    use crate::subscription::tests::packet;

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

        // Both layers now have reports that say: the next low frame was captured 33 ms after `high`,
        // though it arrives 90 ms later.
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

        // A report from a wrong clock is not believed.
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
        let vp8 = Some(Vp8Descriptor::parse(&payload).unwrap());
        MediaPacket {
            vp8,
            payload: Arc::from(payload),
            ..packet(layer, seq, true)
        }
    }

    fn ids(rewriter: &mut Rewriter, packet: &MediaPacket) -> (u16, u8) {
        let out = rewriter.rewrite(packet).unwrap();
        (out.picture_id.unwrap(), out.tl0_pic_idx.unwrap())
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
}
