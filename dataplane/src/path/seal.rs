//! Hop 6: encryption for each subscriber. Comes from [`super::fanout`], goes to [`super::transmit`].
//!
//! Packets of a turn are written first and drained per session after, so that a session is driven once
//! a turn, however many packets it gets.

use std::time::Instant;

use str0m::Rtc;
use str0m::format::Codec;
use str0m::rtp::{ExtensionValues, RtpWrite};

use crate::drop_reason::DropReason;
use crate::path::rewrite::Rewritten;
use crate::peer::Subscriber;
use crate::shard::Shard;
use crate::subscription::Verdict;
use crate::track::MediaPacket;

/// Gives `packet` its outgoing numbers and writes it to the session layer of one subscriber.
pub fn write(
    rtc: &mut Rtc,
    subscriber: &mut Subscriber,
    (sub, verdict): (usize, Verdict),
    packet: &MediaPacket,
) -> Result<(), DropReason> {
    let subscription = &subscriber.subscriptions[sub];
    let codecs = subscription.codecs.as_ref().ok_or(DropReason::NoCodec)?;
    let codec = codecs.get(usize::from(packet.codec)).copied().flatten();
    let codec = codec.ok_or(DropReason::NoCodec)?;
    let pt = match (packet.red, codec.red) {
        (false, _) => codec.pt,
        (true, Some(red)) => red,
        (true, None) => return Err(DropReason::NoCodec),
    };
    let slot = subscription.slot.ok_or(DropReason::NoCodec)?;
    let is_video = subscription.kind.is_video();
    let slot = &mut subscriber.slots[slot];
    if verdict == Verdict::Switch {
        slot.rewriter.switch(packet, clock_rate(rtc, codec.pt));
    }
    let numbers = slot
        .rewriter
        .rewrite(packet)
        .ok_or(DropReason::BeforeSwitch)?;
    let mut api = rtc.direct_api();
    let stream = api
        .stream_tx_by_mid(slot.mid, None)
        .ok_or(DropReason::NoCodec)?;
    let mut out = RtpWrite::new(
        pt,
        numbers.seq.into(),
        numbers.time,
        packet.arrived,
        packet.payload.clone(),
    )
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

fn clock_rate(rtc: &Rtc, pt: str0m::media::Pt) -> u32 {
    let params = rtc
        .codec_config()
        .params()
        .iter()
        .find(|params| params.pt() == pt);
    params.map_or(90_000, |params| match params.spec().codec {
        Codec::Opus => 48_000,
        _ => 90_000,
    })
}
