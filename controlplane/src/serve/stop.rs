//! Stop signals of the process.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT and SIGTERM; they are caught from its making on. So is SIGHUP, which is for certificates: where there are
/// none it does nothing, rather than end the process.
pub struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
    _hangup: Signal,
}

impl StopSignal {
    /// Catches SIGTERM and SIGINT from now on.
    pub fn catch() -> anyhow::Result<Self> {
        let interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
        let terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
        let hangup = signal(SignalKind::hangup()).context("cannot catch SIGHUP")?;
        Ok(Self {
            interrupt,
            terminate,
            _hangup: hangup,
        })
    }

    /// Completes at the next one.
    pub async fn come(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
