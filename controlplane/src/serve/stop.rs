//! Signals that stop the process.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Receives SIGINT and SIGTERM. SIGHUP is caught too: it reloads certificates. Without certificates
/// it must not end the process.
pub struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
    _hangup: Signal,
}

impl StopSignal {
    /// Catches the signals from now on.
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

    /// Waits for the next SIGINT or SIGTERM.
    pub async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
