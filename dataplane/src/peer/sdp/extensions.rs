//! Negotiation of RTP header extensions (RFC 8285): the subset of a client's offer that we use.

use super::read::Section;
use crate::media::codec::MediaKind;
use crate::media::extensions::ExtensionKind;

/// Number of extension ids that the session library can map, with 0 (padding). Ids above 14 need the two-byte form (RFC
/// 8285 section 4.3).
pub(super) const EXTENSION_IDS: usize = 17;

/// Attribute that allows the two-byte form, for values of more than 16 bytes (RFC 8285 section 6).
pub(super) const MIXED: &str = "extmap-allow-mixed";

pub(super) const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
pub(super) const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";

/// Supported extensions: URI, for audio, for video.
const KNOWN: [(&str, bool, bool); 7] = [
    ("urn:ietf:params:rtp-hdrext:ssrc-audio-level", true, false),
    (
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
        true,
        true,
    ),
    (
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
        true,
        true,
    ),
    (MID, true, true),
    (RID, true, true),
    (
        "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
        true,
        true,
    ),
    ("urn:3gpp:video-orientation", false, true),
];

/// The kind of an extension that is forwarded; `None` for other extensions. The session library does not see forwarded
/// extensions.
pub(in crate::peer) fn carried(uri: &str, kind: MediaKind) -> Option<ExtensionKind> {
    let mut all = ExtensionKind::ALL.into_iter();
    let known = all.find(|carried| carried.uri() == uri);
    known.filter(|carried| kind.is_video() || carried.is_of_audio())
}

/// URI of each extension id, valid in the whole BUNDLE group (RFC 8843 section 9).
pub(in crate::peer) type Extensions = [Option<&'static str>; EXTENSION_IDS];

/// A supported `a=extmap` attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extension {
    pub(super) id: u8,
    pub(super) uri: &'static str,
    /// True if the client only sends the extension; the answer says recvonly (RFC 8285 section 6).
    pub(super) is_send_only: bool,
}

/// The supported extensions of an m-line. An extension whose id has another meaning in `negotiated` is left out; new ones
/// are added to `negotiated`.
pub(super) fn read(
    kind: MediaKind,
    (session, section): (&Section<'_>, &Section<'_>),
    negotiated: &mut Extensions,
) -> Vec<Extension> {
    let mut extensions: Vec<Extension> = Vec::new();
    let values = section.values("extmap").chain(session.values("extmap"));
    for extension in values.filter_map(|value| of_use(value, kind)) {
        let Extension { id, uri, .. } = extension;
        let is_known = extensions
            .iter()
            .any(|known| known.id == id || known.uri == uri);
        let mapped = negotiated
            .iter()
            .position(|negotiated| *negotiated == Some(uri));
        let is_free = negotiated[usize::from(id)].is_none() && mapped.is_none();
        if !is_known && (is_free || mapped == Some(usize::from(id))) {
            negotiated[usize::from(id)] = Some(uri);
            extensions.push(extension);
        }
    }
    extensions
}

/// Parses `id[/direction] uri [attributes]`. Extensions that the client only receives are left out, because a publish
/// session sends no media.
fn of_use(value: &str, kind: MediaKind) -> Option<Extension> {
    let mut fields = value.split_ascii_whitespace();
    let (id, uri) = (fields.next()?, fields.next()?);
    let (id, direction) = id.split_once('/').unwrap_or((id, "sendrecv"));
    let is_send_only = match direction {
        "sendrecv" => false,
        "sendonly" => true,
        _ => return None,
    };
    let id: u8 = id.parse().ok()?;
    let known = KNOWN.iter().find(|(known, of_audio, of_video)| {
        let is_of_kind = if kind.is_audio() {
            *of_audio
        } else {
            *of_video
        };
        *known == uri && is_of_kind
    });
    let known = known.map(|(known, _, _)| *known);
    let uri = known.or_else(|| carried(uri, kind).map(ExtensionKind::uri))?;
    let is_mappable = (1..EXTENSION_IDS).contains(&usize::from(id));
    is_mappable.then_some(Extension {
        id,
        uri,
        is_send_only,
    })
}

#[cfg(test)]
mod tests {
    use super::super::read::Description;
    use super::*;

    #[test]
    fn what_contradicts_the_bundle_or_is_of_no_use_is_left_out() {
        let sdp = format!(
            "v=0\r\na=extmap:9 urn:3gpp:video-orientation\r\nm=video 9 X 96\r\na=extmap:15/sendonly {MID}\r\n\
             a=extmap:2/recvonly {RID}\r\na=extmap:3 urn:x:unknown\r\na=extmap:15 urn:3gpp:video-orientation\r\n\
             a=extmap:200 {RID}\r\nm=video 9 X 96\r\na=extmap:4 {MID}\r\na=extmap:5 {RID} with attributes\r\n"
        );
        let read = Description::read(&sdp);
        let mut negotiated = Extensions::default();
        let mut of = |index: usize| {
            let sections = (&read.session, &read.media[index]);
            let read = super::read(MediaKind::Video, sections, &mut negotiated);
            read.iter()
                .map(|e| (e.id, e.uri, e.is_send_only))
                .collect::<Vec<_>>()
        };
        let orientation = (9, "urn:3gpp:video-orientation", false);
        assert_eq!(of(0), [(15, MID, true), orientation]);
        assert_eq!(
            of(1),
            [(5, RID, false), orientation],
            "the mid has id 15 in the group"
        );
    }
}
