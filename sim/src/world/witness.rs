//! Sees everything that the node sends to a viewing session, before the network does: invariants 1, 2 and 3.

use std::collections::{BTreeMap, BTreeSet};

use spillway_dataplane::srtp::packet_index;
use spillway_wire::demux::{Protocol, protocol};
use spillway_wire::rtp::Received;

use crate::client::session::{Media, Session};
use crate::client::stamp::Stamp;

/// What one viewing session was sent.
#[derive(Default)]
pub(super) struct Witness {
    streams: BTreeMap<u32, Seen>,
    /// SRTCP indices by SSRC.
    rtcp: BTreeMap<u32, BTreeSet<u32>>,
}

/// What was sent on one SSRC.
#[derive(Default)]
struct Seen {
    used: BTreeSet<u64>,
    highest: Option<u64>,
    /// Latest media packet, and its index.
    last: Option<(Stamp, u64)>,
    /// What was sent, by index, the latest.
    sent: BTreeMap<u64, Stamp>,
    /// Number of the right by which it came.
    right: Option<u64>,
}

/// True for tracks whose first packets may be missing.
type MayMiss<'a> = &'a dyn Fn(u32) -> bool;
/// Number of the right to get a track.
type Rights<'a> = &'a dyn Fn(u32) -> Option<u64>;
/// Packets of a stream that are remembered, for retransmissions.
const KEPT: usize = 2_000;
/// Flag of encryption in the index word of SRTCP (RFC 3711 section 3.4).
const ENCRYPTED: u32 = 1 << 31;

impl Witness {
    /// Checks a datagram to `session`. `may_miss` is true for tracks whose first packets may be missing. `right` returns the number of the right to get a track. Returns the number of each invariant
    /// that does not hold, and what was seen.
    pub(super) fn see(
        &mut self,
        datagram: &[u8],
        (session, may_miss): (&Session, &dyn Fn(u32) -> bool),
        right: impl Fn(u32) -> Option<u64>,
    ) -> Vec<(u8, String)> {
        let mut wrong = Vec::new();
        match protocol(datagram) {
            Some(Protocol::Rtp) => self.see_rtp(datagram, (session, may_miss, &right), &mut wrong),
            Some(Protocol::Rtcp) => self.see_rtcp(datagram, &mut wrong),
            Some(Protocol::Stun | Protocol::Dtls | Protocol::TurnChannel) | None => {}
        }
        wrong
    }

    fn see_rtcp(&mut self, datagram: &[u8], wrong: &mut Vec<(u8, String)>) {
        let (Some(word), Some(ssrc)) = (datagram.last_chunk::<4>(), datagram.get(4..8)) else {
            return;
        };
        let index = u32::from_be_bytes(*word) & !ENCRYPTED;
        let ssrc = ssrc
            .iter()
            .fold(0, |ssrc, byte| ssrc << 8 | u32::from(*byte));
        if !self.rtcp.entry(ssrc).or_default().insert(index) {
            wrong.push((
                1,
                format!("srtcp index {index} of ssrc {ssrc} is used twice"),
            ));
        }
    }

    fn see_rtp(
        &mut self,
        datagram: &[u8],
        (session, may_miss, right): (&Session, MayMiss<'_>, Rights<'_>),
        wrong: &mut Vec<(u8, String)>,
    ) {
        let Some(header) = Received::read(datagram) else {
            return wrong.push((2, "an rtp header that cannot be read".to_owned()));
        };
        let ssrc = header.ssrc;
        let seen = self.streams.entry(ssrc).or_default();
        let index = packet_index(seen.highest, header.seq);
        if !seen.used.insert(index) {
            wrong.push((1, format!("index {index} of ssrc {ssrc} is used twice")));
        }
        let before = seen.highest;
        seen.highest = before.max(Some(index));
        let Some(rtp) = session.transport.open_copy(datagram, index) else {
            return wrong.push((1, format!("ssrc {ssrc} index {index} does not decrypt")));
        };
        let Media::Subscribe(sink) = &session.media else {
            return;
        };
        let Some((_, _, stamp)) = sink.stamp(&rtp) else {
            return; // padding
        };
        let right = right(stamp.track);
        if right.is_none() {
            wrong.push((
                3,
                format!("media of track {}, which is not wanted", stamp.track),
            ));
        }
        if sink.is_rtx(ssrc) {
            if let Some((main, original, _)) = sink.stamp(&rtp)
                && let Some(sent) = self
                    .streams
                    .get(&main)
                    .and_then(|seen| seen.sent.get(&original))
                && *sent != stamp
            {
                wrong.push((2, format!("{stamp:?} is sent again as index {original} of ssrc {main}, which was {sent:?}")));
            }
            return;
        }
        let seen = self.streams.entry(ssrc).or_default();
        seen.sent.insert(index, stamp);
        while seen.sent.len() > KEPT {
            seen.sent.pop_first();
        }
        // With a new right, such as after a pause, the media begins again, or goes on if the pause was too short.
        let is_same = right == std::mem::replace(&mut seen.right, right);
        let before_it = seen.last.filter(|(_, at)| *at < index);
        let last = before_it.filter(|_| is_same);
        let is_video = sink.is_video(ssrc);
        let gap = before.map_or(Some(0), |before| index.checked_sub(before + 1));
        if let Some(gap) = gap {
            let follows = |last: Option<(Stamp, u64)>| {
                continues(last.map(|(stamp, _)| stamp), &stamp, gap, is_video)
            };
            let goes_on = !is_same && before_it.is_some() && follows(before_it).is_none();
            if (last.is_some() || !may_miss(stamp.track))
                && !goes_on
                && let Some(broken) = follows(last)
            {
                wrong.push((2, format!("ssrc {ssrc} index {index}: {broken}")));
            }
            seen.last = Some((stamp, index));
        }
    }
}

/// Why `next` cannot follow `last` on one SSRC, with `gap` numbers unused between them.
fn continues(last: Option<Stamp>, next: &Stamp, gap: u64, is_video: bool) -> Option<String> {
    let is_start = next.is_key && next.part == 0;
    let begins = !is_video || is_start;
    let Some(last) = last else {
        return (!begins).then(|| format!("media begins with {next:?}"));
    };
    if (last.track, last.layer) != (next.track, next.layer) {
        // The viewer sees by a gap that the beginning is missing.
        return (!begins && gap == 0).then(|| format!("{next:?} follows {last:?}"));
    }
    let missing = u64::from(next.number.saturating_sub(last.number + 1));
    // Packets that the publisher's path lost leave their gap.
    let fits = gap == missing || is_start && gap <= missing;
    (!fits).then(|| format!("{gap} numbers are unused where {missing} packets are missing: {next:?} follows {last:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(layer: u8, number: u32, key: Option<u8>) -> Stamp {
        Stamp {
            track: 1,
            layer,
            frame: number,
            part: key.unwrap_or(0),
            parts: if key.is_some() { 3 } else { 1 },
            is_key: key.is_some(),
            number,
        }
    }

    #[test]
    fn what_follows_must_be_next_or_leave_its_gap_or_begin_with_a_keyframe() {
        let key = |layer, number, part| stamp(layer, number, Some(part));
        let delta = |layer, number| stamp(layer, number, None);
        for (last, next, gap, is_good) in [
            (None, key(0, 1, 0), 0, true),
            (None, key(0, 2, 1), 0, false),
            (None, delta(0, 1), 0, false),
            (Some(delta(0, 5)), delta(0, 6), 0, true),
            (Some(delta(0, 5)), delta(0, 7), 1, true),
            (Some(delta(0, 5)), delta(0, 7), 0, false), // hidden loss
            (Some(delta(0, 5)), delta(0, 6), 1, false), // loss that did not happen
            (Some(delta(0, 5)), key(0, 9, 0), 0, true),
            (Some(key(0, 5, 2)), key(1, 9, 0), 0, true),
            (Some(key(0, 5, 2)), key(1, 9, 1), 0, false),
            (Some(key(0, 5, 2)), delta(1, 9), 0, false),
        ] {
            let broken = continues(last, &next, gap, true);
            assert_eq!(
                broken.is_none(),
                is_good,
                "{last:?} {next:?} {gap}: {broken:?}"
            );
        }
    }
}
