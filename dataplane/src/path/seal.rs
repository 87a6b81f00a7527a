//! Hop 6: encryption for each subscriber. Comes from [`super::fanout`], goes to [`super::transmit`].
//!
//! Packets of a turn are written first and drained per session after, so that a session is driven once
//! a turn, however many packets it gets.

use std::time::Instant;

use str0m::Rtc;
use str0m::rtp::{ExtensionValues, RtpWrite};

use crate::drop_reason::DropReason;
use crate::path::rewrite::Rewritten;
use crate::peer::Subscriber;
use crate::shard::Shard;
use crate::subscription::{Encoding, Verdict};
use crate::track::MediaPacket;

/// Of all video codecs (RFC 7741, RFC 9628, RFC 6184 and the AV1 payload format).
const VIDEO_CLOCK_HZ: u32 = 90_000;
/// Of Opus at any sampling rate (RFC 7587 section 4.1).
const OPUS_CLOCK_HZ: u32 = 48_000;

/// Gives `packet` its outgoing numbers and writes it to the session layer of one subscriber.
pub fn write(
    rtc: &mut Rtc,
    subscriber: &mut Subscriber,
    (sub, verdict, encoding): (usize, Verdict, Encoding),
    packet: &MediaPacket,
) -> Result<(), DropReason> {
    let subscription = &subscriber.subscriptions[sub];
    let is_video = subscription.kind.is_video();
    let slot = subscription.slot.ok_or(DropReason::NoCodec)?;
    let slot = &mut subscriber.slots[slot];
    if verdict == Verdict::Switch {
        let clock_rate = if is_video {
            VIDEO_CLOCK_HZ
        } else {
            OPUS_CLOCK_HZ
        };
        slot.rewriter.switch(packet, clock_rate);
    }
    let numbers = slot.rewriter.rewrite(packet);
    let numbers = numbers.ok_or(DropReason::BeforeSwitch)?;
    let payload = match &packet.primary {
        Some(primary) if encoding.unwrap_red => primary.clone(),
        Some(_) | None => packet.payload.clone(),
    };
    let mut api = rtc.direct_api();
    let stream = api
        .stream_tx_by_mid(slot.mid, None)
        .ok_or(DropReason::NoCodec)?;
    let (seq, wallclock) = (numbers.seq.into(), packet.arrived);
    let mut out = RtpWrite::new(encoding.pt, seq, numbers.time, wallclock, payload)
        .marker(packet.marker)
        .nackable(is_video)
        .ext_vals(extensions(packet));
    if let Some(patch) = vp8_patch(packet, numbers) {
        out = out.vp8_patch(patch);
    }
    stream.write_rtp(out);
    Ok(())
}

/// Drives every session that was written to, and collects the datagrams.
pub fn drain_touched(shard: &mut Shard, now: Instant) {
    while let Some((index, arrived)) = shard.touched.pop() {
        let Some(peer) = shard.peers.get_mut(index) else {
            continue;
        };
        peer.handle_timeout(now, &mut shard.out);
        shard.absorb(index, Some(arrived));
    }
}

fn extensions(packet: &MediaPacket) -> ExtensionValues {
    let level = packet.audio_level;
    ExtensionValues {
        audio_level: level.map(|(dbov, _)| -i8::try_from(dbov).unwrap_or(i8::MAX)),
        voice_activity: level.map(|(_, voice)| voice),
        video_orientation: packet.orientation,
        ..ExtensionValues::default()
    }
}

fn vp8_patch(packet: &MediaPacket, numbers: Rewritten) -> Option<str0m::rtp::Vp8Patch> {
    let vp8 = packet.vp8?;
    let mut patch = vp8.patch();
    if let Some(id) = numbers.picture_id {
        // A descriptor with a 7-bit picture id keeps that form (RFC 7741 section 4.2).
        let fits = vp8.patch().picture_id(id).build().is_ok();
        patch = patch.picture_id(if fits { id } else { id & 0x7f });
    }
    if let Some(idx) = numbers.tl0_pic_idx {
        patch = patch.tl0_pic_idx(idx);
    }
    patch.build().ok()
}
