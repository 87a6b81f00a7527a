//! The life of a packet inside a shard, in the order of the files:
//!
//! [`arrive`] takes a batch from the socket, [`classify`] finds its session, [`decrypt`] opens it,
//! [`fanout`] finds its subscribers here and on other shards, [`rewrite`] makes each of them continuous
//! numbers, [`seal`] encrypts it for each, [`transmit`] hands the batch to the kernel.
//!
//! Batches in, batches out; no lock, channel or `.await` on the way. Who loses a packet names a
//! [`DropReason`](crate::drop_reason::DropReason).

pub mod arrive; // 1: datagrams from the socket
pub mod classify; // 2: whose are they
pub mod decrypt; // 3: through the session layer
pub mod fanout; // 4: who gets them
pub mod rewrite; // 5: with which numbers
pub mod seal; // 6: encrypted for each
pub mod transmit; // 7: to the kernel

use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::limits::RECEIVES_PER_TURN;
use crate::shard::Shard;
use arrive::Arrivals;

/// Takes what waits at `socket` through all hops but the last. True when more may wait.
pub fn forward(
    shard: &mut Shard,
    arrivals: &mut Arrivals,
    socket: BorrowedFd<'_>,
    now: Instant,
) -> bool {
    for _ in 0..RECEIVES_PER_TURN {
        let count = arrivals.take(socket, &mut shard.report);
        for index in 0..count {
            let Some(datagram) = arrivals.get(index, &mut shard.report) else {
                continue;
            };
            match classify::classify(shard, &datagram) {
                Ok(class) => decrypt::open(shard, &datagram, class, now),
                Err(reason) => shard.report.drops.count(reason),
            }
        }
        fanout::spread_inbox(shard, now);
        seal::drain_touched(shard, now);
        if count < arrivals.capacity() {
            return false;
        }
    }
    true
}
