//! A TCP or TLS connection with a time limit for writes, which records the last phase of the
//! connection. At the end the phase tells why it ended.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::limits::RESPONSE_TIME;

/// A stream with a time limit for writes. The time starts when the kernel does not accept all bytes
/// and ends when it has accepted all. A client that reads a few bytes now and then does not restart
/// it.
pub(crate) struct WriteTimeoutStream<S> {
    inner: S,
    watch: PhaseWatch,
    blocked: Option<Pin<Box<Sleep>>>,
    /// True if the inner stream buffers writes: then only a flush shows that the kernel accepted
    /// all bytes.
    is_buffered: bool,
}

/// The last phase of a connection. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct PhaseWatch(Arc<AtomicU8>);

/// What happened last on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No byte has arrived yet.
    NoData,
    /// The client sent data.
    DataReceived,
    /// The server sent data.
    DataSent,
    /// The client did not read for [`RESPONSE_TIME`].
    WriteTimedOut,
}

impl PhaseWatch {
    pub(crate) fn phase(&self) -> Phase {
        match self.0.load(Ordering::Relaxed) {
            0 => Phase::NoData,
            1 => Phase::DataReceived,
            2 => Phase::DataSent,
            _ => Phase::WriteTimedOut,
        }
    }

    fn set(&self, phase: Phase) {
        let number = match phase {
            Phase::NoData => 0,
            Phase::DataReceived => 1,
            Phase::DataSent => 2,
            Phase::WriteTimedOut => 3,
        };
        self.0.store(number, Ordering::Relaxed);
    }
}

impl<S> WriteTimeoutStream<S> {
    /// Wraps `inner`. `is_buffered`: the stream buffers writes, like TLS.
    pub(crate) fn new(inner: S, is_buffered: bool) -> (Self, PhaseWatch) {
        let watch = PhaseWatch::default();
        let guarded = Self {
            inner,
            watch: watch.clone(),
            blocked: None,
            is_buffered,
        };
        (guarded, watch)
    }

    /// The inner stream, for callers with their own time limits.
    pub(crate) fn into_inner(self) -> S {
        self.inner
    }

    fn note_write(&mut self, written: usize, offered: usize) {
        if written > 0 {
            self.watch.set(Phase::DataSent);
        }
        if written == offered && !self.is_buffered {
            self.blocked = None;
        }
    }

    /// The kernel accepts no more bytes. Ready when the time limit has passed.
    fn wait_for_client(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let blocked = self
            .blocked
            .get_or_insert_with(|| Box::pin(sleep(RESPONSE_TIME)));
        ready!(blocked.as_mut().poll(context));
        self.watch.set(Phase::WriteTimedOut);
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeoutStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.watch.set(Phase::DataReceived);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeoutStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write(context, bytes) {
            Poll::Ready(Ok(written)) => {
                self.note_write(written, bytes.len());
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.wait_for_client(context).map(Err),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write_vectored(context, slices) {
            Poll::Ready(Ok(written)) => {
                let offered = slices.iter().map(|slice| slice.len()).sum();
                self.note_write(written, offered);
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.wait_for_client(context).map(Err),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_flush(context) {
            Poll::Pending => self.wait_for_client(context).map(Err),
            Poll::Ready(Ok(())) => {
                self.blocked = None;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_shutdown(context) {
            Poll::Pending => self.wait_for_client(context).map(Err),
            done => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufWriter, DuplexStream, duplex};

    use super::*;

    /// Reads one byte per second of virtual time.
    async fn drip(mut stream: DuplexStream) {
        while stream.read_u8().await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_a_byte_now_and_then_is_given_up() {
        let (ours, theirs) = duplex(16);
        let (mut ours, watch) = WriteTimeoutStream::new(ours, false);
        assert_eq!(watch.phase(), Phase::NoData);
        let dripping = tokio::spawn(drip(theirs));
        let start = tokio::time::Instant::now();
        let error = ours.write_all(&[0; 1_000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(watch.phase(), Phase::WriteTimedOut);
        assert!(start.elapsed() < RESPONSE_TIME * 2, "{:?}", start.elapsed());
        drop(ours);
        dripping.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_everything_in_time_has_all_time_again() {
        let (ours, mut theirs) = duplex(16);
        let (mut ours, watch) = WriteTimeoutStream::new(ours, false);
        let reading = tokio::spawn(async move {
            let mut bytes = [0; 32];
            for _ in 0..4 {
                tokio::time::sleep(RESPONSE_TIME * 3 / 4).await;
                theirs.read_exact(&mut bytes).await.unwrap();
            }
        });
        for _ in 0..4 {
            ours.write_all(&[0; 32]).await.unwrap();
        }
        assert_eq!(watch.phase(), Phase::DataSent);
        reading.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_in_a_buffer_is_not_taken() {
        let (ours, theirs) = duplex(16);
        let (mut ours, watch) = WriteTimeoutStream::new(BufWriter::with_capacity(64, ours), true);
        let dripping = tokio::spawn(drip(theirs));
        let start = tokio::time::Instant::now();
        // Each write fits into the buffer as soon as a few bytes have left it.
        let error = loop {
            if let Err(error) = ours.write_all(&[0; 8]).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(watch.phase(), Phase::WriteTimedOut);
        assert!(start.elapsed() < RESPONSE_TIME * 5, "{:?}", start.elapsed());
        drop(ours);
        dripping.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_buffer_that_was_emptied_in_time_has_all_time_again() {
        let (ours, mut theirs) = duplex(16);
        let (mut ours, watch) = WriteTimeoutStream::new(BufWriter::with_capacity(64, ours), true);
        let reading = tokio::spawn(async move {
            let mut bytes = [0; 32];
            for _ in 0..4 {
                tokio::time::sleep(RESPONSE_TIME * 3 / 4).await;
                theirs.read_exact(&mut bytes).await.unwrap();
            }
        });
        for _ in 0..4 {
            ours.write_all(&[0; 32]).await.unwrap();
            ours.flush().await.unwrap();
        }
        assert_eq!(watch.phase(), Phase::DataSent);
        reading.await.unwrap();
    }
}
