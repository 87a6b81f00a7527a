//! Periodic work of a shard, every 100 ms: bit rates, unanswered keyframe requests, layers, levels, counters. The cost
//! depends on the activity since the last tick, not on the number of sessions.

use std::time::{Duration, Instant};

use crate::key::TrackKey;
use crate::limits::{BITRATE_WINDOW, LEVEL_INTERVAL, QUIET_TICK, REPORT_INTERVAL, TICK};
use crate::media::track::TrackStatus;
use crate::mesh::message::{ShardEvent, ToControl};
use crate::shard::state::Shard;

/// Minimum relative change of a bit rate that is reported.
const NOTABLE: f64 = 0.1;
/// A shard that works for less than this fraction of the time counts as idle.
const IDLE: f64 = 0.01;

impl Shard {
    /// Time of the next [`tick`](Self::tick): later on an idle shard, which has nothing to measure or report.
    pub fn next_tick(&self) -> Instant {
        if self.is_quiet() {
            self.periodic.next_tick + (QUIET_TICK - TICK)
        } else {
            self.periodic.next_tick
        }
    }

    /// Records that the shard was woken by something other than the tick. Activity on an idle shard is measured after
    /// the usual interval, not at its first packet.
    pub fn note_activity(&mut self, now: Instant) {
        if self.is_quiet() {
            self.periodic.next_tick = now + TICK;
        }
    }

    fn is_quiet(&self) -> bool {
        let waits = self.periodic.active.is_empty() && self.awaiting_keyframes.is_empty();
        waits
            && self.dirty.is_empty()
            && self.periodic.levels_were_silent
            && !self.periodic.has_unreported_events
    }

    /// Does the due periodic work; `busy` measures the fraction of time spent working.
    pub fn tick(&mut self, now: Instant, busy: &mut BusyMeter) {
        if now < self.periodic.next_tick {
            return;
        }
        self.periodic.next_tick = now + TICK;
        self.measure_tracks(now);
        self.retry_keyframes(now);
        self.allocate_dirty(now);
        if now >= self.periodic.next_levels {
            self.periodic.next_levels = now + LEVEL_INTERVAL;
            self.report_levels(now);
        }
        if now >= self.periodic.next_report {
            self.periodic.next_report = now + REPORT_INTERVAL;
            self.report.busy_fraction = busy.take(now);
            self.send_report();
            // A shard that was busy sends one more report when it is idle.
            self.periodic.has_unreported_events = self.report.busy_fraction >= IDLE;
        }
    }

    fn measure_tracks(&mut self, now: Instant) {
        for track in std::mem::take(&mut self.periodic.active) {
            let Some(entry) = self.tracks.get_mut(track) else {
                continue;
            };
            let Some(published) = &mut entry.published else {
                continue;
            };
            let Some(status) = published.meter.measure(now, BITRATE_WINDOW) else {
                self.periodic.active.push(track);
                continue;
            };
            published.active = !status.live.is_empty();
            if published.active {
                self.periodic.active.push(track);
            }
            if is_notable(&entry.status, &status) {
                self.spread_status(track, status);
            }
        }
    }

    fn report_levels(&mut self, now: Instant) {
        let tracks = &mut self.tracks;
        let levels: Vec<(TrackKey, u8)> = self
            .periodic
            .active
            .iter()
            .filter_map(|track| {
                let level = &tracks.get_mut(*track)?.published.as_ref()?.level;
                Some((*track, level.audible(now)?))
            })
            .collect();
        let silent = levels.is_empty();
        if !(silent && self.periodic.levels_were_silent) {
            self.send_event(ShardEvent::Levels {
                shard: self.id,
                levels,
            });
        }
        self.periodic.levels_were_silent = silent;
    }

    fn send_report(&mut self) {
        self.report.sessions = self.peers.len();
        let turn = self.egress.turn.as_ref();
        self.report.turn = turn.map(|turn| Box::new(turn.server().counts().clone()));
        self.report.streams = self.egress.streams.counts().clone();
        let report = Box::new(self.report.clone());
        self.send_to_control(ToControl::Report(report));
    }
}

/// Measures the fraction of time spent working.
#[derive(Debug)]
pub struct BusyMeter {
    busy: Duration,
    since: Instant,
}

impl BusyMeter {
    /// A meter whose interval starts at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            busy: Duration::ZERO,
            since: now,
        }
    }

    /// Adds time spent working.
    pub fn add(&mut self, time: Duration) {
        self.busy += time;
    }

    fn take(&mut self, now: Instant) -> f64 {
        let elapsed = now.duration_since(self.since).as_secs_f64().max(1e-9);
        let fraction = (self.busy.as_secs_f64() / elapsed).min(1.0);
        *self = Self::new(now);
        fraction
    }
}

fn is_notable(before: &TrackStatus, after: &TrackStatus) -> bool {
    let moved = |(before, after): (&u32, &u32)| {
        let (before, after) = (f64::from(*before), f64::from(*after));
        (before - after).abs() > NOTABLE * before.max(1.0)
    };
    before.live != after.live || before.layer_bps.iter().zip(&after.layer_bps).any(moved)
}
