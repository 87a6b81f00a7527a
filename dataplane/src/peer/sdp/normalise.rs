//! Writes the offer that the session library reads in place of the client's: one form for all stacks.
//!
//! The m-lines are those of [`Lines`], in that order, in one BUNDLE group. All m-lines with media are `sendonly`,
//! because a publish session sends no media; this makes the library use the client's payload types.

use std::collections::HashSet;
use std::fmt::Write;

use str0m::format::Codec;

use super::extensions::{Extension, carried};
use super::formats::{Format, Meaning};
use super::lines::{Lines, Slot, SlotState, Written};
use super::read::{Description, Section};
use super::transport::Transport;
use super::verdict::{Line, Taken, Verdict};

/// Writes the offer. Its formats are stored in `negotiated_lines`, for later offers in which an m-line has none.
pub(super) fn offer(
    (description, lines): (&Description<'_>, &[Line<'_>]),
    transport: &Transport<'_>,
    negotiated_lines: &mut Lines,
) -> String {
    let mut ssrcs = HashSet::new();
    let mut section_by_slot: Vec<Option<String>> = vec![None; negotiated_lines.slots.len()];
    for (line, section) in lines.iter().zip(&description.media) {
        let Verdict::Taken(taken) = &line.verdict else {
            continue;
        };
        let place = negotiated_lines
            .slots
            .iter()
            .position(|slot| slot.name == taken.name);
        let place = place.expect("an m-line that is taken has a slot");
        let slot = &mut negotiated_lines.slots[place];
        slot.formats = written(&taken.formats);
        section_by_slot[place] = Some(media(taken, section, slot, &mut ssrcs));
    }
    let mut out = String::from("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE");
    for slot in negotiated_lines
        .slots
        .iter()
        .filter(|slot| slot.state == SlotState::Live)
    {
        write!(out, " {}", &*slot.name).expect("a string takes all");
    }
    out += "\r\n";
    out += &transport.lines();
    for (slot, section) in negotiated_lines.slots.iter().zip(section_by_slot) {
        out += &section.unwrap_or_else(|| without_media(slot));
    }
    out
}

fn media(
    taken: &Taken<'_>,
    section: &Section<'_>,
    slot: &Slot,
    ssrcs: &mut HashSet<u32>,
) -> String {
    let direction = if taken.direction.sends() {
        "sendonly"
    } else {
        "inactive"
    };
    let mut out = first_lines(slot, 9, direction);
    let is_read = |extension: &&Extension| carried(extension.uri, slot.kind).is_none();
    for extension in taken.extensions.iter().filter(is_read) {
        out += &format!("a=extmap:{} {}\r\n", extension.id, extension.uri);
    }
    // The library parses rids of letters and digits only. Without declared rids it accepts layers with any rid.
    let is_plain = |rid: &str| rid.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if taken.layers.iter().all(|layer| is_plain(layer.rid)) {
        for layer in &taken.layers {
            out += &format!("a=rid:{} send\r\n", layer.rid);
        }
    }
    if taken.layers.is_empty()
        && let Some((ssrc, rtx)) = sent_ssrc(section)
        && ssrcs.insert(ssrc)
    {
        out += &format!("a=ssrc:{ssrc} cname:-\r\n");
        if let Some(rtx) = rtx.filter(|rtx| ssrcs.insert(*rtx)) {
            out += &format!("a=ssrc:{rtx} cname:-\r\na=ssrc-group:FID {ssrc} {rtx}\r\n");
        }
    }
    out
}

/// An m-line without media in this offer.
fn without_media(slot: &Slot) -> String {
    let port = if slot.state == SlotState::Live { 9 } else { 0 };
    first_lines(slot, port, "inactive")
}

fn first_lines(slot: &Slot, port: u16, direction: &str) -> String {
    let Written { pts, lines } = &slot.formats;
    let kind = if slot.kind.is_audio() {
        "audio"
    } else {
        "video"
    };
    format!(
        "m={kind} {port} UDP/TLS/RTP/SAVPF{pts}\r\nc=IN IP4 0.0.0.0\r\na=mid:{}\r\na={direction}\r\na=rtcp-mux\r\n{lines}",
        &*slot.name
    )
}

fn written(formats: &[Format<'_>]) -> Written {
    let mut written = Written::default();
    for format in formats {
        let pt = format.pt;
        let (name, fmtp) = match format.meaning {
            Meaning::Codec(spec) => (spec.codec.to_string(), parameters(format)),
            Meaning::Resend(primary) => ("rtx".into(), format!("apt={primary}")),
            Meaning::Redundancy(primary) => ("red".into(), format!("{primary}/{primary}")),
            Meaning::Unknown => continue,
        };
        let is_audio = matches!(format.meaning, Meaning::Redundancy(_))
            || matches!(format.meaning, Meaning::Codec(spec) if spec.codec.is_audio());
        let clock = if is_audio { "48000/2" } else { "90000" };
        let lines = &mut written.lines;
        written.pts += &format!(" {pt}");
        *lines += &format!("a=rtpmap:{pt} {name}/{clock}\r\n");
        if !fmtp.is_empty() {
            *lines += &format!("a=fmtp:{pt} {fmtp}\r\n");
        }
        for feedback in FEEDBACK
            .iter()
            .filter(|known| format.feedback.contains(known))
        {
            *lines += &format!("a=rtcp-fb:{pt} {feedback}\r\n");
        }
    }
    written
}

/// RTCP feedback that we send to publishers.
pub(super) const FEEDBACK: [&str; 5] = ["transport-cc", "nack", "nack pli", "ccm fir", "goog-remb"];

/// Parameters that distinguish formats of one codec.
fn parameters(format: &Format<'_>) -> String {
    let Meaning::Codec(spec) = format.meaning else {
        return String::new();
    };
    let params = spec.format;
    match spec.codec {
        Codec::Opus => "minptime=10;useinbandfec=1".into(),
        Codec::Vp9 => format!("profile-id={}", params.profile_id.unwrap_or(0)),
        Codec::H264 => {
            let mode = params.packetization_mode.unwrap_or(0);
            let profile = params.profile_level_id;
            let profile = profile.map_or(String::new(), |id| format!(";profile-level-id={id:06x}"));
            format!("level-asymmetry-allowed=1;packetization-mode={mode}{profile}")
        }
        _ => String::new(),
    }
}

/// SSRC of an m-line, and SSRC of its retransmissions (RFC 5576, RFC 4588). Only the first SSRC is used: others are
/// simulcast layers without rids, or further sources of Plan B, which has several sources per m-line.
fn sent_ssrc(section: &Section<'_>) -> Option<(u32, Option<u32>)> {
    let group = |name: &'static str| {
        section.values("ssrc-group").filter_map(move |group| {
            let mut fields = group.split_ascii_whitespace();
            let is_named = fields.next() == Some(name);
            is_named.then(|| fields.filter_map(ssrc).collect::<Vec<u32>>())
        })
    };
    let pairs: Vec<Vec<u32>> = group("FID").filter(|pair| pair.len() == 2).collect();
    let repairs = |ssrc: u32| pairs.iter().any(|pair| pair[1] == ssrc);
    let first_layer = group("SIM").find_map(|layers| layers.first().copied());
    let mut listed = section.values("ssrc").filter_map(|line| {
        let number = line.split_ascii_whitespace().next();
        number.and_then(ssrc)
    });
    let first = first_layer.or_else(|| listed.find(|ssrc| !repairs(*ssrc)))?;
    let pair = pairs
        .iter()
        .find(|pair| pair[0] == first && pair[1] != first);
    Some((first, pair.map(|pair| pair[1])))
}

/// Parses an SSRC other than 0, which the library uses for probes.
fn ssrc(text: &str) -> Option<u32> {
    text.parse().ok().filter(|ssrc| *ssrc != 0)
}
