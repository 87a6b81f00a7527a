//! State of one Redis server: its command connection, and the time of the next reconnect.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::errors::LinkError;
use super::pipeline::Pipeline;

/// First and longest pause before a reconnect after a failure; doubled with each failure in a row.
const RETRY_PAUSE: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_millis(1_000));

/// The command connection to one Redis server.
#[derive(Debug, Default)]
pub(super) struct Server {
    state: Mutex<State>,
    /// Held while connecting, so that other tasks use the same connection.
    pub(super) connecting: tokio::sync::Mutex<()>,
}

/// Number of earlier command connections to one server that were closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Generation(u64);

#[derive(Debug, Default)]
struct State {
    generation: Generation,
    pipeline: Option<Pipeline>,
    /// Failures since the last command that succeeded.
    failures: u32,
    /// Time of the last check of the user's rights.
    tried: Option<Instant>,
    /// End of the pause before a reconnect, and the error to report meanwhile.
    pause: Option<(Instant, LinkError)>,
}

impl Server {
    /// The open connection; an error during the pause after a failure; `None` if the caller must
    /// connect.
    pub(super) fn current(&self) -> Option<Result<(Generation, Pipeline), LinkError>> {
        let state = self.state();
        if let Some(pipeline) = &state.pipeline {
            return Some(Ok((state.generation, pipeline.clone())));
        }
        match &state.pause {
            Some((until, error)) if Instant::now() < *until => Some(Err(error.clone())),
            Some(_) | None => None,
        }
    }

    /// The generation of the current connection. Subscription connections of an older generation
    /// are closed, because another server may have taken over the address.
    pub(super) fn generation(&self) -> Generation {
        self.state().generation
    }

    /// Notes a new connection.
    pub(super) fn connected(&self, pipeline: Pipeline) -> Generation {
        let mut state = self.state();
        (state.pipeline, state.pause) = (Some(pipeline), None);
        state.tried = Some(Instant::now());
        state.generation
    }

    /// Notes that connecting failed.
    pub(super) fn failed(&self, error: &LinkError) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        let pause = pause_after(state.failures);
        state.pause = Some((Instant::now() + pause, error.clone()));
    }

    /// Closes the connection of `generation`. The first reconnect happens without a pause.
    pub(super) fn drop_connection(&self, generation: Generation, error: &LinkError) {
        let mut state = self.state();
        // Another task has closed it already, and there may be a new connection.
        if state.generation != generation || state.pipeline.take().is_none() {
            return;
        }
        state.generation.0 += 1;
        state.failures = state.failures.saturating_add(1);
        let pause = pause_after(state.failures - 1);
        state.pause = Some((Instant::now() + pause, error.clone()));
    }

    /// True if rights were not checked within `time`. The caller then checks them.
    pub(super) fn check_rights(&self, time: Duration) -> bool {
        let mut state = self.state();
        let is_due = state.tried.is_none_or(|tried| tried.elapsed() >= time);
        if is_due {
            state.tried = Some(Instant::now());
        }
        is_due
    }

    /// Notes a command that succeeded.
    pub(super) fn succeeded(&self) {
        self.state().failures = 0;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves whole values: each change is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pause_after(failures: u32) -> Duration {
    let (least, most) = RETRY_PAUSE;
    match failures {
        0 => Duration::ZERO,
        failures => most.min(least.saturating_mul(1 << (failures - 1).min(8))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_doubled_up_to_the_second() {
        let pauses = (0..7).map(|failures| pause_after(failures).as_millis());
        assert!(pauses.eq([0, 100, 200, 400, 800, 1_000, 1_000]));
        assert_eq!(pause_after(u32::MAX), RETRY_PAUSE.1);
    }

    #[test]
    fn a_server_that_failed_is_left_alone_for_a_while_and_says_why() {
        let server = Server::default();
        assert!(server.current().is_none());
        let error = LinkError::Unavailable("away".into());
        server.failed(&error);
        assert_eq!(server.current().unwrap().unwrap_err(), error);
        std::thread::sleep(RETRY_PAUSE.0);
        assert!(server.current().is_none());
    }
}
