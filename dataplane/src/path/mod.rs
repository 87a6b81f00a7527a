//! The life of a packet inside a shard, in the order of the files:
//!
//! [`arrive`] receives a batch from the sockets, [`classify`] finds the session, [`decrypt`] decrypts, [`fanout`] finds
//! the subscribers on this and other shards, [`number`] gives each packet continuous numbers, [`seal`] encrypts it for
//! each subscriber, [`transmit`] sends the batch to the kernel.
//!
//! Batches in, batches out; no lock, channel or `.await` in between. The code that drops a packet counts a
//! [`DropReason`](crate::drop_reason::DropReason).

pub mod arrive; // 1: receives datagrams from the sockets
pub mod classify; // 2: finds the session of a datagram
pub mod decrypt; // 3: decrypts, through the session layer
pub mod fanout; // 4: finds the subscribers of a packet
pub mod number; // 5: numbers packets for each session
pub mod seal; // 6: encrypts packets for each session
pub mod transmit; // 7: sends to the kernel

use std::time::Instant;

use crate::io::engine::Engine;
use crate::io::udp::{PortKind, SocketIndex};
use crate::limits::{DATAGRAMS_PER_TURN, RECEIVES_PER_TURN};
use crate::shard::state::Shard;
use arrive::{Arrived, Overflows};
use seal::Share;

/// Sockets of a shard, and the engine that receives and sends through them.
pub struct Sockets {
    /// Receives and sends, with io_uring or recvmmsg and sendmmsg.
    pub engine: Engine,
    /// Counters of datagrams that the kernel dropped.
    pub overflows: Overflows,
    /// Port and address family of each socket.
    pub socket_index: SocketIndex,
}

/// Receives from the sockets: hops 1 to 3. `on_turn` handles datagrams of the TURN port. True when more may wait.
pub fn receive(
    shard: &mut Shard,
    sockets: &mut Sockets,
    now: Instant,
    mut on_turn: impl FnMut(&mut Shard, &Arrived<'_>),
) -> bool {
    let Sockets {
        engine,
        overflows,
        socket_index,
    } = sockets;
    let mut datagrams = 0;
    for _ in 0..RECEIVES_PER_TURN {
        let (count, more) = arrive::receive(engine, &mut shard.report);
        for index in 0..count {
            let Some(joined) = overflows.get(engine, index, &mut shard.report) else {
                continue;
            };
            let port = socket_index.port_kind(joined.socket);
            for datagram in joined.datagrams(&mut shard.report) {
                datagrams += 1;
                match port {
                    PortKind::Media => receive_datagram(shard, &datagram, now),
                    PortKind::Turn => on_turn(shard, &datagram),
                }
            }
        }
        if !more {
            return false;
        }
        if datagrams >= DATAGRAMS_PER_TURN {
            break;
        }
    }
    true
}

/// Finds the session of a datagram to the media port, and passes the datagram on: hops 2 and 3.
pub fn receive_datagram(shard: &mut Shard, datagram: &Arrived<'_>, now: Instant) {
    match classify::classify(shard, datagram, now) {
        Ok(class) => decrypt::open(shard, datagram, class, now),
        Err(reason) => shard.report.drops.count(reason),
    }
}

/// Forwards received packets to some of the waiting sessions: hops 4 to 6. `flush` sends a full batch to the kernel.
/// True when other sessions still wait.
pub fn forward(shard: &mut Shard, now: Instant, mut flush: impl FnMut(&mut Shard)) -> bool {
    fanout::publish_inbox(shard, now);
    fanout::spread(shard);
    let mut share = Share::default();
    while !share.is_done() && seal::seal(shard, now, &mut share) {
        flush(shard);
    }
    shard
        .forwarding
        .backlog
        .free_served(&shard.forwarding.schedule);
    shard.after_switches();
    !shard.forwarding.schedule.is_empty()
}
