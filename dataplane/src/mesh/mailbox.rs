//! Messages between threads of the data plane: bounded rings with an eventfd.
//!
//! Every shard and the control thread has one mailbox: a shard's has a ring of media packets and a ring of letters, the
//! control thread's a ring of letters. If the media ring is full, the sender drops and counts the packet. If the ring
//! of letters is full, letters wait at the sender, in order. No thread blocks. The eventfd is written only when the
//! receiver sleeps.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam_queue::ArrayQueue;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::Notify;

use super::message::{ToControl, ToShard};
use crate::key::ShardId;
use crate::limits::{MAX_LETTER_BACKLOG, MESH_LETTERS, MESH_MEDIA};
use crate::media::packet::MediaPacket;

/// All mailboxes of the process.
pub struct Mesh {
    shards: Vec<ShardMailbox>,
    control: ControlMailbox,
}

struct ShardMailbox {
    media: ArrayQueue<MediaPacket>,
    letters: ArrayQueue<ToShard>,
    bell: Doorbell,
}

struct ControlMailbox {
    letters: ArrayQueue<ToControl>,
    /// Wakes the control thread, which sleeps in tokio: tokio's own waker writes the eventfd.
    bell: Notify,
}

/// Wakes a sleeping shard: a flag and an eventfd.
pub struct Doorbell {
    eventfd: OwnedFd,
    asleep: AtomicBool,
}

/// One thread's senders to all mailboxes; keeps letters that did not fit, in order.
pub struct Outbox {
    mesh: Arc<Mesh>,
    to_shard: Vec<VecDeque<ToShard>>,
    to_control: VecDeque<ToControl>,
}

/// The sender already holds the maximum number of letters for a receiver whose ring stays full.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_LETTER_BACKLOG} letters wait already for a shard that does not read them")]
pub struct BacklogFull;

impl Mesh {
    /// Mailboxes for `shards` shards and the control thread.
    pub fn new(shards: usize) -> io::Result<Arc<Self>> {
        let shards = (0..shards).map(|_| {
            Ok(ShardMailbox {
                media: ArrayQueue::new(MESH_MEDIA),
                letters: ArrayQueue::new(MESH_LETTERS),
                bell: Doorbell::new()?,
            })
        });
        Ok(Arc::new(Self {
            shards: shards.collect::<io::Result<_>>()?,
            control: ControlMailbox {
                letters: ArrayQueue::new(MESH_LETTERS),
                bell: Notify::new(),
            },
        }))
    }

    /// Number of shards of the node.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The next media packet for `shard`.
    pub fn take_media(&self, shard: ShardId) -> Option<MediaPacket> {
        self.shards[shard.index()].media.pop()
    }

    /// The next letter for `shard`.
    pub fn take_letter(&self, shard: ShardId) -> Option<ToShard> {
        self.shards[shard.index()].letters.pop()
    }

    /// The next letter for the control thread.
    pub fn take_control(&self) -> Option<ToControl> {
        self.control.letters.pop()
    }

    /// The doorbell of `shard`.
    pub fn bell(&self, shard: ShardId) -> &Doorbell {
        &self.shards[shard.index()].bell
    }

    /// The notification that wakes the control thread.
    pub fn control_bell(&self) -> &Notify {
        &self.control.bell
    }

    /// True when both rings of `shard` are empty. Call this after [`Doorbell::fall_asleep`], so that no message is
    /// missed.
    pub fn is_empty(&self, shard: ShardId) -> bool {
        let mailbox = &self.shards[shard.index()];
        mailbox.media.is_empty() && mailbox.letters.is_empty()
    }

    /// Puts a packet into the media ring of `shard`. False when the ring is full: the caller counts the drop.
    pub fn send_media(&self, shard: ShardId, packet: MediaPacket) -> bool {
        let mailbox = &self.shards[shard.index()];
        let sent = mailbox.media.push(packet).is_ok();
        mailbox.bell.ring();
        sent
    }
}

impl Doorbell {
    fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            eventfd,
            asleep: AtomicBool::new(false),
        })
    }

    /// Announces that the receiver is about to sleep. The receiver must check its mailbox once more after this call.
    pub fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Announces that the receiver is awake, so senders need not write the eventfd. A sender that read the flag before
    /// may still write it; then the next sleep ends at once.
    pub fn wake_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Resets the eventfd. Must be called each time the eventfd became readable, because it stays readable until then.
    pub fn silence(&self) {
        // A failed read means that the eventfd is empty.
        let _ = rustix::io::read(&self.eventfd, &mut [0; 8]);
    }

    /// Wakes the receiver if it sleeps. Call this after a push: the fence orders the push before the read of the flag.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            // Fails only when the counter is full; then the eventfd is readable already.
            let _ = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
        }
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

impl Outbox {
    /// A sender to the mailboxes of `mesh`, without backlog.
    pub fn new(mesh: Arc<Mesh>) -> Self {
        let to_shard = (0..mesh.shards()).map(|_| VecDeque::new()).collect();
        Self {
            mesh,
            to_shard,
            to_control: VecDeque::new(),
        }
    }

    /// The mailboxes that this thread sends to.
    pub fn mesh(&self) -> &Arc<Mesh> {
        &self.mesh
    }

    /// Sends `letter` to `shard`, behind all earlier letters.
    pub fn send(&mut self, shard: ShardId, letter: ToShard) -> Result<(), BacklogFull> {
        let backlog = &mut self.to_shard[shard.index()];
        if backlog.len() >= MAX_LETTER_BACKLOG {
            return Err(BacklogFull);
        }
        backlog.push_back(letter);
        self.flush_shard(shard);
        Ok(())
    }

    /// Number of letters that wait here because the ring of `shard` was full.
    pub fn backlog(&self, shard: ShardId) -> usize {
        self.to_shard[shard.index()].len()
    }

    /// Sends `letter` to the control thread, behind all earlier letters.
    pub fn send_control(&mut self, letter: ToControl) -> Result<(), BacklogFull> {
        if self.to_control.len() >= MAX_LETTER_BACKLOG {
            return Err(BacklogFull);
        }
        self.to_control.push_back(letter);
        self.flush_control();
        Ok(())
    }

    /// Sends waiting letters as far as there is space. True when letters still wait.
    pub fn flush(&mut self) -> bool {
        let shards = u16::try_from(self.to_shard.len()).expect("MAX_SHARDS fits");
        (0..shards).for_each(|shard| self.flush_shard(ShardId(shard)));
        self.flush_control();
        self.has_backlog()
    }

    /// True when letters wait here because a ring was full.
    pub fn has_backlog(&self) -> bool {
        !self.to_control.is_empty() || self.to_shard.iter().any(|backlog| !backlog.is_empty())
    }

    fn flush_shard(&mut self, shard: ShardId) {
        let mailbox = &self.mesh.shards[shard.index()];
        if push_all(&mut self.to_shard[shard.index()], &mailbox.letters) {
            mailbox.bell.ring();
        }
    }

    fn flush_control(&mut self) {
        if push_all(&mut self.to_control, &self.mesh.control.letters) {
            self.mesh.control.bell.notify_one();
        }
    }
}

/// Moves letters from `backlog` to `ring` while there is space. True when at least one letter waited.
fn push_all<T>(backlog: &mut VecDeque<T>, ring: &ArrayQueue<T>) -> bool {
    let waited = !backlog.is_empty();
    while let Some(letter) = backlog.pop_front() {
        if let Err(letter) = ring.push(letter) {
            backlog.push_front(letter);
            break;
        }
    }
    waited
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn rings(bell: &Doorbell) -> bool {
        let mut asked = [PollFd::new(bell, PollFlags::IN)];
        poll(&mut asked, Some(&Timespec::default())).unwrap() > 0
    }

    #[test]
    fn a_bell_is_rung_for_sleepers_alone_and_until_it_is_silenced() {
        let bell = Doorbell::new().unwrap();
        bell.ring();
        assert!(!rings(&bell), "nobody sleeps");
        bell.fall_asleep();
        bell.ring();
        bell.ring();
        assert!(rings(&bell));
        bell.wake_up();
        bell.silence();
        assert!(!rings(&bell));
    }

    #[test]
    fn a_bell_that_is_rung_too_late_ends_one_sleep_and_no_more() {
        let bell = Doorbell::new().unwrap();
        bell.fall_asleep();
        // A sender has seen the sleeping receiver, which wakes up before the sender rings.
        assert!(bell.asleep.swap(false, Ordering::SeqCst));
        bell.wake_up();
        rustix::io::write(&bell.eventfd, &1_u64.to_ne_bytes()).unwrap();
        bell.fall_asleep();
        assert!(rings(&bell), "for nothing");
        bell.wake_up();
        bell.silence();
        bell.fall_asleep();
        assert!(!rings(&bell), "it would never sleep again");
    }
}
