//! Hop 2: finds the session of a datagram. Previous: [`super::arrive`], next: [`super::decrypt`].
//!
//! Media is mapped by its source address, a connectivity check by its ufrag. A session gets an address only after a
//! check from that address with the session's password.

use std::time::Instant;

use spillway_wire::demux::{Protocol, protocol};
use spillway_wire::stun;

use super::arrive::Arrived;
use crate::drop_reason::DropReason;
use crate::ice::credentials::Ufrag;
use crate::key::SessionIndex;
use crate::shard::route::{ForeignSession, Route};
use crate::shard::state::Shard;
use crate::stream::Alias;

/// The session that a datagram belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// A session on this shard.
    Local {
        /// Index of the session on this shard.
        peer: SessionIndex,
        /// Protocol of the datagram (RFC 7983).
        protocol: Protocol,
    },
    /// A session on another shard.
    Foreign(ForeignSession),
    /// A verified connectivity check for a session that is not on this shard.
    Claim(Ufrag),
}

/// Finds the session of `datagram`, or returns the reason to drop it.
pub fn classify(
    shard: &mut Shard,
    datagram: &Arrived<'_>,
    now: Instant,
) -> Result<Class, DropReason> {
    let protocol = protocol(datagram.bytes).ok_or(DropReason::Unclassified)?;
    // Alias addresses of streams are used inside the process only, so this source address is forged.
    if !datagram.inside && Alias::of(datagram.source).is_some() {
        return Err(DropReason::UnknownSource);
    }
    match protocol {
        Protocol::Rtp | Protocol::Rtcp | Protocol::Dtls => {
            match shard.peers.by_addr(datagram.source) {
                Some(Route::Local(peer)) => Ok(Class::Local { peer, protocol }),
                Some(Route::Foreign(foreign)) => Ok(Class::Foreign(foreign)),
                None => Err(DropReason::UnknownSource),
            }
        }
        Protocol::Stun => classify_stun(shard, datagram, now),
        Protocol::TurnChannel => Err(DropReason::Unclassified),
    }
}

fn classify_stun(
    shard: &mut Shard,
    datagram: &Arrived<'_>,
    now: Instant,
) -> Result<Class, DropReason> {
    let message =
        stun::Message::parse(datagram.bytes).map_err(|_framing| DropReason::MalformedStun)?;
    if !message.is_binding_request() {
        // A response to our own request goes to the session that has the address and sent the transaction.
        let is_response = stun::Class::of(message.kind()) == stun::Class::Success;
        let asked = shard.peers.asked(datagram.source, message.transaction());
        return match asked.filter(|_| is_response) {
            Some(Route::Local(peer)) => Ok(Class::Local {
                peer,
                protocol: Protocol::Stun,
            }),
            Some(Route::Foreign(foreign)) => Ok(Class::Foreign(foreign)),
            None => Err(DropReason::UnknownUfrag),
        };
    }
    // Only this node sends from its advertised addresses, so the source address is forged.
    if shard.ice.candidates.as_slice().contains(&datagram.source) {
        return Err(DropReason::UnknownSource);
    }
    let ufrag = message.receiver_ufrag().ok_or(DropReason::UnknownUfrag)?;
    if !shard.ice.key.verifies(ufrag, &message) {
        return Err(DropReason::BadIntegrity);
    }
    match shard.peers.by_ufrag(ufrag) {
        Some(peer) => {
            shard.receive_from(peer, datagram.checked(message.has_use_candidate()), now)?;
            Ok(Class::Local {
                peer,
                protocol: Protocol::Stun,
            })
        }
        // The session may be on another shard. The control thread knows its home, and whether the session exists.
        None => Ok(Class::Claim(Ufrag(ufrag.into()))),
    }
}
