//! Measures the time in which the host ran. A hypervisor may take the cores away for up to a
//! second, and no program can keep a limit then. So time limits count only the remaining time.
//!
//! A thread on each core reads the clock every few milliseconds. If it is late, its core stood
//! still.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

const TICK: Duration = Duration::from_millis(5);
/// Delay above which a core counts as standing still; shorter delays are normal scheduling.
const LATE: Duration = Duration::from_millis(25);

/// Observations of one core.
struct Core {
    /// Time of the thread's next reading.
    next: Instant,
    standstill: Vec<(Instant, Instant)>,
}

static CORES: OnceLock<Vec<Mutex<Core>>> = OnceLock::new();

/// Starts to watch the cores. Earlier times are unknown. Can be called repeatedly.
pub fn watch() {
    if CORES.get().is_some() {
        return;
    }
    let allowed = sched_getaffinity(None).unwrap_or_default();
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|core| allowed.is_set(*core))
        .collect();
    let new = cores.iter().map(|_| {
        let (next, standstill) = (Instant::now() + TICK, Vec::new());
        Mutex::new(Core { next, standstill })
    });
    if CORES.set(new.collect()).is_err() {
        return; // another task was faster
    }
    for (index, core) in cores.into_iter().enumerate() {
        std::thread::spawn(move || look(index, core));
    }
}

fn look(index: usize, core: usize) {
    let mut only = CpuSet::new();
    only.set(core);
    // Without a core of its own, the thread notices only a standstill of all cores.
    let _ = sched_setaffinity(None, &only);
    let Some(state) = CORES.get().and_then(|cores| cores.get(index)) else {
        return;
    };
    loop {
        let next = lock(state).next;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        let now = Instant::now();
        let mut state = lock(state);
        if now > next + LATE {
            state.standstill.push((next, now));
        }
        state.next = now + TICK;
    }
}

fn lock(core: &Mutex<Core>) -> MutexGuard<'_, Core> {
    core.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Time between `from` and `to` in which at least one core stood still.
pub fn standstill(from: Instant, to: Instant) -> Duration {
    watch();
    let mut spans = Vec::new();
    for core in CORES.get().into_iter().flatten() {
        let core = lock(core);
        spans.extend_from_slice(&core.standstill);
        if to > core.next + LATE {
            spans.push((core.next, to)); // the core still stands still
        }
    }
    union(spans, from, to)
}

/// Time in which the host ran since `from`.
pub fn ran_since(from: Instant) -> Duration {
    let now = Instant::now();
    (now - from).saturating_sub(standstill(from, now))
}

fn union(mut spans: Vec<(Instant, Instant)>, from: Instant, to: Instant) -> Duration {
    spans.sort_unstable();
    let (mut total, mut seen) = (Duration::ZERO, from);
    for (start, end) in spans {
        let (start, end) = (start.max(seen), end.min(to));
        if end > start {
            total += end - start;
            seen = end;
        }
    }
    total
}

/// A time limit that counts only time in which the host ran.
#[derive(Debug, Clone, Copy)]
pub struct TimeLimit {
    since: Instant,
    limit: Duration,
}

impl TimeLimit {
    /// A deadline at `limit` from now.
    pub fn new(limit: Duration) -> Self {
        watch();
        let since = Instant::now();
        Self { since, limit }
    }

    /// True if the time limit has passed.
    pub fn is_over(&self) -> bool {
        ran_since(self.since) >= self.limit
    }

    /// The part of the limit that remains.
    pub fn left(&self) -> Duration {
        self.limit.saturating_sub(ran_since(self.since))
    }
}

/// Sleeps until the host has run for `time`.
pub async fn sleep(time: Duration) {
    let limit_left = TimeLimit::new(time);
    while !limit_left.is_over() {
        tokio::time::sleep(limit_left.left()).await;
    }
}

/// The result of `future`; an error if it takes longer than `limit`.
pub async fn timeout<T>(limit: Duration, future: impl Future<Output = T>) -> anyhow::Result<T> {
    let limit_left = TimeLimit::new(limit);
    let mut future = std::pin::pin!(future);
    loop {
        if let Ok(value) = tokio::time::timeout(limit_left.left(), &mut future).await {
            return Ok(value);
        }
        anyhow::ensure!(!limit_left.is_over(), "nothing came within {limit:?}");
    }
}

/// Calls `probe` until it returns a value; `None` after `limit`.
pub async fn wait<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let limit_left = TimeLimit::new(limit);
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if limit_left.is_over() {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_counted_once_and_only_inside() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let spans = vec![
            (at(50), at(80)),
            (at(0), at(20)),
            (at(60), at(70)),
            (at(75), at(90)),
        ];
        assert_eq!(
            union(spans.clone(), at(10), at(100)),
            Duration::from_millis(50)
        );
        assert_eq!(union(spans, at(55), at(60)), Duration::from_millis(5));
        assert_eq!(union(vec![], at(0), at(9)), Duration::ZERO);
    }
}
