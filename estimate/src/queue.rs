//! Length of the queue on the path: the minimum of recent delays compared with the minimum over a long time.
//!
//! A receiver that wakes up late delays some packets, a queue delays all of them. A minimum distinguishes these.

const RECENT_US: i64 = 100_000;
const LONG_US: i64 = 10_000_000;

/// Measures the queue. Delays contain an unknown offset between two clocks, which does not matter for differences.
#[derive(Debug)]
pub(super) struct Queue {
    recent: Minimum,
    shortest: Minimum,
}

/// The minimum over the last one to two spans of time.
#[derive(Debug)]
struct Minimum {
    span_us: i64,
    ends_us: Option<i64>,
    current_us: i64,
    previous_us: i64,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            recent: Minimum::new(RECENT_US),
            shortest: Minimum::new(LONG_US),
        }
    }

    /// Adds a packet: `sent_us` is on our clock, `arrived_us` on the receiver's.
    pub(super) fn add(&mut self, sent_us: i64, arrived_us: i64) {
        let delay_us = arrived_us - sent_us;
        self.recent.add(delay_us, arrived_us);
        self.shortest.add(delay_us, arrived_us);
    }

    /// Length of the queue in µs: the least delay of all packets of the last 100 to 200 ms. 0 if none arrived for that
    /// long, because later packets may have waited for the receiver.
    pub(super) fn standing_us(&self) -> i64 {
        match self.recent.previous_us {
            i64::MAX => 0,
            _ => self.recent.value_us() - self.shortest.value_us(),
        }
    }

    /// The path has become longer: the present delay does not count as queue.
    pub(super) fn accept(&mut self) {
        self.shortest = Minimum::new(LONG_US);
        self.recent = Minimum::new(RECENT_US);
    }
}

impl Minimum {
    fn new(span_us: i64) -> Self {
        Self {
            span_us,
            ends_us: None,
            current_us: i64::MAX,
            previous_us: i64::MAX,
        }
    }

    fn add(&mut self, value_us: i64, at_us: i64) {
        let ends_us = *self.ends_us.get_or_insert(at_us + self.span_us);
        if at_us >= ends_us {
            let skipped = at_us >= ends_us + self.span_us;
            self.previous_us = if skipped { i64::MAX } else { self.current_us };
            self.current_us = i64::MAX;
            self.ends_us = Some(at_us + self.span_us);
        }
        self.current_us = self.current_us.min(value_us);
    }

    fn value_us(&self) -> i64 {
        self.current_us.min(self.previous_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_delays_all_packets_and_a_late_receiver_some() {
        let mut queue = Queue::new();
        assert_eq!(queue.standing_us(), 0);
        let mut run = |from_ms: i64, to_ms: i64, delay_ms: &dyn Fn(i64) -> i64| {
            for ms in (from_ms..to_ms).step_by(10) {
                queue.add(ms * 1_000, (ms + delay_ms(ms)) * 1_000);
            }
            queue.standing_us() / 1_000
        };
        assert_eq!(run(0, 1_000, &|_| -500), 0);
        // The receiver wakes up every 80 ms.
        assert_eq!(run(1_000, 2_000, &|ms| -500 + (80 - ms % 80)), 10);
        assert_eq!(run(2_000, 3_000, &|_| -400), 100);
        assert_eq!(run(3_000, 4_000, &|_| -500), 0);
        // No packet arrives, then all at once.
        assert_eq!(run(4_000, 4_010, &|_| -100), 0);
        assert_eq!(run(4_300, 5_000, &|_| -500), 0);
        // The queue stands so long that it cannot be distinguished from a longer path.
        assert_eq!(run(5_000, 12_000, &|_| -400), 100);
        assert_eq!(run(12_000, 40_000, &|_| -400), 0);
    }
}
