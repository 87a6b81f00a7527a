//! One room of thousands beside rooms of the usual size, in one run: the time until all participants are notified of a
//! join, and the memory of a participant.
//!
//! The rooms are filled first. Then participants of both kinds leave and join again at a rate that waits for nothing, and
//! that has the large room and all others together deliver as many events a second.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::{Instant, sleep, sleep_until};

use super::board::{Board, quantiles_ms};
use super::crowd::{Crowd, Joiner, LOOK, Order};
use super::options::Options;
use super::rooms::{Kind, Rooms};
use crate::canary::token::TokenSource;
use crate::host::process::{self, Pid};

/// Number of participants that join and leave before memory is read for the first time, so that a server's one-time
/// allocations do not count.
const WARM_UP: usize = 100;
/// Time from the last leave of the warm-up to the first reading of the memory.
const COOL_DOWN: Duration = Duration::from_secs(3);
/// Maximum number of unanswered joins, and of undelivered events, while the rooms are filled: high enough for the speed
/// of the host, low enough that no socket's queue overflows.
const FILL_UNANSWERED: usize = 50;
const FILL_UNDELIVERED: u64 = 100;
/// Time after the rooms are full, until every socket was pinged.
const CATCH_UP_TIME: Duration = Duration::from_secs(15);
/// Time from a participant's leave to its next join.
const AWAY: Duration = Duration::from_secs(1);
/// Minimum time before a participant leaves again.
const STAY: Duration = Duration::from_secs(3);
/// Time after the last due join for events on the network.
const DRAIN_TIME: Duration = Duration::from_secs(30);
/// Interval of checks for due joins.
const TICK: Duration = Duration::from_millis(1);
const TICK_US: u64 = 1_000;
/// Maximum delay of the load at the 99th percentile, in ms; above it the load is the limit. It is 1.5 times the time
/// in which one processor reads one event at 10,000 sockets.
const MAX_LATE_MS: f64 = 150.0;

/// The processes of the servers, one per server.
struct Servers<'a> {
    options: &'a Options,
}

/// Participants of one kind of room that leave and join again.
struct Coming {
    of: Range<usize>,
    /// Number of participants that leave and join per second.
    rate: f64,
    done: usize,
}

/// Measures with a room of `large` participants.
pub(super) async fn measure(options: &Options, large: usize) -> anyhow::Result<Value> {
    let size = options.room_size as usize;
    let rooms = Rooms::beside(large, options.beside as usize, size);
    let board = Arc::new(Board::new(rooms)?);
    let mut coming = [Kind::Large, Kind::Usual].map(|kind| Coming::new(options, rooms, kind));
    for coming in &coming {
        coming.check()?;
    }
    let tokens = Arc::new(options.tokens());
    let servers = Servers { options };
    warm_up(options, &tokens).await?;
    let before = servers.rss_bytes()?;
    let start = Instant::now();
    let crowd = fill(options, &board, &tokens).await?;
    eprintln!(
        "{} joined in {:.1} s",
        crowd.len(),
        start.elapsed().as_secs_f64()
    );
    sleep(CATCH_UP_TIME).await;
    let full = servers.growth(&before, crowd.len())?;
    board.results().reset_join_notifications();
    let cpu_before = (servers.cpu_seconds()?, own_cpu_seconds()?);
    let window = Duration::from_secs(options.seconds);
    let (end, ended) = oneshot::channel();
    let lateness = tokio::spawn(watch_lateness(ended));
    come_and_go(&board, &crowd, &mut coming, window).await?;
    let _ = end.send(());
    let late_us = lateness.await??;
    let cpu_seconds = servers.cpu_seconds()? - cpu_before.0;
    let load_cpu_seconds = own_cpu_seconds()? - cpu_before.1;
    let after = servers.growth(&before, crowd.len())?;
    let [in_large, in_usual] = [Kind::Large, Kind::Usual].map(|kind| figures(&board, kind, window));
    let late_ms = late_us.value_at_quantile(0.99) as f64 / 1e3;
    let p99 = |kind| {
        board
            .results()
            .join_notifications(kind)
            .notified_us
            .value_at_quantile(0.99) as f64
    };
    let most = full.iter().chain(&after).max();
    let mut result = json!({
        "bench": "signal",
        "servers": options.servers.len(),
        "store": options.store(),
        "connections": crowd.len(),
        "room": large,
        "beside": options.beside,
        "room_size": size,
        "in_room": in_large,
        "in_rooms_beside": in_usual,
        "join_to_notified_p99_ratio": p99(Kind::Large) / p99(Kind::Usual),
        "rss_bytes_per_participant_full": full,
        "rss_bytes_per_participant_after": after,
        "rss_bytes_per_participant": most,
        "leave_to_closed_ms": quantiles_ms(&board.results().left_us),
        "closed_to_connected_ms": quantiles_ms(&board.results().connected_us),
        "join_to_answer_ms": quantiles_ms(&board.results().answered_us),
        "server_cpu_seconds": cpu_seconds,
        "load_cpu_seconds": load_cpu_seconds,
        "load_late_ms": quantiles_ms(&late_us),
        "load_generator_limited": late_ms > MAX_LATE_MS,
        "load_generator_limits": ["cpu"],
    });
    board.conclude(&mut result);
    Ok(result)
}

/// Lets some participants join each server and leave again.
async fn warm_up(options: &Options, tokens: &Arc<TokenSource>) -> anyhow::Result<()> {
    let board = Arc::new(Board::new(Rooms::of_size(WARM_UP, WARM_UP))?);
    let mut crowd = Crowd::new(&board, tokens);
    for index in 0..WARM_UP {
        crowd.add(Joiner {
            index,
            server: options.server(index),
            room: "signal-warm".to_owned(),
        });
    }
    crowd.joined(WARM_UP).await?;
    (0..WARM_UP).for_each(|index| crowd.order(index, Order::Leave));
    sleep(COOL_DOWN).await;
    Ok(())
}

/// Lets all participants join, at the given rate or as fast as notifications are delivered.
async fn fill(
    options: &Options,
    board: &Arc<Board>,
    tokens: &Arc<TokenSource>,
) -> anyhow::Result<Crowd> {
    let rooms = board.rooms();
    let mut crowd = Crowd::new(board, tokens);
    let pause = Duration::from_secs(1) / options.joins_per_second;
    for index in 0..rooms.participants() {
        let room = rooms.of(index);
        while crowd.joins()? + FILL_UNANSWERED < index || board.behind(room) > FILL_UNDELIVERED {
            sleep(LOOK).await;
        }
        crowd.add(Joiner {
            index,
            server: options.server(index),
            room: format!("signal-{room}"),
        });
        sleep(pause).await;
    }
    crowd.joined(rooms.participants()).await?;
    Ok(crowd)
}

/// Participants leave and join at their rates for the length of the window. Returns when all events of these changes
/// have been delivered, or after [`DRAIN_TIME`].
async fn come_and_go(
    board: &Board,
    crowd: &Crowd,
    coming: &mut [Coming],
    window: Duration,
) -> anyhow::Result<()> {
    let (start, start_us) = (Instant::now(), board.now_us());
    while start.elapsed() < window {
        for coming in coming.iter_mut() {
            coming.send(crowd, start.elapsed(), start_us);
        }
        sleep(TICK).await;
    }
    let back: usize = coming.iter().map(|coming| coming.done).sum();
    crowd.joined(crowd.len() + back).await?;
    let end = Instant::now() + DRAIN_TIME;
    while board.faults().lost > 0 && Instant::now() < end {
        sleep(LOOK).await;
    }
    Ok(())
}

/// Measures the scheduling delay of a task that runs beside the participants' tasks, in µs.
async fn watch_lateness(mut ended: oneshot::Receiver<()>) -> anyhow::Result<Histogram<u64>> {
    let mut late_us = Histogram::new(3)?;
    while ended.try_recv() == Err(TryRecvError::Empty) {
        let due = Instant::now() + TICK;
        sleep_until(due).await;
        // A long delay also counts for the checks that it has prevented.
        late_us.record_correct(u64::try_from(due.elapsed().as_micros())?, TICK_US)?;
    }
    Ok(late_us)
}

impl Coming {
    fn new(options: &Options, rooms: Rooms, kind: Kind) -> Self {
        let members = match kind {
            Kind::Large => rooms.of_kind(kind).len(),
            Kind::Usual => options.room_size as usize,
        };
        Self {
            of: rooms.of_kind(kind),
            // Each leave and each join is delivered to all participants of the room.
            rate: f64::from(options.deliveries_per_second) / members as f64 / 2.0,
            done: 0,
        }
    }

    /// Checks that all participants can be back before they leave again.
    fn check(&self) -> anyhow::Result<()> {
        let round_s = self.of.len() as f64 / self.rate;
        let least_s = (AWAY + STAY).as_secs_f64();
        ensure!(
            round_s >= least_s,
            "{:.0} of {} participants per second would leave again after {round_s:.1} s, less than {least_s} s: \
             lower --deliveries-per-second",
            self.rate,
            self.of.len(),
        );
        Ok(())
    }

    /// Lets the due participants leave.
    fn send(&mut self, crowd: &Crowd, elapsed: Duration, start_us: u64) {
        let away_us = AWAY.as_micros() as f64;
        while self.done as f64 <= elapsed.as_secs_f64() * self.rate {
            let leave_us = self.done as f64 / self.rate * 1e6;
            let due_us = start_us + (leave_us + away_us) as u64;
            crowd.order(self.next(), Order::Rejoin { due_us });
            self.done += 1;
        }
    }

    /// The next participant to leave; consecutive ones are at different servers and in different rooms.
    fn next(&self) -> usize {
        const STRIDE: usize = 7_919; // a prime, so that it reaches all participants of a smaller crowd
        let crowd = self.of.len();
        let stride = if crowd.is_multiple_of(STRIDE) {
            1
        } else {
            STRIDE
        };
        self.of.start + self.done * stride % crowd
    }
}

impl Servers<'_> {
    fn pids(&self) -> impl Iterator<Item = Pid> {
        self.options.pids.iter().copied().map(Pid)
    }

    /// Resident memory of each server's process.
    fn rss_bytes(&self) -> anyhow::Result<Vec<u64>> {
        let read = |pid| anyhow::Ok(process::usage(pid)?.rss_bytes);
        self.pids().map(read).collect()
    }

    /// Growth of each server's process per connected participant.
    fn growth(&self, before: &[u64], participants: usize) -> anyhow::Result<Vec<u64>> {
        let count = self.options.servers.len();
        let grown = self.rss_bytes()?.into_iter().zip(before).enumerate();
        let each = grown.map(|(server, (now, before))| {
            // Participants are assigned to the servers in turn.
            let connected = (participants + count - 1 - server) / count;
            now.saturating_sub(*before) / connected as u64
        });
        Ok(each.collect())
    }

    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        Ok(process::sum(self.pids())?.cpu_seconds)
    }
}

/// CPU time of this process, in seconds.
fn own_cpu_seconds() -> anyhow::Result<f64> {
    Ok(process::usage(Pid(std::process::id()))?.cpu_seconds)
}

fn figures(board: &Board, kind: Kind, window: Duration) -> Value {
    let results = board.results();
    let join_notifications = results.join_notifications(kind);
    json!({
        "participants": board.rooms().of_kind(kind).len(),
        "join_to_notified_ms": quantiles_ms(&join_notifications.notified_us),
        "notified": join_notifications.notified_us.len(),
        "deliveries": join_notifications.deliveries,
        "delivered_per_second": (join_notifications.deliveries as f64 / window.as_secs_f64()).round(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coming(of: Range<usize>, rate: f64) -> Coming {
        Coming { of, rate, done: 0 }
    }

    #[test]
    fn all_participants_of_a_kind_leave_once_before_one_leaves_again() {
        let mut coming = coming(10..2_010, 100.0);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..2_000 {
            assert!(seen.insert(coming.next()));
            coming.done += 1;
        }
        assert_eq!((seen.first(), seen.last()), (Some(&10), Some(&2_009)));
    }

    #[test]
    fn a_rate_at_which_participants_cannot_be_back_is_refused() {
        assert!(coming(0..400, 100.0).check().is_ok());
        let error = coming(0..399, 100.0).check().unwrap_err().to_string();
        assert!(
            error.contains("100 of 399") && error.contains("4.0 s"),
            "{error}"
        );
    }
}
