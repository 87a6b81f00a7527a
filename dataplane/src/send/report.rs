//! Sender reports (RFC 3550 section 6.4.1): the wall clock time of an RTP timestamp.
//!
//! The wall clock is the publisher's, so that the receiver can play the publisher's audio and video in sync.

use std::time::Instant;

use spillway_wire::rtcp::{SenderInfo, write_sender_report};

use super::queue::SendContext;
use super::sender::{Due, Sender};
use super::stream::Stream;

/// Maximum size of a sealed report in bytes.
const MAX_BYTES: usize = 384;
/// Maximum number of bytes that sealing adds.
const SEALING_BYTES: usize = 32;

/// Sends the due sender reports of `streams`.
pub fn send_due<S: AsMut<Stream>>(
    streams: &mut [S],
    sender: &mut Sender,
    to: &mut SendContext<'_>,
) {
    let hurries = |stream: &mut S| stream.as_mut().wants_quick_reports();
    let is_any = streams.iter_mut().any(hurries);
    let Some(due) = sender.take_reports_due(is_any, to.now) else {
        return;
    };
    let Some((sealer, _)) = sender.keys() else {
        return;
    };
    for stream in streams.iter_mut().map(AsMut::as_mut) {
        if due != Due::All && !stream.wants_quick_reports() {
            continue;
        }
        let mut packet = [0; MAX_BYTES];
        let Some(length) = write(stream, to.now, &mut packet) else {
            continue;
        };
        let length = sealer.seal_rtcp(&mut packet, length);
        let run = to.path.datagram(length);
        to.queue.push(&packet[..length], run, to.report);
    }
}

/// Writes the sender report of `stream` at `now`, and returns its length; `None` when no report is possible.
fn write(stream: &mut Stream, now: Instant, out: &mut [u8; MAX_BYTES]) -> Option<usize> {
    let report = stream.report(now)?;
    let info = SenderInfo {
        ssrc: report.ssrc,
        ntp: report.ntp,
        rtp_time: report.rtp_time,
        packets: report.packets,
        octets: report.octets,
    };
    write_sender_report(&info, report.cname, &mut out[..MAX_BYTES - SEALING_BYTES])
}
