//! The answer to a client's offer: one m-line for each offered m-line, in order (RFC 3264 section 6), with only values
//! that the client offered.

use std::collections::{HashMap, HashSet};

use str0m::Rtc;
use str0m::format::PayloadParams;
use str0m::media::Mid;

use super::extensions::{Extension, MID, MIXED};
use super::formats::{Format, Meaning, PAYLOAD_TYPES};
use super::normalise::FEEDBACK;
use super::offer::Offer;
use super::read::{Description, Section};
use super::verdict::{Line, Taken, Verdict};
use crate::media::track::LayerSpec;
use crate::peer::codecs;

/// Result of the negotiation of one track.
#[derive(Debug, Clone)]
pub(in crate::peer) struct Negotiated {
    /// Codecs that the publisher may send, in its order of preference.
    pub(in crate::peer) codecs: Vec<PayloadParams>,
    /// Negotiated simulcast layers, in the declared order.
    pub(in crate::peer) layers: Vec<LayerSpec>,
    /// True when the track may have two audio channels.
    pub(in crate::peer) is_stereo: bool,
}

/// For each payload type, the m-line that it identifies, as the session library's mid.
pub(in crate::peer) type PayloadRoutes = [Option<Mid>; PAYLOAD_TYPES];

/// An accepted m-line of the offer, with the formats and codecs of the session library's answer.
struct Accepted<'o, 'a> {
    taken: &'o Taken<'a>,
    formats: Vec<&'o Format<'a>>,
    codecs: Vec<PayloadParams>,
}

impl<'a> Offer<'a> {
    /// The answer for the client. `written` is the session library's answer to the normalised offer.
    pub(in crate::peer) fn answer(&self, rtc: &Rtc, written: &str) -> String {
        let written = Description::read(written);
        let accepted: Vec<_> = self.lines.iter().map(|line| accepted(line, rtc)).collect();
        let tagged = self.tagged(&accepted);
        let mut out = self.session_lines(&written.session, &accepted);
        let transport = written.media.first();
        for (index, (line, accepted)) in self.lines.iter().zip(&accepted).enumerate() {
            let sections = (&self.description.session, &self.description.media[index]);
            match (accepted, transport) {
                (Some(accepted), Some(transport)) => {
                    let is_tagged = tagged == Some(index);
                    out += &accepted.write(line, sections, (transport, is_tagged));
                }
                (None, _) | (_, None) => out += &rejection(line),
            }
        }
        out
    }

    /// The negotiated track of m-line `mid`; `None` when no media can be received on it.
    pub(in crate::peer) fn negotiated(
        &self,
        rtc: &Rtc,
        mid: &str,
        declared: &[LayerSpec],
    ) -> Option<Negotiated> {
        let mut lines = self.lines.iter().enumerate();
        let (_, line) = lines.find(|(index, line)| match line.mid {
            Some(known) => known == mid,
            None => index.to_string() == mid,
        })?;
        let accepted = accepted(line, rtc)?;
        let taken = accepted.taken;
        let is_sent = |layer: &&LayerSpec| taken.layers.iter().any(|sent| sent.rid == layer.rid);
        let is_stereo = accepted.formats.iter().any(|format| format.is_stereo());
        taken.direction.sends().then(|| Negotiated {
            layers: declared.iter().filter(is_sent).cloned().collect(),
            codecs: accepted.codecs,
            is_stereo,
        })
    }

    /// For each payload type, the m-line that it identifies if the offer has neither SSRCs nor the mid extension (RFC
    /// 8843 section 9.2).
    pub(in crate::peer) fn payload_routes(&self, rtc: &Rtc) -> PayloadRoutes {
        let mut uses = [0_usize; PAYLOAD_TYPES];
        let mut routes: PayloadRoutes = [None; PAYLOAD_TYPES];
        for (line, section) in self.lines.iter().zip(&self.description.media) {
            let Some(Accepted { taken, codecs, .. }) = accepted(line, rtc) else {
                continue;
            };
            let has_mids = taken
                .extensions
                .iter()
                .any(|extension| extension.uri == MID);
            for params in &codecs {
                let pt = usize::from(*params.pt());
                uses[pt] += 1;
                routes[pt] = (!has_mids && !section.has("ssrc")).then_some(taken.name);
            }
        }
        for (route, uses) in routes.iter_mut().zip(uses) {
            *route = route.filter(|_| uses == 1);
        }
        routes
    }

    fn session_lines(
        &self,
        written: &Section<'_>,
        accepted: &[Option<Accepted<'_, 'a>>],
    ) -> String {
        let mut out = String::new();
        let is_kept = |line: &&&str| !line.starts_with("a=") || **line == "a=ice-lite";
        for line in written.lines.iter().filter(is_kept) {
            put(&mut out, line);
        }
        let lines = self.lines.iter().zip(accepted);
        let accepted = lines.filter(|(_, accepted)| accepted.is_some());
        let accepted: HashSet<&str> = accepted.filter_map(|(line, _)| line.mid).collect();
        let is_accepted = |mid: &&str| accepted.contains(mid);
        for bundle in self.description.bundles() {
            let mids: Vec<&str> = bundle.into_iter().filter(is_accepted).collect();
            if !mids.is_empty() {
                put(&mut out, &format!("a=group:BUNDLE {}", mids.join(" ")));
            }
        }
        if self.description.session.has(MIXED) {
            put(&mut out, "a=extmap-allow-mixed");
        }
        out
    }

    /// The m-line with the transport of the BUNDLE group: the first accepted one of the group (RFC 8843 section 7.3.1).
    fn tagged(&self, accepted: &[Option<Accepted<'_, 'a>>]) -> Option<usize> {
        let is_accepted = |index: &usize| accepted[*index].is_some();
        let bundles = self.description.bundles();
        let lines = self.lines.iter().enumerate();
        let index_by_mid = lines.filter_map(|(index, line)| Some((line.mid?, index)));
        let index_by_mid: HashMap<&str, usize> = index_by_mid.collect();
        let mut bundled = bundles
            .iter()
            .flatten()
            .filter_map(|mid| index_by_mid.get(mid).copied());
        let tagged = bundled.find(is_accepted);
        tagged.or_else(|| (0..accepted.len()).find(is_accepted))
    }
}

/// The accepted m-line; `None` if it is rejected.
fn accepted<'o, 'a>(line: &'o Line<'a>, rtc: &Rtc) -> Option<Accepted<'o, 'a>> {
    let Verdict::Taken(taken) = &line.verdict else {
        return None;
    };
    let config = rtc.codec_config();
    let params = taken
        .formats
        .iter()
        .filter_map(|format| match format.meaning {
            Meaning::Codec(spec) => codecs::negotiated(config, format.pt, spec),
            Meaning::Resend(_) | Meaning::Redundancy(_) | Meaning::Unknown => None,
        });
    let codecs: Vec<PayloadParams> = params.collect();
    let of = |pt: u8| codecs.iter().find(|params| *params.pt() == pt);
    let is_accepted = |format: &&Format<'a>| match format.meaning {
        Meaning::Codec(_) => of(format.pt).is_some(),
        Meaning::Resend(primary) => {
            let resend = of(primary).and_then(|params| params.resend());
            resend.is_some_and(|pt| *pt == format.pt)
        }
        Meaning::Redundancy(primary) => {
            let red = of(primary).and_then(|params| params.red());
            red.is_some_and(|pt| *pt == format.pt)
        }
        Meaning::Unknown => false,
    };
    let formats = taken.formats.iter().filter(is_accepted).collect();
    (!codecs.is_empty()).then_some(Accepted {
        taken,
        formats,
        codecs,
    })
}

impl<'a> Accepted<'_, 'a> {
    fn write(
        &self,
        line: &Line<'a>,
        (session, section): (&Section<'a>, &Section<'a>),
        (transport, is_tagged): (&Section<'_>, bool),
    ) -> String {
        let taken = self.taken;
        let pts: Vec<u8> = self.formats.iter().map(|format| format.pt).collect();
        let listed: Vec<String> = pts.iter().map(u8::to_string).collect();
        let options = session
            .values("ice-options")
            .chain(section.values("ice-options"));
        let mut options = options.flat_map(str::split_ascii_whitespace);
        let is_trickled = options.any(|option| option == "trickle");
        let (media, protocol) = (line.media.media, line.media.protocol);
        let mut out = format!(
            "m={media} 9 {protocol} {}\r\nc=IN IP4 0.0.0.0\r\n",
            listed.join(" ")
        );
        for line in transport
            .lines
            .iter()
            .filter(|line| is_transport(line, is_tagged))
        {
            put(&mut out, line);
        }
        if is_trickled {
            put(&mut out, "a=ice-options:trickle");
        }
        if let Some(mid) = line.mid {
            put(&mut out, &format!("a=mid:{mid}"));
        }
        for extension in &taken.extensions {
            put(&mut out, &extmap(extension));
        }
        if section.has(MIXED) {
            put(&mut out, "a=extmap-allow-mixed");
        }
        put(
            &mut out,
            if taken.direction.sends() {
                "a=recvonly"
            } else {
                "a=inactive"
            },
        );
        // RFC 8858 section 4: an offer of rtcp-mux-only is answered with rtcp-mux.
        if section.has("rtcp-mux") || section.has("rtcp-mux-only") {
            put(&mut out, "a=rtcp-mux");
        }
        for format in &self.formats {
            write_format(&mut out, format);
        }
        for layer in &taken.layers {
            out += &layer.answer(&pts);
        }
        if !taken.layers.is_empty() && section.has("simulcast") {
            let rids: Vec<&str> = taken.layers.iter().map(|layer| layer.rid).collect();
            put(&mut out, &format!("a=simulcast:recv {}", rids.join(";")));
        }
        out
    }
}

/// True for lines of the session library's m-line about our transport. Candidates are written in the tagged m-line only
/// (RFC 8843 section 7.3.1).
fn is_transport(line: &str, is_tagged: bool) -> bool {
    const OURS: [&str; 4] = ["a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "a=setup:"];
    let is_ours = OURS.iter().any(|name| line.starts_with(name));
    is_ours || (is_tagged && line.starts_with("a=candidate:"))
}

/// An `a=extmap` line with the direction reversed (RFC 8285 section 6).
fn extmap(extension: &Extension) -> String {
    let Extension {
        id,
        uri,
        is_send_only,
    } = extension;
    let direction = if *is_send_only { "/recvonly" } else { "" };
    format!("a=extmap:{id}{direction} {uri}")
}

fn write_format(out: &mut String, format: &Format<'_>) {
    let Format { pt, rtpmap, .. } = format;
    put(out, &format!("a=rtpmap:{pt} {rtpmap}"));
    if matches!(format.meaning, Meaning::Codec(_)) {
        for feedback in FEEDBACK
            .iter()
            .filter(|known| format.feedback.contains(known))
        {
            put(out, &format!("a=rtcp-fb:{pt} {feedback}"));
        }
    }
    let parameters = parameters(format);
    if !parameters.is_empty() {
        put(out, &format!("a=fmtp:{pt} {parameters}"));
    }
}

/// The offered parameters that apply in both directions. Parameters of the client's receiver are left out, because we
/// send the client nothing.
fn parameters(format: &Format<'_>) -> String {
    let kept: &[&str] = match (format.meaning, format.name().to_ascii_lowercase().as_str()) {
        (Meaning::Codec(_), "opus") => &["minptime", "useinbandfec"],
        (Meaning::Codec(_), "h264") => &[
            "level-asymmetry-allowed",
            "packetization-mode",
            "profile-level-id",
        ],
        (Meaning::Codec(_), "vp9") => &["profile-id"],
        (Meaning::Codec(_), "av1") => &["profile", "level-idx", "tier"],
        (Meaning::Resend(_), _) => &["apt"],
        (Meaning::Redundancy(_), _) => {
            return format.fmtp.first().copied().unwrap_or_default().to_owned();
        }
        _ => &[],
    };
    let is_kept = |name: &str| kept.iter().any(|known| known.eq_ignore_ascii_case(name));
    let offered = format.parameters().filter(|(name, _)| is_kept(name));
    let mut written: Vec<String> = offered
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    // RFC 7587 section 6.1: a client sends two channels only to a receiver that requests them.
    let is_opus = matches!(format.meaning, Meaning::Codec(spec) if spec.codec.is_audio());
    if is_opus && format.is_stereo() {
        written.push("stereo=1".into());
    }
    written.join(";")
}

/// A rejected m-line: port 0, with its mid.
fn rejection(line: &Line<'_>) -> String {
    let media = &line.media;
    let fields = [media.media, "0", media.protocol];
    let fields: Vec<&str> = fields
        .into_iter()
        .chain(media.formats.iter().copied())
        .collect();
    let mut out = format!(
        "m={}\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\n",
        fields.join(" ")
    );
    if let Some(mid) = line.mid {
        put(&mut out, &format!("a=mid:{mid}"));
    }
    out
}

fn put(out: &mut String, line: &str) {
    out.push_str(line);
    out.push_str("\r\n");
}
