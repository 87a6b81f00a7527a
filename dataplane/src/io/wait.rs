//! Waits until one of a shard's descriptors is ready, or until a deadline.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Descriptors that are waited for together.
///
/// The kernel is asked about all of them anew each time, so that a shard that never waits pays nothing for
/// being told.
pub struct Wait {
    descriptors: Vec<OwnedFd>,
    bell: OwnedFd,
}

impl Wait {
    /// Works on duplicates of `descriptors` and `bell`.
    pub fn new<'a>(
        descriptors: impl IntoIterator<Item = BorrowedFd<'a>>,
        bell: BorrowedFd<'a>,
    ) -> io::Result<Self> {
        let owned = descriptors.into_iter().map(|fd| fd.try_clone_to_owned());
        Ok(Self {
            descriptors: owned.collect::<io::Result<_>>()?,
            bell: bell.try_clone_to_owned()?,
        })
    }

    /// Blocks the thread until one of them has something to read or an error to tell, at most for `time`. True when
    /// the bell rings.
    pub fn readable(&self, time: Duration) -> bool {
        let mut asked: Vec<_> = self.descriptors.iter().map(wish).collect();
        asked.push(wish(&self.bell));
        // Years are as good as for ever.
        let time = Timespec::try_from(time).ok();
        // A signal ends it early, and too much of it costs a turn of the loop.
        let heard = poll(&mut asked, time.as_ref());
        let bell = asked.last().expect("it was pushed");
        heard.is_ok() && !bell.revents().is_empty()
    }
}

fn wish(fd: &OwnedFd) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn it_ends_with_what_comes_or_with_its_time() {
        let sockets = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
        let bell = UdpSocket::bind("127.0.0.1:0").unwrap();
        let wait = Wait::new(sockets.iter().map(AsFd::as_fd), bell.as_fd()).unwrap();
        let start = Instant::now();
        let time = Duration::from_millis(20);
        wait.readable(time);
        assert!(start.elapsed() >= time, "nothing was there");
        for to in &sockets {
            sockets[0].send_to(b"x", to.local_addr().unwrap()).unwrap();
            let start = Instant::now();
            assert!(!wait.readable(LONG) && !wait.readable(LONG), "no bell");
            assert!(
                start.elapsed() < LONG,
                "it was not taken, so it is still there"
            );
            to.recv(&mut [0; 1]).unwrap();
        }
        bell.send_to(b"x", bell.local_addr().unwrap()).unwrap();
        assert!(wait.readable(LONG), "the bell is told from the others");
    }

    #[test]
    fn an_empty_time_does_not_wait() {
        let bell = UdpSocket::bind("127.0.0.1:0").unwrap();
        let wait = Wait::new([], bell.as_fd()).unwrap();
        assert!(!wait.readable(Duration::ZERO));
    }
}
