//! Parses a client's offer: decides about each m-line, and writes the offer that the session library reads in its
//! place.
//!
//! The library's parser refuses many legal lines, and a refused line would end the m-line. So the library gets a new
//! offer with only the needed lines (see [`normalise`](super::normalise)).

use std::collections::HashMap;

use str0m::IceCreds;
use str0m::format::PayloadParams;

use super::extensions::{self};
use super::formats::{self, Format, Meaning};
use super::lines::{Lines, SlotState, Use};
use super::normalise;
use super::read::{Description, Direction, MediaLine, Section, named, shortened};
use super::simulcast::{self};
use super::transport::Transport;
use super::verdict::{Line, Taken, Verdict};
use crate::media::codec::MediaKind;
use crate::media::track::{LayerSpec, TrackSpec};
use crate::peer::codecs;
use crate::peer::command::CommandError;

/// A client's offer after parsing.
pub(in crate::peer) struct Offer<'a> {
    pub(super) description: Description<'a>,
    /// Decision about each m-line.
    pub(super) lines: Vec<Line<'a>>,
    pub(super) transport: Transport<'a>,
    /// The offer that the session library reads.
    pub(in crate::peer) normalised: String,
    /// Codecs that have a second payload type, in another m-line than the first.
    pub(in crate::peer) duplicate_codecs: Vec<PayloadParams>,
    /// m-lines, payload types and extensions to keep if the offer is accepted.
    negotiated_lines: Lines,
}

/// Number of codec names shown in an error.
const NAMES_SHOWN: usize = 8;

/// State while an offer is parsed.
struct Reader<'o, 'a> {
    description: &'o Description<'a>,
    lines: Lines,
    tracks: &'o [TrackSpec],
    duplicate_codecs: Vec<PayloadParams>,
    /// True for the first offer: then codecs with a second payload type can still be added to the library's list.
    is_first: bool,
}

impl<'a> Offer<'a> {
    /// Parses `sdp`, an offer of a session with the m-lines `lines`. `tracks` are the declared tracks.
    pub(in crate::peer) fn read(
        sdp: &'a str,
        lines: &Lines,
        tracks: &[TrackSpec],
    ) -> Result<Self, CommandError> {
        let description = Description::read(sdp);
        let media_lines = (0..).zip(&description.media);
        let media_lines = media_lines.map(|(index, section)| section.media_line(index));
        let media_lines = media_lines.collect::<Result<Vec<_>, _>>()?;
        let mids = mids(&description)?;
        check_tracks(tracks, &mids, &media_lines)?;
        let bundles = (0..).zip(description.bundles());
        let in_bundle =
            |(bundle, mids): (usize, Vec<&'a str>)| mids.into_iter().map(move |mid| (mid, bundle));
        let bundle_by_mid: HashMap<&str, usize> = bundles.flat_map(in_bundle).collect();
        let mut reader = Reader {
            description: &description,
            is_first: lines.is_empty(),
            lines: lines.clone(),
            tracks,
            duplicate_codecs: Vec::new(),
        };
        reader.free_missing(&mids);
        let mut lines = Vec::with_capacity(media_lines.len());
        // The first accepted m-line has the transport of the BUNDLE group.
        let mut first: Option<usize> = None;
        for (index, media) in media_lines.into_iter().enumerate() {
            let apart = || apart(first?, &mids[index], &mids, &bundle_by_mid);
            let refusal = refusal(&media, &description.media[index]).or_else(apart);
            let verdict = match refusal {
                Some(why) => Verdict::Rejected(why),
                None => reader.take(index, &media, &mids[index]),
            };
            if matches!(verdict, Verdict::Taken(_)) {
                first.get_or_insert(index);
            }
            let mid = mid_of(&description.media[index]);
            lines.push(Line {
                media,
                mid,
                verdict,
            });
        }
        let Reader {
            lines: mut negotiated_lines,
            duplicate_codecs,
            ..
        } = reader;
        if negotiated_lines.slots.is_empty() {
            return Err(nothing_to_use(&lines, &mids));
        }
        let transport = Transport::read(&transport_sections(&description, &lines))?;
        let normalised =
            normalise::offer((&description, &lines), &transport, &mut negotiated_lines);
        Ok(Self {
            description,
            lines,
            transport,
            normalised,
            duplicate_codecs,
            negotiated_lines,
        })
    }

    /// The client's ICE credentials.
    pub(in crate::peer) fn credentials(&self) -> IceCreds {
        self.transport.credentials()
    }

    /// The m-lines of the session after the offer is accepted, with ended ones marked as free.
    pub(in crate::peer) fn into_lines(mut self) -> Lines {
        for slot in &mut self.negotiated_lines.slots {
            if slot.state == SlotState::Ending {
                slot.state = SlotState::Free;
            }
        }
        self.negotiated_lines
    }
}

impl<'a> Reader<'_, 'a> {
    /// Marks slots of mids that are no longer in the offer.
    fn free_missing(&mut self, mids: &[String]) {
        for slot in &mut self.lines.slots {
            if slot.state == SlotState::Live && !mids.contains(&slot.mid) {
                slot.state = SlotState::Ending;
            }
        }
    }

    /// Decides about an m-line that `refusal` and `apart` permit: it is rejected only for its media kind or its codecs.
    fn take(&mut self, index: usize, line: &MediaLine<'a>, mid: &str) -> Verdict<'a> {
        let section = &self.description.media[index];
        let Some(kind) = kind_of(line) else {
            return Verdict::Rejected("it is neither audio nor video".into());
        };
        let known = self.lines.place_of(mid);
        if known.is_some_and(|place| self.lines.slots[place].kind != kind) {
            return Verdict::Rejected(format!("it becomes {kind} under the same mid"));
        }
        let formats = formats::read(line, section);
        let names = formats.iter().map(|format| shortened(format.name()));
        let names = names.filter(|name| !name.is_empty()).take(NAMES_SHOWN);
        let names = names.collect::<Vec<_>>().join(", ");
        let formats = self.usable(formats, kind);
        if formats.is_empty() {
            let why = format!("none of its codecs ({names}) can be used");
            return Verdict::Rejected(why);
        }
        let session = &self.description.session;
        let negotiated = &mut self.lines.extensions;
        let extensions = extensions::read(kind, (session, section), negotiated);
        let place = known.unwrap_or_else(|| self.lines.take(mid, kind));
        let has = |uri| extensions.iter().any(|extension| extension.uri == uri);
        let pts: Vec<u8> = formats.iter().map(|format| format.pt).collect();
        let layers = match has(extensions::MID) && has(extensions::RID) {
            true => simulcast::read(section, declared(self.tracks, mid)),
            false => Vec::new(),
        };
        let layers = layers.into_iter().filter(|layer| layer.is_possible(&pts));
        Verdict::Taken(Box::new(Taken {
            name: self.lines.slots[place].name,
            direction: direction(session, section),
            layers: layers.collect(),
            formats,
            extensions,
        }))
    }

    /// The formats that the session can use: supported codecs with their retransmission and redundancy formats. Each
    /// codec is used once, with the payload type that it has in the BUNDLE group.
    fn usable(&mut self, formats: Vec<Format<'a>>, kind: MediaKind) -> Vec<Format<'a>> {
        let mut codec_by_pt: HashMap<u8, u8> = HashMap::new();
        for format in &formats {
            let Meaning::Codec(spec) = format.meaning else {
                continue;
            };
            let codec =
                codecs::supported(spec).filter(|_| spec.codec.is_audio() == kind.is_audio());
            let Some(codec) = codec.filter(|codec| !codec_by_pt.values().any(|had| had == codec))
            else {
                continue;
            };
            let types = &mut self.lines.payload_types;
            let is_known = types.of(codec).any(|pt| pt == format.pt);
            let is_twin = !is_known && types.of(codec).next().is_some();
            if !types.allow(format.pt, Use::Codec(codec)) || (is_twin && !self.is_first) {
                continue;
            }
            types.fix_meaning(format.pt, Use::Codec(codec));
            codec_by_pt.insert(format.pt, codec);
            if is_twin {
                let resends = |other: &&Format<'_>| other.meaning == Meaning::Resend(format.pt);
                let resend = formats.iter().find(resends).map(|resend| resend.pt.into());
                self.duplicate_codecs
                    .push(PayloadParams::new(format.pt.into(), resend, spec));
            }
        }
        let mut is_usable = |format: &Format<'a>| {
            let (primary, used): (u8, fn(u8) -> Use) = match format.meaning {
                Meaning::Codec(_) => return codec_by_pt.contains_key(&format.pt),
                Meaning::Resend(primary) => (primary, Use::Resend),
                Meaning::Redundancy(primary) => (primary, Use::Redundancy),
                Meaning::Unknown => return false,
            };
            let used = used(primary);
            let types = &mut self.lines.payload_types;
            let is_usable = codec_by_pt.contains_key(&primary) && types.allow(format.pt, used);
            if is_usable {
                types.fix_meaning(format.pt, used);
            }
            is_usable
        };
        formats
            .into_iter()
            .filter(|format| is_usable(format))
            .collect()
    }
}

/// The mid of each m-line; without a mid, its number.
fn mids(description: &Description<'_>) -> Result<Vec<String>, CommandError> {
    let mut index_by_mid: HashMap<String, usize> = HashMap::new();
    let mut mids = Vec::with_capacity(description.media.len());
    for (index, section) in description.media.iter().enumerate() {
        let mid = match mid_of(section) {
            Some(mid) => mid.to_owned(),
            None => index.to_string(),
        };
        if let Some(other) = index_by_mid.insert(mid.clone(), index) {
            let line = named(index, &mid);
            return Err(CommandError::BadSdp(format!(
                "{line} has the mid of m-line {other}"
            )));
        }
        mids.push(mid);
    }
    Ok(mids)
}

fn mid_of<'a>(section: &Section<'a>) -> Option<&'a str> {
    section.value("mid").filter(|mid| !mid.is_empty())
}

fn check_tracks(
    tracks: &[TrackSpec],
    mids: &[String],
    lines: &[MediaLine<'_>],
) -> Result<(), CommandError> {
    let mut track_by_mid: HashMap<&str, &str> = HashMap::new();
    for TrackSpec { id, mid, kind, .. } in tracks {
        let bad = |said: String| Err(CommandError::BadSdp(format!("track '{id}' {said}")));
        if let Some(other) = track_by_mid.insert(mid, id) {
            return bad(format!(
                "names mid '{mid}', which is that of track '{other}'"
            ));
        }
        let Some(index) = mids.iter().position(|known| known == mid) else {
            return bad(format!("names mid '{mid}', which the offer lacks"));
        };
        let media = shortened(lines[index].media);
        if kind_of(&lines[index]) != Some(*kind) {
            return bad(format!("is {kind}, and {} is {media}", named(index, mid)));
        }
    }
    Ok(())
}

/// The reason why m-line `mid` cannot share the transport of m-line `first`, if there is one.
fn apart(
    first: usize,
    mid: &str,
    mids: &[String],
    bundle_by_mid: &HashMap<&str, usize>,
) -> Option<String> {
    let of = |mid: &str| bundle_by_mid.get(mid);
    let shares = of(mid).is_some() && of(mid) == of(&mids[first]);
    let why = || {
        format!(
            "it is in no BUNDLE group with {}",
            named(first, &mids[first])
        )
    };
    (!shares).then(why)
}

/// The reason to reject an m-line regardless of its codecs, if there is one.
fn refusal(line: &MediaLine<'_>, section: &Section<'_>) -> Option<String> {
    if kind_of(line).is_none() {
        return Some(format!(
            "{} is neither audio nor video",
            shortened(line.media)
        ));
    }
    if !is_rtp(line.protocol) {
        return Some(format!("{} is no profile of RTP", shortened(line.protocol)));
    }
    // RFC 8843 section 6: without bundle-only, port 0 means that the m-line is not used.
    if line.is_port_zero() && !section.has("bundle-only") {
        return Some("it has port 0".to_owned());
    }
    None
}

/// RFC 8829 section 5.1.2: with a fingerprint all these protocols mean DTLS-SRTP. The answer repeats the offered
/// protocol.
fn is_rtp(protocol: &str) -> bool {
    const PROFILES: [&str; 8] = [
        "UDP/TLS/RTP/SAVPF",
        "UDP/TLS/RTP/SAVP",
        "TCP/DTLS/RTP/SAVPF",
        "TCP/DTLS/RTP/SAVP",
        "RTP/SAVPF",
        "RTP/SAVP",
        "RTP/AVPF",
        "RTP/AVP",
    ];
    PROFILES
        .iter()
        .any(|known| known.eq_ignore_ascii_case(protocol))
}

fn kind_of(line: &MediaLine<'_>) -> Option<MediaKind> {
    match line.media.to_ascii_lowercase().as_str() {
        "audio" => Some(MediaKind::Audio),
        "video" => Some(MediaKind::Video),
        _ => None,
    }
}

/// Direction of the m-line, else of the session, else sendrecv (RFC 8866 section 6.7).
fn direction(session: &Section<'_>, section: &Section<'_>) -> Direction {
    let direction = section.direction().or_else(|| session.direction());
    direction.unwrap_or(Direction::SendRecv)
}

fn declared<'t>(tracks: &'t [TrackSpec], mid: &str) -> &'t [LayerSpec] {
    let track = tracks.iter().find(|track| track.mid == mid);
    track.map_or(&[], |track| &track.layers)
}

/// Sections that may contain the transport, in order: accepted m-lines, the session, other m-lines (one of which may be
/// tagged, RFC 8843 section 7.1.3).
fn transport_sections<'o, 'a>(
    description: &'o Description<'a>,
    lines: &[Line<'a>],
) -> Vec<&'o Section<'a>> {
    let is_taken = |line: &Line<'_>| matches!(line.verdict, Verdict::Taken(_));
    let of = |taken: bool| {
        let sections = description.media.iter().zip(lines);
        sections
            .filter(move |(_, line)| is_taken(line) == taken)
            .map(|(section, _)| section)
    };
    of(true)
        .chain([&description.session])
        .chain(of(false))
        .collect()
}

fn nothing_to_use(lines: &[Line<'_>], mids: &[String]) -> CommandError {
    let said = lines
        .iter()
        .zip(mids)
        .enumerate()
        .map(|(index, (line, mid))| match &line.verdict {
            Verdict::Rejected(why) => format!("{}: {why}", named(index, mid)),
            Verdict::Taken(_) => named(index, mid),
        });
    let said: Vec<String> = said.collect();
    let said = if said.is_empty() {
        "there is none".into()
    } else {
        said.join("; ")
    };
    CommandError::BadSdp(format!("no m-line can be used: {said}"))
}
