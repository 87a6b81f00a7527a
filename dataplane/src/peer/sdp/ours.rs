//! Completes our offers to subscribers: the session library's offer, with the formats that the track of each m-line
//! needs.

use std::fmt::Write;

use str0m::format::{Codec, PayloadParams};

use super::extensions::MIXED;
use super::read::{Description, Section};
use crate::media::extensions::{EXTENSION_KINDS, ExtensionKind};
use crate::peer::codecs::OfferedFormats;
use crate::send::header::CarriedIds;

/// State of one m-line of our offer.
pub(in crate::peer) struct OfferedLine<'m> {
    pub(in crate::peer) offered_formats: &'m OfferedFormats,
    /// True if the client rejected the m-line: its port is 0 from now on, or it is inactive.
    pub(in crate::peer) is_refused: bool,
}

/// The session library's offer `written` with the formats of `lines`. m-lines with port 0 are added for mids that the
/// library does not know, because the number of m-lines never decreases (RFC 3264 section 8).
pub(in crate::peer) fn with_formats(
    written: &str,
    lines: &[OfferedLine<'_>],
    forgotten: &[String],
) -> String {
    let read = Description::read(written);
    let mut out = String::with_capacity(written.len());
    for line in &read.session.lines {
        // RFC 8843 section 6: a BUNDLE group has at least one member.
        if *line != "a=group:BUNDLE" {
            put(&mut out, line);
        }
    }
    // Some forwarded extensions have values of more than 16 bytes.
    if !read.session.has(MIXED) {
        put(&mut out, "a=extmap-allow-mixed");
    }
    for (index, section) in read.media.iter().enumerate() {
        let Some(OfferedLine {
            offered_formats,
            is_refused,
        }) = lines.get(index)
        else {
            section.lines.iter().for_each(|line| put(&mut out, line));
            continue;
        };
        let first = section.lines.first().copied().unwrap_or_default();
        let fields = first.split_ascii_whitespace().take(FIELDS_BEFORE_FORMATS);
        let fields: Vec<&str> = fields.collect();
        let (pts, formats) = formats(offered_formats);
        put(&mut out, &format!("{}{pts}", fields.join(" ")));
        for line in section.lines.iter().skip(1) {
            let is_direction = matches!(*line, "a=sendonly" | "a=sendrecv" | "a=recvonly");
            match *line {
                _ if is_of_formats(line) => {}
                _ if is_direction && *is_refused => put(&mut out, "a=inactive"),
                line => put(&mut out, line),
            }
        }
        for (kind, id) in carried_on(first) {
            put(&mut out, &format!("a=extmap:{id} {}", kind.uri()));
        }
        out += &formats;
    }
    for section in forgotten.iter().skip(read.media.len()) {
        out += section;
    }
    out
}

/// An m-line with port 0 that only keeps the position of mid `mid`.
pub(in crate::peer) fn forgotten(mid: &str, offered_formats: &OfferedFormats) -> String {
    let is_audio = offered_formats
        .codecs
        .iter()
        .any(|params| params.spec().codec.is_audio());
    let kind = if is_audio { "audio" } else { "video" };
    let (pts, formats) = formats(offered_formats);
    format!(
        "m={kind} 0 UDP/TLS/RTP/SAVPF{pts}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=inactive\r\n{formats}"
    )
}

/// Kinds of forwarded header extensions, with identifiers in our offers that the session library does not use.
const CARRIED: [(ExtensionKind, u8); EXTENSION_KINDS] = [
    (ExtensionKind::AbsoluteCaptureTime, 5),
    (ExtensionKind::PlayoutDelay, 6),
    (ExtensionKind::DependencyDescriptor, 7),
    (ExtensionKind::LayersAllocation, 8),
];

/// Forwarded extensions for an m-line whose first line is `first`.
fn carried_on(first: &str) -> impl Iterator<Item = (ExtensionKind, u8)> + use<> {
    let is_video = first.starts_with("m=video");
    let all = CARRIED.into_iter();
    all.filter(move |(kind, _)| is_video || kind.is_of_audio())
}

/// Forwarded extensions that the client accepted in m-line `answered` of its answer; `session` is the session part.
pub(super) fn carried_by(answered: &Section<'_>, session: &Section<'_>) -> CarriedIds {
    let mut ids = CarriedIds::none(answered.has(MIXED) || session.has(MIXED));
    let first = answered.lines.first().copied().unwrap_or_default();
    for value in answered.values("extmap") {
        let mut fields = value.split_ascii_whitespace();
        let (Some(id), Some(uri)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (id, direction) = id.split_once('/').unwrap_or((id, "sendrecv"));
        let receives = matches!(direction, "sendrecv" | "recvonly");
        // RFC 8285 section 6: an identifier has the same meaning in the answer and in the offer.
        let is_offered =
            |offered: &(ExtensionKind, u8)| offered.0.uri() == uri && id.parse() == Ok(offered.1);
        if let Some((kind, id)) = carried_on(first).find(is_offered).filter(|_| receives) {
            ids.set(kind, id);
        }
    }
    ids
}

/// Number of fields of an m-line before its formats: media, port, protocol (RFC 8866 section 5.14).
const FIELDS_BEFORE_FORMATS: usize = 3;

pub(super) fn is_of_formats(line: &str) -> bool {
    ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"]
        .iter()
        .any(|name| line.starts_with(name))
}

/// Payload types and attribute lines of `offered_formats`. A codec comes before its redundancy, because some clients
/// answer with the first payload type only.
fn formats(offered_formats: &OfferedFormats) -> (String, String) {
    let (mut pts, mut lines) = (String::new(), String::new());
    for params in &offered_formats.codecs {
        put_codec(&mut lines, params, offered_formats.is_stereo).expect("a string takes all");
        for pt in [Some(params.pt()), params.resend(), params.red()]
            .into_iter()
            .flatten()
        {
            pts += &format!(" {pt}");
        }
    }
    (pts, lines)
}

fn put_codec(out: &mut String, params: &PayloadParams, is_stereo: bool) -> std::fmt::Result {
    let (pt, spec) = (params.pt(), params.spec());
    let clock = match spec.channels {
        Some(channels) => format!("{}/{channels}", spec.clock_rate),
        None => spec.clock_rate.to_string(),
    };
    write!(out, "a=rtpmap:{pt} {}/{clock}\r\n", spec.codec)?;
    let feedback: &[&str] = match spec.codec.is_video() {
        true => &["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"],
        false => &["transport-cc"],
    };
    for feedback in feedback {
        write!(out, "a=rtcp-fb:{pt} {feedback}\r\n")?;
    }
    let mut parameters = spec.format.to_string();
    // RFC 7587 section 6.1: `sprop-stereo` is about audio that we send. `stereo` is about audio that the client may
    // send, although the client sends none here.
    if spec.codec == Codec::Opus && is_stereo {
        parameters += ";stereo=1;sprop-stereo=1";
    }
    if !parameters.is_empty() {
        write!(out, "a=fmtp:{pt} {parameters}\r\n")?;
    }
    if let Some(resend) = params.resend() {
        write!(
            out,
            "a=rtpmap:{resend} rtx/{clock}\r\na=fmtp:{resend} apt={pt}\r\n"
        )?;
    }
    if let Some(red) = params.red() {
        write!(
            out,
            "a=rtpmap:{red} red/{clock}\r\na=fmtp:{red} {pt}/{pt}\r\n"
        )?;
    }
    Ok(())
}

fn put(out: &mut String, line: &str) {
    out.push_str(line);
    out.push_str("\r\n");
}
