//! One command connection. Waiting commands are sent together: a round trip costs both sides more
//! than a command, so commands of many rooms share one round trip.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::limits::{PIPELINE_COMMANDS, PIPELINES, UNANSWERED_COMMANDS};

/// Handle to the task that sends commands. Clones share the connection, which closes with the last
/// clone.
#[derive(Clone)]
pub(super) struct Pipeline {
    connection: MultiplexedConnection,
    queue: mpsc::UnboundedSender<Job>,
    /// Permits for queued commands whose replies are discarded.
    permits: Arc<Semaphore>,
}

#[derive(Debug)]
struct Job {
    command: Cmd,
    /// True if ASKING precedes the command, because the slot is moving to this server.
    asking: bool,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    Expected(oneshot::Sender<Result<Value, RedisError>>),
    /// The reply is discarded. The permit is released with the job.
    Discarded(#[allow(dead_code, reason = "given back when dropped")] OwnedSemaphorePermit),
}

impl Pipeline {
    /// A pipeline of commands over `connection`.
    pub(super) fn new(connection: MultiplexedConnection) -> Self {
        let (queue, jobs) = mpsc::unbounded_channel();
        tokio::spawn(run(connection.clone(), jobs));
        let permits = Arc::new(Semaphore::new(UNANSWERED_COMMANDS));
        Self {
            connection,
            queue,
            permits,
        }
    }

    /// The connection itself, for commands outside the queue.
    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// Sends `command` and returns its reply. `asking` sends ASKING first.
    pub(super) async fn request(&self, command: Cmd, asking: bool) -> Result<Value, RedisError> {
        let (sender, answered) = oneshot::channel();
        let job = Job {
            command,
            asking,
            answer: Answer::Expected(sender),
        };
        // If the task has ended, the receiver reports it.
        let _ = self.queue.send(job);
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Sends `command` without waiting for its reply. False if too many commands are queued.
    pub(super) fn send(&self, command: Cmd) -> bool {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return false;
        };
        let job = Job {
            command,
            asking: false,
            answer: Answer::Discarded(permit),
        };
        self.queue.send(job).is_ok()
    }
}

/// Sends queued commands until the last handle is dropped.
async fn run(connection: MultiplexedConnection, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut in_flight = FuturesUnordered::new();
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            Some(()) = in_flight.next() => {}
            count = jobs.recv_many(&mut batch, PIPELINE_COMMANDS), if in_flight.len() < PIPELINES => {
                if count == 0 {
                    break;
                }
                in_flight.push(send_batch(connection.clone(), std::mem::take(&mut batch)));
            }
        }
    }
    while in_flight.next().await.is_some() {}
}

async fn send_batch(mut connection: MultiplexedConnection, jobs: Vec<Job>) {
    let mut pipeline = redis::Pipeline::with_capacity(jobs.len());
    pipeline.ignore_errors();
    let mut answers = Vec::with_capacity(jobs.len());
    for Job {
        command,
        asking,
        answer,
    } in jobs
    {
        if asking {
            pipeline.cmd("ASKING").ignore();
        }
        pipeline.add_command(command);
        answers.push(answer);
    }
    let values: Result<Vec<Value>, RedisError> = pipeline.query_async(&mut connection).await;
    match values {
        Ok(values) => {
            for (answer, value) in answers.into_iter().zip(values) {
                answer.complete(value.extract_error());
            }
        }
        Err(error) => {
            for answer in answers {
                answer.complete(Err(error.clone()));
            }
        }
    }
}

impl Answer {
    fn complete(self, result: Result<Value, RedisError>) {
        if let Self::Expected(sender) = self {
            // The caller may have given up.
            let _ = sender.send(result);
        }
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").finish_non_exhaustive()
    }
}

fn closed() -> RedisError {
    std::io::Error::new(std::io::ErrorKind::BrokenPipe, "the connection is closed").into()
}
