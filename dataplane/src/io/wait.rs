//! How a shard waits when it has nothing to do: for any of its descriptors, or until a time.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Descriptors that are waited for together.
///
/// The kernel is asked about all of them anew each time, so that a shard that never waits pays nothing for
/// being told.
pub struct Wait(Vec<OwnedFd>);

impl Wait {
    /// Works on duplicates of `descriptors`.
    pub fn new<'a>(descriptors: impl IntoIterator<Item = BorrowedFd<'a>>) -> io::Result<Self> {
        let owned = descriptors.into_iter().map(|fd| fd.try_clone_to_owned());
        owned.collect::<io::Result<_>>().map(Self)
    }

    /// Blocks the thread until one of them has something to read or an error to tell, at most for `time`.
    pub fn readable(&self, time: Duration) {
        let mut asked: Vec<_> = self.0.iter().map(wish).collect();
        // Years are as good as for ever.
        let time = Timespec::try_from(time).ok();
        // A signal ends it early, and too much of it costs a turn of the loop.
        let _ = poll(&mut asked, time.as_ref());
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
        let wait = Wait::new(sockets.iter().map(AsFd::as_fd)).unwrap();
        let start = Instant::now();
        let time = Duration::from_millis(20);
        wait.readable(time);
        assert!(start.elapsed() >= time, "nothing was there");
        for to in &sockets {
            sockets[0].send_to(b"x", to.local_addr().unwrap()).unwrap();
            let start = Instant::now();
            wait.readable(LONG);
            wait.readable(LONG);
            assert!(
                start.elapsed() < LONG,
                "it was not taken, so it is still there"
            );
            to.recv(&mut [0; 1]).unwrap();
        }
    }

    #[test]
    fn an_empty_time_does_not_wait() {
        let wait = Wait::new([]).unwrap();
        wait.readable(Duration::ZERO);
    }
}
