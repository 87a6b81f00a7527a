//! A role: a part of a server that stops by itself.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

/// How a role must stop.
#[derive(Debug, Clone)]
pub struct Stopping {
    /// Time over which clients are disconnected.
    pub drain: Duration,
    /// Becomes true when the rest of the drain time must be skipped.
    pub hurry: watch::Receiver<bool>,
}

impl Stopping {
    /// Waits until the drain time has passed or must be skipped.
    pub async fn wait_for_drain(mut self) {
        tokio::select! {
            () = tokio::time::sleep(self.drain) => {}
            // If the sender is gone, the drain time is not skipped.
            Ok(_) = self.hurry.wait_for(|hurry| *hurry) => {}
        }
    }
}

/// A part of a server.
pub trait Role: Send + Sync {
    /// Name of the role in the log.
    fn name(&self) -> &'static str;

    /// Stops the role. Roles that were started before it keep running meanwhile.
    fn stop(&self, how: Stopping) -> BoxFuture<'_, ()>;
}
