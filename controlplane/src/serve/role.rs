//! A part of a server that can be started and stopped.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

/// Parameters of a stop.
#[derive(Debug, Clone)]
pub struct Stopping {
    /// Time over which clients are disconnected.
    pub drain: Duration,
    /// True when there is no time for that any more.
    pub hurry: watch::Receiver<bool>,
}

impl Stopping {
    /// Waits until the drain time is over, or there is no time for it.
    pub async fn is_over(mut self) {
        tokio::select! {
            () = tokio::time::sleep(self.drain) => {}
            // Without a sender there is no hurry any more.
            Ok(_) = self.hurry.wait_for(|hurry| *hurry) => {}
        }
    }
}

/// See the module's documentation.
pub trait Role: Send + Sync {
    /// Name of the role in the log.
    fn name(&self) -> &'static str;

    /// Stops the role; other roles go on until it has stopped.
    fn stop(&self, how: Stopping) -> BoxFuture<'_, ()>;
}
