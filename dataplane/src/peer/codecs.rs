//! Which payload type of the subscriber carries which codec of the publisher.

use str0m::Rtc;
use str0m::format::PayloadParams;
use str0m::media::Mid;

use crate::subscription::SubscriberCodec;

/// For each of the publisher's `codecs`, what the subscriber negotiated on `mid`; empty when the m-line
/// was rejected.
pub(super) fn map(rtc: &Rtc, mid: Mid, codecs: &[PayloadParams]) -> Vec<Option<SubscriberCodec>> {
    let Some(media) = rtc.media(mid) else {
        return Vec::new();
    };
    let accepted = media.remote_pts();
    codecs
        .iter()
        .map(|codec| {
            let ours = rtc.codec_config().match_params(*codec)?;
            if !accepted.contains(&ours.pt()) {
                return None;
            }
            // Redundancy is part of the codec's parameters: gone when the subscriber did not take it.
            let red = ours.red();
            Some(SubscriberCodec {
                pt: ours.pt(),
                red,
                resend: ours.resend(),
            })
        })
        .collect()
}
