//! Time in which the host ran. A virtual machine is taken off its cores for a second now and then, and
//! nothing a program does can come in time then: limits count what is left.
//!
//! A thread on each core looks at the clock every few milliseconds; where it comes late, its core stood still.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

const TICK: Duration = Duration::from_millis(5);
/// Later than this, a core stood still; less is the scheduler's usual business.
const LATE: Duration = Duration::from_millis(25);

/// What one core did.
struct Core {
    /// When its thread wants to look next.
    next: Instant,
    stood_still: Vec<(Instant, Instant)>,
}

static CORES: OnceLock<Vec<Mutex<Core>>> = OnceLock::new();

/// Begins to watch the cores; what was before is not known. May be called again.
pub fn watch() {
    if CORES.get().is_some() {
        return;
    }
    let allowed = sched_getaffinity(None).unwrap_or_default();
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|core| allowed.is_set(*core))
        .collect();
    let new = cores.iter().map(|_| {
        let (next, stood_still) = (Instant::now() + TICK, Vec::new());
        Mutex::new(Core { next, stood_still })
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
    // Without it, the thread sees a standstill of all cores at once only.
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
            state.stood_still.push((next, now));
        }
        state.next = now + TICK;
    }
}

fn lock(core: &Mutex<Core>) -> MutexGuard<'_, Core> {
    core.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long at least one core stood still between the two.
pub fn stood_still(from: Instant, to: Instant) -> Duration {
    watch();
    let mut spans = Vec::new();
    for core in CORES.get().into_iter().flatten() {
        let core = lock(core);
        spans.extend_from_slice(&core.stood_still);
        if to > core.next + LATE {
            spans.push((core.next, to)); // it has not come back yet
        }
    }
    union(spans, from, to)
}

/// How long the host ran since then.
pub fn ran_since(from: Instant) -> Duration {
    let now = Instant::now();
    (now - from).saturating_sub(stood_still(from, now))
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

/// A limit for waiting, of time in which the host ran.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    since: Instant,
    limit: Duration,
}

impl Patience {
    /// A deadline at `limit` from now.
    pub fn of(limit: Duration) -> Self {
        watch();
        let since = Instant::now();
        Self { since, limit }
    }

    /// Whether the limit has passed.
    pub fn is_over(&self) -> bool {
        ran_since(self.since) >= self.limit
    }

    /// How much is left.
    pub fn left(&self) -> Duration {
        self.limit.saturating_sub(ran_since(self.since))
    }
}

/// Sleeps until the host has run for `time`.
pub async fn sleep(time: Duration) {
    let patience = Patience::of(time);
    while !patience.is_over() {
        tokio::time::sleep(patience.left()).await;
    }
}

/// What `future` comes to, unless it takes longer than `limit`.
pub async fn timeout<T>(limit: Duration, future: impl Future<Output = T>) -> anyhow::Result<T> {
    let patience = Patience::of(limit);
    let mut future = std::pin::pin!(future);
    loop {
        if let Ok(value) = tokio::time::timeout(patience.left(), &mut future).await {
            return Ok(value);
        }
        anyhow::ensure!(!patience.is_over(), "nothing came within {limit:?}");
    }
}

/// The first thing `probe` finds, if it finds something within `limit`.
pub async fn wait<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let patience = Patience::of(limit);
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if patience.is_over() {
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
