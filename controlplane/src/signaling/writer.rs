//! Writes the queue of a socket: all queued messages with as few system calls as possible.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::frame;
use super::upgrade::Output;
use crate::clock;
use crate::hub::{Hub, OutboxReader, ToSocket};
use crate::limits::{PING_INTERVAL, WRITE_TIME};
use crate::metrics::Label;
use crate::room::CloseCode;

/// Maximum number of messages written with one call.
const SLICES: usize = 32;

/// The writing half of a socket and its queue.
pub(super) struct Writer {
    pub(super) output: Output,
    pub(super) reader: OutboxReader,
    pub(super) hub: Arc<Hub>,
    /// Time of the client's `join`, for the metric of join times.
    pub(super) joined_at: Arc<OnceLock<Instant>>,
}

/// The connection failed, or the close frame was written.
struct WriterEnd;

impl Writer {
    /// Runs until the queue ends, the connection fails, or messages arrive in `last`. These replace
    /// the queued messages.
    pub(super) async fn run(mut self, mut last: oneshot::Receiver<Vec<ToSocket>>) {
        let mut ping = interval(PING_INTERVAL);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut listening = true;
        let mut items = VecDeque::new();
        loop {
            tokio::select! {
                biased;
                words = &mut last, if listening => match words {
                    Ok(words) => {
                        // The last messages: a failure has no consequence.
                        let _ = self.write(&mut words.into()).await;
                        return;
                    }
                    Err(_) => {
                        listening = false;
                        continue;
                    }
                },
                more = self.reader.next(&mut items) => if !more {
                    return;
                },
                _ = ping.tick() => {
                    items.push_back(ToSocket::Bytes(Bytes::from_static(&frame::PING)));
                }
            };
            if self.write(&mut items).await.is_err() {
                return;
            }
        }
    }

    /// Writes all items, up to a close frame.
    async fn write(&mut self, items: &mut VecDeque<ToSocket>) -> Result<(), WriterEnd> {
        let mut is_last = false;
        let mut wires = VecDeque::with_capacity(items.len());
        for item in items.drain(..) {
            match item {
                ToSocket::Frame(frame) => {
                    self.hub.metrics().count_frame(frame.label);
                    if let (Label::Joined(_), Some(asked)) = (frame.label, self.joined_at.get()) {
                        self.hub
                            .metrics()
                            .count_join_time(clock::now().duration_since(*asked));
                    }
                    wires.push_back(frame.wire);
                }
                ToSocket::Bytes(wire) => wires.push_back(wire),
                ToSocket::Close(code, reason) => {
                    wires.push_back(frame::close(code, &reason));
                    is_last = true;
                    break;
                }
            }
        }
        if let Err(error) = self.output.put(&mut wires).await {
            if error.kind() == io::ErrorKind::TimedOut && !is_last {
                // The client reads too slowly. Count it like a full queue.
                self.hub
                    .metrics()
                    .count_close(CloseCode::GoingAway.number());
            }
            return Err(WriterEnd);
        }
        if is_last { Err(WriterEnd) } else { Ok(()) }
    }
}

impl Output {
    async fn put(&mut self, wires: &mut VecDeque<Bytes>) -> io::Result<()> {
        self.try_put(wires)?;
        if wires.is_empty() {
            return Ok(());
        }
        let put = timeout(WRITE_TIME, self.put_all(wires)).await;
        put.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn put_all(&mut self, wires: &mut VecDeque<Bytes>) -> io::Result<()> {
        match self {
            Self::Tcp(output) => {
                while !wires.is_empty() {
                    output.writable().await?;
                    try_put(output, wires)?;
                }
            }
            Self::Other(output) => {
                for wire in wires.drain(..) {
                    output.write_all(&wire).await?;
                }
                output.flush().await?;
            }
        }
        Ok(())
    }

    /// Writes what the kernel accepts without waiting.
    fn try_put(&mut self, wires: &mut VecDeque<Bytes>) -> io::Result<()> {
        match self {
            Self::Tcp(output) => try_put(output, wires),
            Self::Other(_) => Ok(()),
        }
    }
}

fn try_put(
    output: &tokio::net::tcp::OwnedWriteHalf,
    wires: &mut VecDeque<Bytes>,
) -> io::Result<()> {
    while !wires.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        for (slice, wire) in slices.iter_mut().zip(wires.iter()) {
            *slice = IoSlice::new(wire);
        }
        let filled = wires.len().min(SLICES);
        match output.try_write_vectored(&slices[..filled]) {
            Ok(written) => advance(wires, written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes `written` bytes from the front.
fn advance(wires: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(wire) = wires.front_mut() {
        if wire.len() > written {
            wire.advance(written);
            return;
        }
        written -= wire.len();
        wires.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_forgotten_and_the_rest_goes_on_where_it_was() {
        let wires = || VecDeque::from(["ab", "", "cde"].map(Bytes::from));
        let rest = |written| {
            let mut wires = wires();
            advance(&mut wires, written);
            wires.into_iter().collect::<Vec<_>>().concat()
        };
        for written in 0..=5 {
            assert_eq!(rest(written), b"abcde"[written..]);
        }
    }
}
