//! Active speakers: audio levels of tracks in, a stable ranking of participants out.
//!
//! A participant becomes a speaker at a higher level than the level at which it stops being one. It
//! stays one for a minimum time, and overtakes another speaker only by a margin.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Speaker;
use crate::ids::{NodeId, ParticipantId, TrackId};
use crate::limits::SPEAKERS;

/// Audio level that counts as silence, in -dBov (RFC 6464). Level 0.0 is this value, level 1.0 is 0
/// dBov.
const QUIETEST_DBOV: f32 = 70.0;
/// Weight of a report in the smoothed level: when the level rises (attack) and when it falls
/// (release).
const ATTACK: f32 = 0.6;
const RELEASE: f32 = 0.3;
/// Level at which a participant becomes a speaker, and level below which it stops being one.
const START_LEVEL: f32 = 0.30;
const STOP_LEVEL: f32 = 0.20;
/// Minimum time for which a participant stays a speaker.
const HOLD: Duration = Duration::from_millis(900);
/// Difference in level that is needed to overtake another speaker.
const MARGIN: f32 = 0.10;
/// Resolution of the levels in notices.
const STEP: f32 = 0.1;
/// Age at which the report of a shard is dropped.
const STALE: Duration = Duration::from_millis(1_500);

/// The active speakers of one room.
#[derive(Debug, Default)]
pub struct Speakers {
    report_by_shard: BTreeMap<(NodeId, u32), Report>,
    voice_by_participant: BTreeMap<ParticipantId, Voice>,
    ranking: Vec<ParticipantId>,
    last_sent: Vec<Speaker>,
}

#[derive(Debug)]
struct Report {
    at: Instant,
    levels: Vec<(TrackId, u32)>,
}

#[derive(Debug)]
struct Voice {
    level: f32,
    heard_since: Option<Instant>,
}

impl Speakers {
    /// Handles the levels from one shard of a node. `owner` maps a track to its participant.
    /// Returns the ranking if clients must get it.
    pub fn handle_report(
        &mut self,
        shard: (NodeId, u32),
        levels: Vec<(TrackId, u32)>,
        owner: impl Fn(&TrackId) -> Option<ParticipantId>,
        now: Instant,
    ) -> Option<&[Speaker]> {
        self.report_by_shard
            .insert(shard, Report { at: now, levels });
        self.report_by_shard
            .retain(|_, report| now.saturating_duration_since(report.at) < STALE);
        self.smooth(&self.loudest(owner), now);
        self.rank();
        self.changed_ranking()
    }

    /// Removes the levels of a node. Returns the ranking if clients must get it.
    pub fn clear(&mut self, node: &NodeId) -> Option<&[Speaker]> {
        self.report_by_shard.retain(|(of, _), _| of != node);
        if self.report_by_shard.is_empty() {
            self.voice_by_participant.clear();
            self.ranking.clear();
        }
        self.changed_ranking()
    }

    /// The ranking that clients got last.
    pub fn last_sent(&self) -> &[Speaker] {
        &self.last_sent
    }

    fn loudest(
        &self,
        owner: impl Fn(&TrackId) -> Option<ParticipantId>,
    ) -> BTreeMap<ParticipantId, f32> {
        let mut loudest = BTreeMap::new();
        for report in self.report_by_shard.values() {
            for (track, dbov) in &report.levels {
                let Some(participant) = owner(track) else {
                    continue;
                };
                let quiet = (*dbov).min(127) as f32 / QUIETEST_DBOV;
                let level = (1.0 - quiet).max(0.0);
                let entry = loudest.entry(participant).or_insert(0.0_f32);
                *entry = entry.max(level);
            }
        }
        loudest
    }

    fn smooth(&mut self, loudest: &BTreeMap<ParticipantId, f32>, now: Instant) {
        for participant in loudest.keys() {
            let silent = Voice {
                level: 0.0,
                heard_since: None,
            };
            self.voice_by_participant
                .entry(participant.clone())
                .or_insert(silent);
        }
        self.voice_by_participant.retain(|participant, voice| {
            let target = loudest.get(participant).copied().unwrap_or(0.0);
            let share = if target > voice.level {
                ATTACK
            } else {
                RELEASE
            };
            voice.level += (target - voice.level) * share;
            voice.heard_since = match voice.heard_since {
                None if voice.level >= START_LEVEL => Some(now),
                None => None,
                Some(since) if voice.level < STOP_LEVEL && now >= since + HOLD => None,
                Some(since) => Some(since),
            };
            voice.heard_since.is_some() || voice.level > 0.01
        });
    }

    fn rank(&mut self) {
        let voices = &self.voice_by_participant;
        let heard = |id: &ParticipantId| voices.get(id).is_some_and(|v| v.heard_since.is_some());
        self.ranking.retain(heard);
        for id in voices.keys().filter(|id| heard(id)) {
            if !self.ranking.contains(id) {
                self.ranking.push(id.clone());
            }
        }
        let level = |id: &ParticipantId| voices.get(id).map_or(0.0, |voice| voice.level);
        // Insertion keeps the old order unless the margin is exceeded; a sort could not.
        for end in 1..self.ranking.len() {
            let mut at = end;
            while at > 0 && level(&self.ranking[at]) > level(&self.ranking[at - 1]) + MARGIN {
                self.ranking.swap(at, at - 1);
                at -= 1;
            }
        }
    }

    fn changed_ranking(&mut self) -> Option<&[Speaker]> {
        let voices = &self.voice_by_participant;
        let speaker = |id: &ParticipantId| Speaker {
            participant: id.clone(),
            level: stepped(voices.get(id).map_or(0.0, |voice| voice.level)),
        };
        let now: Vec<_> = self.ranking.iter().take(SPEAKERS).map(speaker).collect();
        if now == self.last_sent {
            return None;
        }
        self.last_sent = now;
        Some(&self.last_sent)
    }
}

fn stepped(level: f32) -> f32 {
    (level / STEP).round().clamp(0.0, 1.0 / STEP) / (1.0 / STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: Duration = Duration::from_millis(300);

    fn node() -> NodeId {
        "node".parse().unwrap()
    }

    struct SpeakersTest {
        speakers: Speakers,
        now: Instant,
        participants: Vec<(TrackId, ParticipantId)>,
        notices: usize,
    }

    impl SpeakersTest {
        fn new(participants: usize) -> Self {
            let someone = |_| (TrackId::random(), ParticipantId::random());
            Self {
                speakers: Speakers::default(),
                now: Instant::now(),
                participants: (0..participants).map(someone).collect(),
                notices: 0,
            }
        }

        fn report(&mut self, levels: &[(usize, u32)]) -> Vec<usize> {
            self.now += REPORT;
            let of = |(index, dbov): &(usize, u32)| (self.participants[*index].0.clone(), *dbov);
            let levels = levels.iter().map(of).collect();
            let participants = &self.participants;
            let owner = |track: &TrackId| {
                let found = participants.iter().find(|(t, _)| t == track);
                found.map(|(_, participant)| participant.clone())
            };
            let told = self
                .speakers
                .handle_report((node(), 0), levels, owner, self.now);
            self.notices += usize::from(told.is_some());
            let index = |s: &Speaker| participants.iter().position(|(_, p)| *p == s.participant);
            self.speakers.last_sent().iter().filter_map(index).collect()
        }
    }

    #[test]
    fn a_voice_is_heard_within_two_reports_and_leaves_after_the_hold() {
        let mut test = SpeakersTest::new(1);
        test.report(&[(0, 30)]);
        assert_eq!(test.report(&[(0, 30)]), [0]);
        assert_eq!(test.report(&[]), [0], "held");
        for _ in 0..6 {
            test.report(&[]);
        }
        assert_eq!(test.report(&[]), [0_usize; 0]);
    }

    #[test]
    fn murmur_is_nobody() {
        let mut test = SpeakersTest::new(1);
        for _ in 0..20 {
            assert_eq!(test.report(&[(0, 60)]), [0_usize; 0]);
        }
        assert_eq!(test.notices, 0);
    }

    #[test]
    fn voices_of_like_loudness_do_not_change_places() {
        let mut test = SpeakersTest::new(2);
        test.report(&[(0, 25)]);
        test.report(&[(0, 25)]);
        for turn in 0..20 {
            let (a, b) = if turn % 2 == 0 { (24, 27) } else { (27, 24) };
            let order = test.report(&[(0, a), (1, b)]);
            assert_eq!(order.first(), Some(&0), "turn {turn}");
        }
        for _ in 0..6 {
            test.report(&[(0, 50), (1, 10)]);
        }
        assert_eq!(test.report(&[(0, 50), (1, 10)]).first(), Some(&1));
    }

    #[test]
    fn a_steady_voice_is_told_a_few_times_only() {
        let mut test = SpeakersTest::new(1);
        for _ in 0..50 {
            test.report(&[(0, 30)]);
        }
        assert!(test.notices <= 4, "told {} times", test.notices);
    }

    #[test]
    fn a_shard_that_stops_reporting_is_silent_and_clear_silences_all() {
        let mut test = SpeakersTest::new(1);
        test.report(&[(0, 20)]);
        test.report(&[(0, 20)]);
        for shard in 1..15 {
            test.now += REPORT;
            test.speakers
                .handle_report((node(), shard), Vec::new(), |_| None, test.now);
        }
        assert!(test.speakers.last_sent().is_empty());
        test.report(&[(0, 20)]);
        test.report(&[(0, 20)]);
        assert_eq!(test.speakers.clear(&node()), Some(&[][..]));
        assert_eq!(test.speakers.clear(&node()), None);
    }
}
