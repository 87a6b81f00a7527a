//! Waits until a descriptor of the shard is readable, or until a deadline.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Descriptors to wait for.
///
/// The kernel gets the whole list in each call (poll), so that a shard that never sleeps pays nothing for
/// notifications.
pub struct Wait {
    descriptors: Vec<OwnedFd>,
    eventfd: OwnedFd,
}

impl Wait {
    /// Waits for duplicates of `descriptors` and of `eventfd`, the eventfd of the mailbox.
    pub fn new<'a>(
        descriptors: impl IntoIterator<Item = BorrowedFd<'a>>,
        eventfd: BorrowedFd<'a>,
    ) -> io::Result<Self> {
        let owned = descriptors.into_iter().map(|fd| fd.try_clone_to_owned());
        Ok(Self {
            descriptors: owned.collect::<io::Result<_>>()?,
            eventfd: eventfd.try_clone_to_owned()?,
        })
    }

    /// Blocks the thread until a descriptor is readable or has an error, at most for `time`. True when the eventfd is
    /// readable.
    pub fn readable(&self, time: Duration) -> bool {
        let mut polled: Vec<_> = self.descriptors.iter().map(poll_fd).collect();
        polled.push(poll_fd(&self.eventfd));
        // A timeout too long for the kernel is treated as no timeout.
        let time = Timespec::try_from(time).ok();
        // A signal ends the wait early; a spurious wake-up costs one turn of the loop.
        let result = poll(&mut polled, time.as_ref());
        let eventfd = polled.last().expect("it was pushed");
        result.is_ok() && !eventfd.revents().is_empty()
    }
}

fn poll_fd(fd: &OwnedFd) -> PollFd<'_> {
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
        let eventfd = UdpSocket::bind("127.0.0.1:0").unwrap();
        let wait = Wait::new(sockets.iter().map(AsFd::as_fd), eventfd.as_fd()).unwrap();
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
        eventfd
            .send_to(b"x", eventfd.local_addr().unwrap())
            .unwrap();
        assert!(wait.readable(LONG), "the bell is told from the others");
    }

    #[test]
    fn an_empty_time_does_not_wait() {
        let eventfd = UdpSocket::bind("127.0.0.1:0").unwrap();
        let wait = Wait::new([], eventfd.as_fd()).unwrap();
        assert!(!wait.readable(Duration::ZERO));
    }
}
