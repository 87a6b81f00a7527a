//! Hop 7: sends datagrams to the kernel, in runs and batches. Previous: [`super::seal`].
//!
//! Never blocks: runs that do not fit into the send buffer stay in their [`SendQueue`].

use std::io;
use std::time::Instant;

use crate::drop_reason::DropReason;
use crate::io::engine::Engine;
use crate::io::sys::refuses_runs;
use crate::io::udp::{PortKind, SocketIndex};
use crate::report::ShardReport;
use crate::send::queue::{Placed, Run, SendQueue, SendQueues};

/// Sends waiting runs through the sockets of `port`. True when runs still wait.
pub fn transmit(
    queues: &mut SendQueues,
    engine: &mut Engine,
    (socket_index, port): (&SocketIndex, PortKind),
    report: &mut ShardReport,
) -> bool {
    let mut waits = false;
    for (family, queue) in queues.by_family() {
        if let Some(socket) = socket_index.of(port, family) {
            waits |= flush(queue, engine, socket, report);
        }
    }
    waits
}

/// Sends the runs in `queue` through `socket`. True when runs still wait.
pub fn flush(
    queue: &mut SendQueue,
    engine: &mut Engine,
    socket: usize,
    report: &mut ShardReport,
) -> bool {
    queue.set_socket_full(false);
    while queue.has_waiting() && !queue.is_blocked() {
        match engine.send(socket, queue.messages()) {
            Ok(tried) => account(queue, engine, tried, report),
            Err(error) => {
                tracing::error!(%error, "the engine does not send");
                queue.set_socket_full(true);
            }
        }
    }
    queue.free_sent();
    queue.is_blocked()
}

/// Handles the results of the first `tried` runs: each is sent, tried again or dropped.
fn account(queue: &mut SendQueue, engine: &Engine, tried: usize, report: &mut ShardReport) {
    let now = engine.sent_at();
    let mut again = Vec::new();
    for index in 0..tried {
        let placed = queue.waiting(index);
        match engine.result(index) {
            Ok(()) => {
                report.frames += u64::from(engine.is_framed(index));
                sent(&placed.run, now, report);
            }
            Err(error) if is_full(&error) => {
                queue.set_socket_full(true);
                again.push(placed);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => again.push(placed),
            Err(error) => refused(queue, placed, &error, &mut again, report),
        }
    }
    queue.tried(tried, again);
}

/// Handles a run that the kernel refused; parts that must be tried again are added to `again`. The error may belong to
/// an earlier destination, so a datagram is dropped only at its second error.
fn refused(
    queue: &mut SendQueue,
    placed: Placed,
    error: &io::Error,
    again: &mut Vec<Placed>,
    report: &mut ShardReport,
) {
    let run = placed.run;
    tracing::trace!(%error, to = %run.destination, "send");
    if run.bytes > run.segment_bytes && refuses_runs(error) {
        report.refused_runs += 1;
        queue.refuse_runs(run.destination);
        again.extend(placed.datagrams());
    } else if placed.was_refused {
        let drops = &mut report.drops;
        drops.count_many(DropReason::SendRefused, run.datagrams());
    } else {
        again.push(Placed {
            was_refused: true,
            ..placed
        });
    }
}

/// True if the send buffer of the socket or the queue of the device is full.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

fn sent(run: &Run, now: Instant, report: &mut ShardReport) {
    let datagrams = run.datagrams() as u64;
    report.traffic.packets_out += datagrams;
    report.traffic.bytes_out += run.bytes as u64;
    if let Some(arrived) = run.arrived {
        let time = now.saturating_duration_since(arrived);
        report.latency.record(time, datagrams);
    }
}

#[cfg(test)]
mod tests;
