//! Channels of an allocation: numbers for frequent peers (RFC 8656 section 12).

use std::net::SocketAddr;
use std::time::Instant;

use spillway_wire::turn::ChannelNumber;

use super::deny::DenyReason;
use crate::limits::{CHANNEL_LIFETIME, MAX_CHANNELS};

/// Channels of one allocation: few, so lookups are linear.
#[derive(Debug, Default)]
pub(super) struct Channels(Vec<Channel>);

/// The peer that a channel number is bound to.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) number: ChannelNumber,
    pub(super) peer: SocketAddr,
    /// Generation of the policy under which the peer was last checked.
    pub(super) judged: u32,
    expires: Instant,
}

impl Channels {
    /// Number of entries, expired ones included.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn by_number(
        &mut self,
        now: Instant,
        number: ChannelNumber,
    ) -> Option<&mut Channel> {
        self.0
            .iter_mut()
            .find(|channel| channel.number == number && channel.expires > now)
    }

    pub(super) fn by_peer(&mut self, now: Instant, peer: SocketAddr) -> Option<&mut Channel> {
        self.0
            .iter_mut()
            .find(|channel| channel.peer == peer && channel.expires > now)
    }

    /// Checks that `number` may be bound to `peer`: they are bound to each other, or neither is bound (RFC 8656 section
    /// 12.2).
    pub(super) fn check(
        &mut self,
        now: Instant,
        number: ChannelNumber,
        peer: SocketAddr,
    ) -> Result<(), DenyReason> {
        self.0.retain(|channel| channel.expires > now);
        for channel in &self.0 {
            match (channel.number == number, channel.peer == peer) {
                (true, true) => return Ok(()),
                (true, false) | (false, true) => return Err(DenyReason::BadRequest),
                (false, false) => {}
            }
        }
        if self.0.len() >= MAX_CHANNELS {
            return Err(DenyReason::AllocationFull);
        }
        Ok(())
    }

    /// Binds a checked pair, or extends its lifetime.
    pub(super) fn bind(
        &mut self,
        now: Instant,
        number: ChannelNumber,
        peer: SocketAddr,
        judged: u32,
    ) {
        let expires = now + CHANNEL_LIFETIME;
        if let Some(channel) = self.by_number(now, number) {
            channel.expires = expires;
            channel.judged = judged;
            return;
        }
        if self.0.is_empty() {
            self.0.reserve_exact(1); // most allocations have one peer
        }
        self.0.push(Channel {
            number,
            peer,
            judged,
            expires,
        });
    }
}
