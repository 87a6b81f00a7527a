//! Tasks of a server that wait for results: futures, polled in the order in which they were started.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Tasks with results of type `T`.
pub(super) struct Tasks<T> {
    tasks: Vec<Pin<Box<dyn Future<Output = T>>>>,
}

impl<T> Default for Tasks<T> {
    fn default() -> Self {
        Self { tasks: Vec::new() }
    }
}

impl<T> Tasks<T> {
    pub(super) fn start(&mut self, task: impl Future<Output = T> + 'static) {
        self.tasks.push(Box::pin(task));
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Polls all tasks once. Returns the results of those that ended.
    pub(super) fn poll(&mut self) -> Vec<T> {
        let mut context = Context::from_waker(Waker::noop());
        let mut results = Vec::new();
        self.tasks
            .retain_mut(|task| match task.as_mut().poll(&mut context) {
                Poll::Ready(result) => {
                    results.push(result);
                    false
                }
                Poll::Pending => true,
            });
        results
    }
}
