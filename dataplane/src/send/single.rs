//! Packets that are sealed one at a time: retransmissions, and the first packets of a new subscriber.

use super::queue::SendContext;
use super::resend::RetransmitRequest;
use super::rewriter::Sent;
use super::sender::Sender;
use super::stream::{Keys, Planned, SealCost, Stream};
use crate::drop_reason::DropReason;
use crate::media::packet::MediaPacket;
use crate::media::subscription::Encoding;

/// Sends `packet`, which has its outgoing numbers, as one datagram.
pub fn send(
    stream: &mut Stream,
    sender: &mut Sender,
    (planned, packet): (Planned, &MediaPacket),
    to: &mut SendContext<'_>,
) -> Result<(), DropReason> {
    let room = to.queue.room(planned.bytes);
    let room = room.ok_or(DropReason::SendBufferFull)?;
    let (sealer, estimator) = sender.keys().ok_or(DropReason::NotConnected)?;
    let mut keys = Keys {
        sealer,
        estimator,
        now: to.now,
    };
    stream.write(room, planned, packet, &mut keys);
    to.queue.commit(to.path.datagram(planned.bytes), to.report);
    Ok(())
}

/// Sends the packet with sequence number `seq` again. `find` returns the packet, if the history still has it.
pub fn resend<'p>(
    stream: &mut Stream,
    sender: &mut Sender,
    seq: u16,
    to: &mut SendContext<'_>,
    find: impl FnOnce(&Sent) -> Option<(&'p MediaPacket, Encoding)>,
) -> Result<(), DropReason> {
    let at = RetransmitRequest {
        now: to.now,
        rtt: sender.rtt(),
    };
    let (sealer, estimator) = sender.keys().ok_or(DropReason::NotConnected)?;
    if let Some(datagram) = stream.sent_datagram(seq, at) {
        let bytes = datagram.len();
        let room = to.queue.room(bytes).ok_or(DropReason::SendBufferFull)?;
        room.copy_from_slice(datagram);
        to.queue.commit(to.path.datagram(bytes), to.report);
        return Ok(());
    }
    let cost = SealCost {
        overhead: sealer.rtp_overhead(),
        is_measured: estimator.is_some(),
    };
    let planned = stream.plan_retransmission(seq, at, cost, find)?;
    send(stream, sender, planned, to)
}
