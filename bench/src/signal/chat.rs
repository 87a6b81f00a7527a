//! Chat messages at a rate that does not wait for deliveries, and that rises until messages are late.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::board::Board;
use super::crowd::{Crowd, Order};

/// Interval of checks for due messages.
const TICK: Duration = Duration::from_millis(1);
/// Time after a step for messages on the network.
const DRAIN_TIME: Duration = Duration::from_secs(10);
/// Maximum p99 latency of a step that passes, in ms.
const MAX_P99_MS: f64 = 100.0;
/// Deliveries per second of the first step, and factor from step to step.
const FIRST_RATE: f64 = 20_000.0;
const GROWTH: f64 = 1.25;
const MAX_STEPS: usize = 20;

/// Messages sent in a window, and their delivery.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Step {
    /// Messages sent per second.
    pub messages_per_second: f64,
    /// Deliveries per second in the window, including those to the senders.
    pub delivered_per_second: f64,
    /// Median latency of deliveries since the message was due, in ms.
    pub p50_ms: f64,
    /// 99th percentile of the same latency, in milliseconds.
    pub p99_ms: f64,
    /// Number of missing deliveries.
    pub missing: u64,
}

impl Step {
    /// True if all messages arrived in time.
    pub fn is_carried(&self) -> bool {
        self.missing == 0 && self.p99_ms <= MAX_P99_MS
    }
}

/// Messages of the chat, and their receivers.
pub struct Chat<'a> {
    /// Records the delivery of events.
    pub board: &'a Arc<Board>,
    /// Participants that send and receive.
    pub crowd: &'a Crowd,
    /// Bytes of a message's padding.
    pub message_bytes: usize,
    /// Length of a window.
    pub window: Duration,
}

impl Chat<'_> {
    /// Measures one window at `rate` messages per second.
    pub async fn measure(&self, rate: f64) -> Step {
        let pad = "x".repeat(self.message_bytes);
        let before = {
            let mut results = self.board.results();
            results.delivered_us.reset();
            results.deliveries
        };
        let (start, start_us) = (Instant::now(), self.board.now_us());
        let (mut sent, mut expected) = (0_u64, 0);
        while start.elapsed() < self.window {
            let due = (start.elapsed().as_secs_f64() * rate) as u64;
            while sent < due {
                let speaker = self.speaker(sent);
                let due_us = start_us + (sent as f64 / rate * 1e6) as u64;
                let payload = json!({"due_us": due_us, "pad": pad});
                let message = json!({"type": "message", "topic": "chat", "payload": payload});
                expected += self.board.sent(speaker);
                // A participant that left does not send; its message counts as missing.
                self.crowd
                    .order(speaker, Order::SendMessage(message.to_string()));
                sent += 1;
            }
            sleep(TICK).await;
        }
        let seconds = start.elapsed().as_secs_f64();
        let delivered = self.board.results().deliveries - before;
        let end = Instant::now() + DRAIN_TIME;
        while self.board.results().deliveries - before < expected && Instant::now() < end {
            sleep(TICK * 10).await;
        }
        let results = self.board.results();
        let quantile_ms = |part| results.delivered_us.value_at_quantile(part) as f64 / 1e3;
        Step {
            messages_per_second: sent as f64 / seconds,
            delivered_per_second: delivered as f64 / seconds,
            p50_ms: quantile_ms(0.5),
            p99_ms: quantile_ms(0.99),
            missing: expected.saturating_sub(results.deliveries - before),
        }
    }

    /// Steps with rising rates until one fails. Returns all steps.
    pub async fn rise(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut rate = FIRST_RATE / self.board.receivers() as f64;
        for _ in 0..MAX_STEPS {
            let step = self.measure(rate).await;
            report(&step);
            steps.push(step);
            if !step.is_carried() {
                break;
            }
            rate *= GROWTH;
        }
        steps
    }

    /// The sender of message `number`: consecutive senders are in different rooms, and all participants send equally
    /// often.
    fn speaker(&self, number: u64) -> usize {
        const STRIDE: u64 = 7_919; // a prime, so that it reaches all participants of a smaller crowd
        let crowd = self.crowd.len() as u64;
        let stride = if crowd.is_multiple_of(STRIDE) {
            1
        } else {
            STRIDE
        };
        usize::try_from(number * stride % crowd).expect("it is below a length")
    }
}

/// The result: the last step that passed, or the first one.
pub fn best(steps: &[Step]) -> Option<Step> {
    let carried = steps.iter().rev().find(|step| step.is_carried());
    carried.or(steps.first()).copied()
}

fn report(step: &Step) {
    eprintln!(
        "{:.0} messages/s: {:.0} delivered/s, p50 {:.1} ms, p99 {:.1} ms, {} missing",
        step.messages_per_second, step.delivered_per_second, step.p50_ms, step.p99_ms, step.missing
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(messages_per_second: f64, p99_ms: f64, missing: u64) -> Step {
        Step {
            messages_per_second,
            delivered_per_second: messages_per_second * 10.0,
            p50_ms: 1.0,
            p99_ms,
            missing,
        }
    }

    #[test]
    fn the_last_rate_that_was_carried_counts() {
        let steps = [
            step(250.0, 5.0, 0),
            step(375.0, 50.0, 0),
            step(560.0, 101.0, 0),
        ];
        assert_eq!(best(&steps), Some(steps[1]));
        let never = [step(250.0, 5.0, 1)];
        assert_eq!(best(&never), Some(never[0]));
    }
}
