//! Simulcast layers of an offer (RFC 8851, RFC 8853) that a track can use.

use std::collections::HashSet;

use str0m::media::Rid;

use super::formats::payload_type;
use super::read::Section;
use crate::limits::MAX_LAYERS;
use crate::media::track::LayerSpec;

/// An `a=rid` line with direction send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::peer) struct Layer<'a> {
    pub(in crate::peer) rid: &'a str,
    /// Payload types of the layer; `None`: all of the m-line.
    pts: Option<Vec<u8>>,
    restrictions: Vec<&'a str>,
}

/// The layers of an m-line that are in `declared`, in the order of the offer. Of alternative rids, the first is used.
pub(super) fn read<'a>(section: &Section<'a>, declared: &[LayerSpec]) -> Vec<Layer<'a>> {
    if declared.is_empty() {
        return Vec::new();
    }
    let sent = sent_rids(section);
    let is_wanted = |layer: &Layer<'_>| {
        let is_sent = sent.as_ref().is_none_or(|sent| sent.contains(layer.rid));
        is_sent && declared.iter().any(|declared| declared.rid == layer.rid)
    };
    let mut layers: Vec<Layer<'a>> = Vec::new();
    for layer in section.values("rid").filter_map(layer).filter(is_wanted) {
        // The session library stores 8 bytes of a rid, so rids with the same first 8 bytes cannot be distinguished.
        let name = Rid::from(layer.rid);
        let is_new = layers.iter().all(|known| Rid::from(known.rid) != name);
        if is_new && layers.len() < MAX_LAYERS {
            layers.push(layer);
        }
    }
    layers
}

/// The rids of `a=simulcast:send`; `None` without simulcast.
fn sent_rids<'a>(section: &Section<'a>) -> Option<HashSet<&'a str>> {
    let mut fields = section.value("simulcast")?.split_ascii_whitespace();
    let list = fields
        .find(|field| *field == "send")
        .and_then(|_| fields.next());
    let first = |alternatives: &'a str| {
        let first = alternatives.split(',').next().unwrap_or_default();
        first.trim_start_matches('~')
    };
    Some(
        list.into_iter()
            .flat_map(|list| list.split(';'))
            .map(first)
            .collect(),
    )
}

/// Parses a layer: `id send [pt=1,2;name=value;...]`.
fn layer(value: &str) -> Option<Layer<'_>> {
    let (rid, rest) = value.split_once(|c: char| c.is_ascii_whitespace())?;
    let rest = rest.trim_ascii();
    let (direction, parameters) = rest
        .split_once(|c: char| c.is_ascii_whitespace())
        .unwrap_or((rest, ""));
    if direction != "send" || !is_rid(rid) {
        return None;
    }
    let parameters = parameters.split(';').map(str::trim_ascii);
    let (mut pts, mut restrictions) = (None, Vec::new());
    for parameter in parameters.filter(|parameter| !parameter.is_empty()) {
        match parameter.strip_prefix("pt=") {
            Some(list) => pts = Some(list.split(',').filter_map(payload_type).collect()),
            None => restrictions.push(parameter),
        }
    }
    Some(Layer {
        rid,
        pts,
        restrictions,
    })
}

/// RFC 8852 section 3 allows letters and digits; the grammar of RFC 8851 section 10 also '-' and '_'.
pub(crate) fn is_rid(rid: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !rid.is_empty() && rid.bytes().all(is_allowed)
}

impl Layer<'_> {
    /// True if the layer can use at least one of the `accepted` payload types.
    pub(super) fn is_possible(&self, accepted: &[u8]) -> bool {
        let is_accepted = |pts: &Vec<u8>| pts.iter().any(|pt| accepted.contains(pt));
        self.pts.as_ref().is_none_or(is_accepted)
    }

    /// The line for the answer: the client's restrictions with direction recv (RFC 8851 section 6).
    pub(super) fn answer(&self, accepted: &[u8]) -> String {
        let pts = self.pts.iter().map(|pts| {
            let kept = pts.iter().filter(|pt| accepted.contains(pt));
            let kept: Vec<String> = kept.map(u8::to_string).collect();
            format!("pt={}", kept.join(","))
        });
        let restrictions = self.restrictions.iter().map(|text| (*text).to_owned());
        let parameters: Vec<String> = pts.chain(restrictions).collect();
        let space = if parameters.is_empty() { "" } else { " " };
        format!("a=rid:{} recv{space}{}\r\n", self.rid, parameters.join(";"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::Description;
    use super::*;

    fn layers(lines: &str, declared: &[&str]) -> Vec<String> {
        let sdp = format!("v=0\nm=video 9 X 96\n{lines}");
        let read = Description::read(&sdp);
        let declared: Vec<LayerSpec> = declared
            .iter()
            .map(|rid| LayerSpec {
                rid: (*rid).to_owned(),
                height: 0,
            })
            .collect();
        let layers = super::read(&read.media[0], &declared);
        layers.iter().map(|layer| layer.answer(&[96])).collect()
    }

    #[test]
    fn layers_that_are_declared_and_sent_are_taken_with_what_restricts_them() {
        let offer = "a=rid:hi-1 send pt=96,98;max-width=1280\na=rid:lo send\na=rid:x recv\na=rid:not.one send\n\
                     a=rid:alt send\na=simulcast:recv x send ~hi-1,alt;lo;not.one\n";
        assert_eq!(
            layers(offer, &["lo", "hi-1", "x", "alt", "missing", "not.one"]),
            [
                "a=rid:hi-1 recv pt=96;max-width=1280\r\n",
                "a=rid:lo recv\r\n"
            ]
        );
        assert!(layers(offer, &[]).is_empty());
        let alike =
            "a=rid:quarter01 send\na=rid:quarter02 send\na=simulcast:send quarter01;quarter02\n";
        assert_eq!(
            layers(alike, &["quarter01", "quarter02"]),
            ["a=rid:quarter01 recv\r\n"]
        );
    }
}
