//! Padding packets that probe the bandwidth of a path.

use super::queue::SendContext;
use super::sender::Sender;
use super::stream::{Keys, Stream};

/// Sends the padding that the estimator requests, on the first of `streams` that can carry padding.
pub fn send_due<S: AsMut<Stream>>(
    streams: &mut [S],
    sender: &mut Sender,
    to: &mut SendContext<'_>,
) {
    let Some((sealer, Some(estimator))) = sender.keys() else {
        return;
    };
    let mut due = estimator.padding_due(to.now);
    if due == 0 {
        return;
    }
    let mut streams = streams.iter_mut().map(AsMut::as_mut);
    let carrier = streams.find_map(|stream| Some((stream.padding_bytes(sealer)?, stream)));
    let Some((bytes, stream)) = carrier else {
        return;
    };
    let mut keys = Keys {
        sealer,
        estimator: Some(estimator),
        now: to.now,
    };
    while due > 0 {
        let Some(room) = to.queue.room(bytes) else {
            return; // the send arena is full
        };
        stream.write_padding(room, &mut keys);
        to.report.padding_bytes += bytes as u64;
        to.queue.commit(to.path.datagram(bytes), to.report);
        due = due.saturating_sub(bytes);
    }
}
