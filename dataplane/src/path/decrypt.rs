//! Hop 3: passes a datagram to the session layer, which decrypts media and handles all other protocols. Previous:
//! [`super::classify`]; media goes through the shard's inbox to [`super::fanout`].

use std::time::Instant;

use spillway_wire::demux::Protocol;

use super::arrive::Arrived;
use super::classify::Class;
use crate::drop_reason::DropReason;
use crate::key::SessionIndex;
use crate::mesh::message::{Datagram, ToControl, ToShard};
use crate::shard::route::ForeignSession;
use crate::shard::state::Shard;

/// Passes `datagram` to its session: on this shard, on its home shard, or through the control thread.
pub fn open(shard: &mut Shard, datagram: &Arrived<'_>, class: Class, now: Instant) {
    match class {
        Class::Local { peer, protocol } => receive(shard, peer, datagram, protocol, now),
        Class::Foreign(ForeignSession { home, session }) => {
            let letter = ToShard::Datagram {
                session,
                via: shard.id,
                datagram: owned(datagram),
            };
            if shard.outbox.send(home, letter).is_err() {
                shard.report.drops.count(DropReason::MeshFull);
            }
        }
        Class::Claim(ufrag) => {
            let claim = ToControl::Claim {
                shard: shard.id,
                ufrag,
                datagram: owned(datagram),
            };
            if shard.outbox.send_control(claim).is_err() {
                shard.report.drops.count(DropReason::MeshFull);
            }
        }
    }
}

/// Passes a datagram to session `peer` of this shard.
pub fn receive(
    shard: &mut Shard,
    peer: SessionIndex,
    datagram: &Arrived<'_>,
    protocol: Protocol,
    now: Instant,
) {
    let candidate = shard
        .ice
        .candidates
        .for_datagram(datagram.source, datagram.local);
    let Some(session) = shard.peers.get_mut(peer) else {
        return;
    };
    let (packets, drops) = (shard.out.packets.len(), shard.out.drops.total());
    session.receive(
        now,
        datagram.source,
        candidate,
        datagram.bytes,
        &mut shard.out,
    );
    if protocol == Protocol::Stun && session.paths.is_proven(datagram.source) {
        shard.peers.proven(datagram.source, peer);
    }
    let nothing = shard.out.packets.len() == packets && shard.out.drops.total() == drops;
    if protocol == Protocol::Rtp && nothing {
        shard.report.drops.count(DropReason::NothingToForward);
    }
    shard.absorb(peer);
    if !shard.out.lost.is_empty() {
        shard.guard(peer, |shard| shard.resend(peer, now));
    }
}

fn owned(datagram: &Arrived<'_>) -> Datagram {
    Datagram {
        bytes: datagram.bytes.into(),
        source: datagram.source,
        local: datagram.local,
        inside: datagram.inside,
    }
}
