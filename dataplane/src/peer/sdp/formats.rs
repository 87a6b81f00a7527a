//! Formats of an m-line: the meaning of each payload type, from `a=rtpmap` and `a=fmtp` in any notation.

use str0m::format::{Codec, CodecSpec, FormatParams};
use str0m::media::Frequency;

use super::read::{MediaLine, Section};

/// Number of payload types (RFC 3550 section 5.1).
pub(in crate::peer) const PAYLOAD_TYPES: usize = 128;

/// One payload type of an m-line with its attributes.
#[derive(Debug, Clone)]
pub(in crate::peer) struct Format<'a> {
    pub(in crate::peer) pt: u8,
    /// Encoding name, clock rate and channels, as written in `a=rtpmap`.
    pub(super) rtpmap: &'a str,
    pub(super) fmtp: Vec<&'a str>,
    pub(super) feedback: Vec<&'a str>,
    pub(in crate::peer) meaning: Meaning,
}

/// Meaning of a payload type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::peer) enum Meaning {
    /// A codec of the session library; it may be unsupported.
    Codec(CodecSpec),
    /// Retransmissions (RFC 4588) of this payload type.
    Resend(u8),
    /// Redundancy (RFC 2198) with blocks of this payload type.
    Redundancy(u8),
    /// A format that is not supported.
    Unknown,
}

/// The formats of an m-line in its order of preference. A format without a known encoding name is `Meaning::Unknown`.
pub(super) fn read<'a>(line: &MediaLine<'a>, section: &Section<'a>) -> Vec<Format<'a>> {
    let mut place_by_pt: [Option<usize>; PAYLOAD_TYPES] = [None; PAYLOAD_TYPES];
    let mut formats: Vec<Format<'a>> = Vec::new();
    for pt in line
        .formats
        .iter()
        .filter_map(|format| payload_type(format))
    {
        let place = &mut place_by_pt[usize::from(pt)];
        if place.is_none() {
            *place = Some(formats.len());
            formats.push(Format {
                pt,
                rtpmap: static_name(pt).unwrap_or_default(),
                fmtp: Vec::new(),
                feedback: Vec::new(),
                meaning: Meaning::Unknown,
            });
        }
    }
    let mut of_all = Vec::new();
    let mut is_mapped = [false; PAYLOAD_TYPES];
    for (name, value) in section.attributes() {
        if !matches!(name, "rtpmap" | "fmtp" | "rtcp-fb") {
            continue;
        }
        let Some((pt, value)) = value.split_once(|c: char| c.is_ascii_whitespace()) else {
            continue;
        };
        let value = value.trim_ascii();
        if name == "rtcp-fb" && pt == "*" {
            of_all.push(value);
            continue;
        }
        let Some(pt) = payload_type(pt).map(usize::from) else {
            continue;
        };
        let Some(format) = place_by_pt[pt].map(|place| &mut formats[place]) else {
            continue;
        };
        match name {
            "rtpmap" if !std::mem::replace(&mut is_mapped[pt], true) => format.rtpmap = value,
            "fmtp" => format.fmtp.push(value),
            "rtcp-fb" => format.feedback.push(value),
            _ => {}
        }
    }
    for format in &mut formats {
        format.feedback.extend(&of_all);
        format.meaning = meaning(format);
    }
    formats
}

impl<'a> Format<'a> {
    /// Value of an `a=fmtp` parameter. Names are case-insensitive.
    pub(super) fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters().find_map(|(found, value)| {
            let is_named = found.eq_ignore_ascii_case(name);
            is_named.then_some(value)
        })
    }

    /// `a=fmtp` parameters: name and value; the value is empty if there is none.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&'a str, &'a str)> + '_ {
        let parameters = self.fmtp.iter().flat_map(|line| line.split(';'));
        parameters.filter_map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let (name, value) = (name.trim_ascii(), value.trim_ascii());
            (!name.is_empty()).then_some((name, value))
        })
    }

    /// True if the client may send two channels, or requests them (RFC 7587 section 6.1).
    pub(in crate::peer) fn is_stereo(&self) -> bool {
        let is_set = |name| self.parameter(name) == Some("1");
        is_set("stereo") || is_set("sprop-stereo")
    }

    /// Encoding name of the format.
    pub(in crate::peer) fn name(&self) -> &'a str {
        let name = self.rtpmap.split('/').next().unwrap_or_default();
        name.trim_ascii()
    }
}

/// Parses a payload type, 0 to 127.
pub(super) fn payload_type(text: &str) -> Option<u8> {
    let pt: u8 = text.trim_ascii().parse().ok()?;
    (usize::from(pt) < PAYLOAD_TYPES).then_some(pt)
}

/// Static payload types (RFC 3551 section 6) have names without `a=rtpmap`.
fn static_name(pt: u8) -> Option<&'static str> {
    match pt {
        0 => Some("PCMU/8000"),
        3 => Some("GSM/8000"),
        8 => Some("PCMA/8000"),
        9 => Some("G722/8000"),
        13 => Some("CN/8000"),
        18 => Some("G729/8000"),
        26 => Some("JPEG/90000"),
        31 => Some("H261/90000"),
        34 => Some("H263/90000"),
        _ => None,
    }
}

fn meaning(format: &Format<'_>) -> Meaning {
    let mut fields = format.rtpmap.split('/').map(str::trim_ascii);
    let name = fields.next().unwrap_or_default().to_ascii_lowercase();
    let clock = fields.next().unwrap_or_default();
    let channels = fields.next();
    let meaning = match (name.as_str(), clock) {
        // RFC 7587 section 7: the channels in rtpmap are always 2.
        ("opus", "48000") if matches!(channels, None | Some("2")) => opus(format),
        ("vp8", "90000") => video(Codec::Vp8, FormatParams::default()),
        ("vp9", "90000") => vp9(format),
        ("h264", "90000") => h264(format),
        ("av1", "90000") => av1(format),
        ("rtx", _) => format
            .parameter("apt")
            .and_then(payload_type)
            .map(Meaning::Resend),
        ("red", "48000") => {
            let blocks = format.fmtp.first().map(|blocks| blocks.split('/'));
            let primary = blocks.and_then(|mut blocks| blocks.next());
            primary.and_then(payload_type).map(Meaning::Redundancy)
        }
        _ => None,
    };
    meaning.unwrap_or(Meaning::Unknown)
}

fn opus(format: &Format<'_>) -> Option<Meaning> {
    let is_stereo = format.is_stereo().then_some(true);
    Some(Meaning::Codec(CodecSpec {
        codec: Codec::Opus,
        clock_rate: Frequency::FORTY_EIGHT_KHZ,
        channels: Some(2),
        format: FormatParams {
            min_p_time: Some(10),
            use_inband_fec: Some(true),
            stereo: is_stereo,
            sprop_stereo: is_stereo,
            ..FormatParams::default()
        },
    }))
}

fn video(codec: Codec, format: FormatParams) -> Option<Meaning> {
    Some(Meaning::Codec(CodecSpec {
        codec,
        clock_rate: Frequency::NINETY_KHZ,
        channels: None,
        format,
    }))
}

fn vp9(format: &Format<'_>) -> Option<Meaning> {
    let profile = format.parameter("profile-id").unwrap_or("0");
    let params = FormatParams {
        profile_id: Some(profile.parse().ok()?),
        ..FormatParams::default()
    };
    video(Codec::Vp9, params)
}

/// RFC 6184 section 8.1: without parameters the format is packetization mode 0 of the baseline profile.
fn h264(format: &Format<'_>) -> Option<Meaning> {
    let mode = format.parameter("packetization-mode").unwrap_or("0");
    let profile = format.parameter("profile-level-id");
    let profile = profile.map(|hex| u32::from_str_radix(hex, 16)).transpose();
    let params = FormatParams {
        level_asymmetry_allowed: Some(true),
        packetization_mode: Some(mode.parse().ok()?),
        profile_level_id: profile.ok()?,
        ..FormatParams::default()
    };
    video(Codec::H264, params)
}

/// Level and tier describe the receiver, and do not distinguish formats.
fn av1(format: &Format<'_>) -> Option<Meaning> {
    let is_main = format.parameter("profile").unwrap_or("0") == "0";
    is_main.then_some(())?;
    video(Codec::Av1, FormatParams::default())
}

#[cfg(test)]
mod tests {
    use super::super::read::Description;
    use super::*;

    fn formats(body: &str) -> Vec<(u8, Meaning)> {
        let sdp = format!("v=0\r\n{body}");
        let read = Description::read(&sdp);
        let line = read.media[0].media_line(0).unwrap();
        let formats = super::read(&line, &read.media[0]);
        formats.iter().map(|f| (f.pt, f.meaning)).collect()
    }

    fn codec(meaning: &Meaning) -> Option<Codec> {
        match meaning {
            Meaning::Codec(spec) => Some(spec.codec),
            _ => None,
        }
    }

    #[test]
    fn formats_are_read_in_order_whatever_case_and_spaces_they_have() {
        let read = formats(
            "m=audio 9 X 63 111 0 300 111\r\na=rtpmap: 111  OPUS/48000/2\r\na=rtpmap:63 red/48000/2\r\n\
             a=fmtp:63 111/111\r\n",
        );
        let pts: Vec<u8> = read.iter().map(|(pt, _)| *pt).collect();
        assert_eq!(
            pts,
            [63, 111, 0],
            "one is no payload type, one is there twice"
        );
        assert_eq!(read[0].1, Meaning::Redundancy(111));
        assert_eq!(codec(&read[1].1), Some(Codec::Opus));
        assert_eq!(read[2].1, Meaning::Unknown);
    }

    #[test]
    fn parameters_decide_what_a_video_codec_is() {
        let read = formats(
            "m=video 9 X 96 97 98 99 100 101\r\na=rtpmap:96 h264/90000\r\n\
             a=fmtp:96 Packetization-Mode=1 ; profile-level-id = 42E01F;\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
             a=rtpmap:98 H264/90000\r\na=rtpmap:99 H264/90000\r\na=fmtp:99 profile-level-id=zz\r\n\
             a=rtpmap:100 AV1/90000\r\na=fmtp:100 profile=1\r\na=rtpmap:101 VP9/90000\r\na=fmtp:101 profile-id=2\r\n",
        );
        let Meaning::Codec(spec) = read[0].1 else {
            panic!("h264 is a codec")
        };
        assert_eq!(spec.format.packetization_mode, Some(1));
        assert_eq!(spec.format.profile_level_id, Some(0x42e01f));
        assert_eq!(read[1].1, Meaning::Resend(96));
        assert_eq!(codec(&read[2].1), Some(Codec::H264));
        assert_eq!(read[3].1, Meaning::Unknown);
        assert_eq!(read[4].1, Meaning::Unknown);
        assert_eq!(codec(&read[5].1), Some(Codec::Vp9));
    }
}
