//! Supported codecs, and which of a subscriber's codecs can decode a codec of the publisher.

use std::sync::LazyLock;

use str0m::format::{Codec, CodecConfig, CodecSpec as LibrarySpec, FormatParams, PayloadParams};
use str0m::media::{Frequency, Pt};

use crate::media::codec::{Codec as OurCodec, CodecSpec, MediaKind};
use crate::media::subscription::SubscriberCodec;
use crate::media::track::TrackFormats;

/// Supported codecs with the payload types that subscribers are offered.
pub(super) static SUPPORTED: LazyLock<CodecConfig> = LazyLock::new(|| {
    let mut config = CodecConfig::empty();
    config.enable_opus(true, true);
    config.enable_vp8(true);
    config.enable_vp9(true);
    config.enable_h264(true);
    for (pt, resend, fragments, profile) in MORE_H264 {
        config.add_h264(pt.into(), Some(resend.into()), fragments, profile);
    }
    config.enable_av1(true);
    config
});

/// H.264 formats that hardware encoders and native clients offer but str0m's list lacks: high profile in packetization
/// mode 0, and constrained high profile in modes 1 and 0. Each entry has a free payload type, the payload type of its
/// retransmissions, true for mode 1, and the profile-level-id. The list must have each format that a client may send.
const MORE_H264: [(u8, u8, bool, u32); 3] = [
    (37, 38, false, 0x64_001f),
    (39, 40, true, 0x64_0c1f),
    (41, 42, false, 0x64_0c1f),
];

/// Codecs that an m-line offers to one subscriber.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct OfferedFormats {
    /// Supported codecs in order of preference.
    pub(super) codecs: Vec<PayloadParams>,
    pub(super) is_stereo: bool,
}

/// A supported codec that a subscriber accepted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Accepted {
    /// Parameters of the supported codec.
    pub(super) params: PayloadParams,
    /// The subscriber's payload types, which may differ from ours (RFC 3264 section 6.1).
    pub(super) pt: Pt,
    pub(super) red: Option<Pt>,
    pub(super) resend: Option<Pt>,
}

/// Our payload type for `spec`; `None` if the codec is not supported.
pub(super) fn supported(spec: LibrarySpec) -> Option<u8> {
    of_our_list(spec).map(|params| *params.pt())
}

fn of_our_list(spec: LibrarySpec) -> Option<PayloadParams> {
    let found = SUPPORTED.match_params(PayloadParams::new(0.into(), None, spec));
    found.copied()
}

/// The entry for `pt` with `spec` in `config`, the codec list of a session.
pub(super) fn negotiated(config: &CodecConfig, pt: u8, spec: LibrarySpec) -> Option<PayloadParams> {
    let mut known = config.params().iter().filter(|params| *params.pt() == pt);
    known.find(|params| is_same(params, spec)).copied()
}

/// True if `params` match `spec`, regardless of payload types.
fn is_same(params: &PayloadParams, spec: LibrarySpec) -> bool {
    let alone = CodecConfig::new_from_payload_params(vec![*params]);
    let offered = PayloadParams::new(0.into(), None, spec);
    alone.match_params(offered).is_some()
}

/// Codecs to offer to a subscriber for a track of `kind` whose publisher has negotiated `formats`: the publisher's
/// codecs in its order, and for each the exact format first and then formats whose decoders can also decode it. `None`:
/// formats are not known yet, so all supported codecs are offered.
pub(super) fn offered_formats(kind: MediaKind, formats: Option<&TrackFormats>) -> OfferedFormats {
    let ours = || {
        SUPPORTED
            .params()
            .iter()
            .filter(|params| params.spec().codec.is_audio() == kind.is_audio())
    };
    let Some(TrackFormats { codecs, is_stereo }) = formats else {
        return OfferedFormats {
            codecs: ours().copied().collect(),
            is_stereo: false,
        };
    };
    let mut offered_formats: Vec<PayloadParams> = Vec::new();
    for codec in codecs {
        let mut fitting: Vec<(Fit, PayloadParams)> = ours()
            .filter_map(|params| Some((fit(params.spec(), library(codec))?, *params)))
            .collect();
        fitting.sort_by_key(|(fit, _)| *fit);
        for (_, params) in fitting {
            if !offered_formats
                .iter()
                .any(|known| known.pt() == params.pt())
            {
                offered_formats.push(params);
            }
        }
    }
    OfferedFormats {
        codecs: offered_formats,
        is_stereo: *is_stereo,
    }
}

impl OfferedFormats {
    /// True if this contains all codecs of `other`.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let has = |params: &PayloadParams| self.codecs.iter().any(|had| had.pt() == params.pt());
        self.is_stereo == other.is_stereo && other.codecs.iter().all(has)
    }
}

/// For each of the publisher's `codecs`, the payload types of the `accepted` codec that decodes it best.
pub(super) fn map(accepted: &[Accepted], codecs: &[CodecSpec]) -> Vec<Option<SubscriberCodec>> {
    let best = |codec: &CodecSpec| {
        let fitting = accepted
            .iter()
            .filter_map(|accepted| Some((fit(accepted.params.spec(), library(codec))?, accepted)));
        let (_, best) = fitting.min_by_key(|(fit, _)| *fit)?;
        Some(SubscriberCodec {
            pt: *best.pt,
            red: best.red.map(|pt| *pt),
            resend: best.resend.map(|pt| *pt),
        })
    };
    codecs.iter().map(best).collect()
}

/// True if a decoder for `decoder` can decode a `stream`.
pub(super) fn decodes(decoder: &PayloadParams, stream: &CodecSpec) -> bool {
    fit(decoder.spec(), library(stream)).is_some()
}

/// `spec` as our own type. Only supported codecs are negotiated, so others cannot occur.
pub(super) fn described(spec: LibrarySpec) -> CodecSpec {
    let format = spec.format;
    let codec = match spec.codec {
        Codec::Vp8 => OurCodec::Vp8,
        Codec::Vp9 => OurCodec::Vp9 {
            profile: format.profile_id.unwrap_or(0),
        },
        Codec::H264 => OurCodec::H264 {
            profile_level_id: format.profile_level_id,
            packetization_mode: format.packetization_mode.unwrap_or(0),
        },
        Codec::Av1 => OurCodec::Av1 {
            profile: format.profile.unwrap_or(0),
            level_idx: format.level_idx.unwrap_or(5),
            tier: format.tier.unwrap_or(0),
        },
        _ => OurCodec::Opus,
    };
    CodecSpec {
        codec,
        clock_hz: spec.clock_rate.get(),
        channels: spec.channels,
    }
}

/// `spec` as the session library's type.
fn library(spec: &CodecSpec) -> LibrarySpec {
    let none = FormatParams::default();
    let (codec, format) = match spec.codec {
        OurCodec::Opus => (Codec::Opus, none),
        OurCodec::Vp8 => (Codec::Vp8, none),
        OurCodec::Vp9 { profile } => {
            let profile_id = Some(profile);
            (Codec::Vp9, FormatParams { profile_id, ..none })
        }
        OurCodec::H264 {
            profile_level_id,
            packetization_mode,
        } => {
            let format = FormatParams {
                level_asymmetry_allowed: Some(true),
                packetization_mode: Some(packetization_mode),
                profile_level_id,
                ..none
            };
            (Codec::H264, format)
        }
        OurCodec::Av1 {
            profile,
            level_idx,
            tier,
        } => {
            let format = FormatParams {
                profile: Some(profile),
                level_idx: Some(level_idx),
                tier: Some(tier),
                ..none
            };
            (Codec::Av1, format)
        }
    };
    let clock_rate = match spec.codec {
        OurCodec::Opus => Frequency::FORTY_EIGHT_KHZ,
        OurCodec::Vp8 | OurCodec::Vp9 { .. } | OurCodec::H264 { .. } | OurCodec::Av1 { .. } => {
            Frequency::NINETY_KHZ
        }
    };
    LibrarySpec {
        codec,
        clock_rate,
        channels: spec.channels,
        format,
    }
}

impl From<MediaKind> for str0m::media::MediaKind {
    fn from(kind: MediaKind) -> Self {
        match kind {
            MediaKind::Audio => Self::Audio,
            MediaKind::Video => Self::Video,
        }
    }
}

/// How well a decoder matches a stream; a better match is lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// The decoder is for exactly this format.
    Same,
    /// The decoder is for another format but can decode this one.
    Decodes,
}

/// How well a decoder for `decoder` matches a `stream`; `None` if it cannot decode the stream.
fn fit(decoder: LibrarySpec, stream: LibrarySpec) -> Option<Fit> {
    if decoder.codec != stream.codec {
        return None;
    }
    match decoder.codec {
        Codec::H264 => fit_h264(decoder, stream),
        Codec::Vp9 => {
            let profile = |spec: LibrarySpec| spec.format.profile_id.unwrap_or(0);
            (profile(decoder) == profile(stream)).then_some(Fit::Same)
        }
        _ => Some(Fit::Same),
    }
}

/// RFC 6184 sections 6.2 and 8.1: a receiver of packetization mode 1 also accepts mode 0, and profiles that use a
/// subset of its coding tools.
fn fit_h264(decoder: LibrarySpec, stream: LibrarySpec) -> Option<Fit> {
    let is_same = |spec: LibrarySpec| of_our_list(spec).map(|params| *params.pt());
    if is_same(decoder) == is_same(stream) {
        return Some(Fit::Same);
    }
    let mode = |spec: LibrarySpec| spec.format.packetization_mode.unwrap_or(0);
    let takes = profile(decoder)?.decodes(profile(stream)?);
    (takes && mode(decoder) >= mode(stream)).then_some(Fit::Decodes)
}

/// A profile of H.264, by its coding tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum H264Profile {
    /// Constrained baseline, or the baseline profile of browsers, which uses only the same tools.
    ConstrainedBaseline,
    Main,
    /// High without interlace and B slices, so it does not include main.
    ConstrainedHigh,
    High,
}

impl H264Profile {
    fn decodes(self, stream: Self) -> bool {
        stream == Self::ConstrainedBaseline || self == Self::High || self == stream
    }
}

fn profile(spec: LibrarySpec) -> Option<H264Profile> {
    let id = spec.format.profile_level_id.unwrap_or(0x42_001f);
    match (id >> 16, (id >> 8) & 0xff) {
        (0x42, _) => Some(H264Profile::ConstrainedBaseline),
        (0x4d, _) => Some(H264Profile::Main),
        (0x64, 0x0c) => Some(H264Profile::ConstrainedHigh),
        (0x64, _) => Some(H264Profile::High),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(pt: u8) -> PayloadParams {
        let found = SUPPORTED.params().iter().find(|params| *params.pt() == pt);
        *found.unwrap()
    }

    fn pts(offered_formats: &OfferedFormats) -> Vec<u8> {
        offered_formats
            .codecs
            .iter()
            .map(|params| *params.pt())
            .collect()
    }

    #[test]
    fn a_menu_begins_with_the_publishers_codec_and_has_nothing_that_it_cannot_send() {
        let of = |codecs: &[u8]| {
            let formats = TrackFormats {
                codecs: codecs
                    .iter()
                    .map(|pt| described(ours(*pt).spec()))
                    .collect(),
                is_stereo: false,
            };
            pts(&offered_formats(MediaKind::Video, Some(&formats)))
        };
        assert_eq!(of(&[45, 96]), [45, 96]);
        assert_eq!(of(&[98]), [98], "vp9 of profile 0 alone");
        // Constrained baseline in mode 1, then the formats whose decoders can decode it.
        assert_eq!(of(&[108]), [108, 127, 123, 114, 39]);
        assert_eq!(of(&[114, 96]), [114, 96], "nothing decodes high but high");
        assert_eq!(pts(&offered_formats(MediaKind::Audio, None)), [111]);
    }

    #[test]
    fn a_publishers_codec_goes_to_the_decoder_that_fits_best() {
        let accepted = |pt: u8| Accepted {
            params: ours(pt),
            pt: (pt + 1).into(),
            red: None,
            resend: None,
        };
        let to = |accepted: &[Accepted], codec: u8| {
            let mapped = map(accepted, &[described(ours(codec).spec())]);
            mapped[0].map(|mapped| mapped.pt)
        };
        let baseline = [accepted(127), accepted(114)];
        assert_eq!(to(&baseline, 108), Some(128), "42e01f to 42001f");
        assert_eq!(to(&[accepted(108)], 127), Some(109), "and the other way");
        assert_eq!(to(&[accepted(108)], 114), None, "high needs high");
        assert_eq!(to(&[accepted(125)], 127), None, "fragments need mode 1");
        assert_eq!(to(&[accepted(127)], 125), Some(128), "single units do not");
        assert_eq!(
            to(&[accepted(114)], 39),
            Some(115),
            "high has constrained high"
        );
        assert_eq!(to(&[accepted(39)], 114), None, "and not the other way");
        assert_eq!(to(&[accepted(39)], 123), None, "main may have B slices");
        assert_eq!(to(&[accepted(39)], 41), Some(40), "single units do not");
        assert_eq!(to(&[accepted(98)], 100), None, "vp9 of another profile");
    }

    #[test]
    fn every_codec_of_our_list_survives_the_way_into_our_words_and_back() {
        for params in SUPPORTED.params() {
            let ours = described(params.spec());
            let back = library(&ours);
            assert_eq!(described(back), ours);
            assert_eq!(fit(params.spec(), back), Some(Fit::Same), "{ours:?}");
            assert_eq!(ours.clock_hz, params.spec().clock_rate.get());
        }
    }
}
