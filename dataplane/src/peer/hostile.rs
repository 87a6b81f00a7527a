//! Properties of the answer to any client offer, for the fuzz target and for the corpus of offers of other stacks.
//!
//! The answer is parsed here by other code than the code that wrote it.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::build::PeerFactory;
use super::command::{Answered, Command, CommandError, CommandReply};
use super::output::{Output, PeerEvent};
use crate::ice::credentials::IceKey;
use crate::io::clock;
use crate::io::entropy::Entropy;
use crate::key::{SessionKey, TrackKey};
use crate::limits::{MAX_LAYERS, MAX_MID_BYTES};
use crate::media::codec::MediaKind;
use crate::media::track::{LayerSpec, TrackSpec};
use crate::srtp::AeadChoice;

/// Result of an offer that was accepted.
#[derive(Debug)]
pub struct Report {
    /// SDP of the answer.
    pub answer: String,
    /// For each m-line of the offer: the direction in the answer, or `0` if it was rejected.
    pub lines: Vec<String>,
    /// mids of the published tracks, with the rids of their layers.
    pub tracks: Vec<(String, Vec<String>)>,
}

static FACTORY: LazyLock<PeerFactory> = LazyLock::new(|| {
    let candidates = vec!["127.0.0.1:7".parse().expect("it is an address")];
    PeerFactory::new(
        IceKey::generate(&mut Entropy::System),
        candidates,
        false,
        AeadChoice::Auto,
    )
    .expect("the crypto provider makes certificates")
});

/// Sends offer `sdp` to a new session, with a track for each audio or video m-line; then the same offer again, which
/// must change nothing.
///
/// # Panics
///
/// Panics when the answer breaks a rule, or when a published track cannot play.
pub fn offer(sdp: &str) -> Result<Report, CommandError> {
    let now = clock::now();
    let mut peer = FACTORY.publisher(SessionKey(1), &mut Entropy::System, now);
    let offered = sections(sdp);
    let tracks = tracks(&offered[1..]);
    let mut ask = |tracks: &[TrackSpec]| {
        let mut out = Output::default();
        let command = Command::Publish {
            offer: sdp.to_owned(),
            tracks: tracks.to_vec(),
        };
        let result = peer.apply(command, now, &mut out);
        let ended = out
            .events
            .iter()
            .any(|event| matches!(event, PeerEvent::Closed(_)));
        assert!(!ended, "an offer ended its session: {result:?}");
        result
    };
    let CommandReply::Answer(Answered {
        sdp: answer,
        tracks: published,
    }) = ask(&tracks)?
    else {
        panic!("an offer was not answered");
    };
    let answered = sections(&answer);
    assert_eq!(
        answered.len(),
        offered.len(),
        "an answer m-line for each that was offered"
    );
    let lines = offered[1..].iter().zip(&answered[1..]);
    let lines =
        lines.map(|(offered_line, answered)| check_line(&offered[0], offered_line, answered));
    let lines: Vec<String> = lines.collect();
    check_session(&offered, &answered);
    for track in &published {
        let index = tracks.iter().position(|spec| spec.key == track.key);
        let spec = &tracks[index.expect("it was declared")];
        let mids = mids(&offered[1..]);
        let line = mids
            .iter()
            .position(|mid| *mid == spec.mid)
            .expect("it has an m-line");
        assert_eq!(lines[line], "recvonly", "track {} cannot play", spec.mid);
        assert!(!track.formats.codecs.is_empty());
        let rids = values(&answered[line + 1], "rid");
        let rids: HashSet<&str> = rids
            .into_iter()
            .filter_map(|rid| rid.split(' ').next())
            .collect();
        assert!(
            track.rids.iter().all(|rid| rids.contains(&**rid)),
            "a layer is in no answer"
        );
    }
    let again = ask(&tracks[..0]).expect("what was taken is taken again");
    let CommandReply::Answer(again) = again else {
        panic!("an offer was not answered");
    };
    let again: Vec<String> = sections(&again.sdp)[1..]
        .iter()
        .map(|line| direction_of(line))
        .collect();
    assert_eq!(again, lines, "the same offer comes to the same");
    let named = |key: TrackKey| tracks.iter().find(|spec| spec.key == key);
    let published = published
        .into_iter()
        .filter_map(|track| Some((named(track.key)?.mid.clone(), track.rids)));
    Ok(Report {
        lines,
        tracks: published.collect(),
        answer,
    })
}

type Lines<'a> = Vec<&'a str>;

/// Lines of the session part, and of each m-line.
fn sections(sdp: &str) -> Vec<Lines<'_>> {
    let mut sections = vec![Vec::new()];
    for line in sdp.split('\n').map(str::trim_ascii_end) {
        if line.starts_with("m=") {
            sections.push(Vec::new());
        }
        let last = sections.last_mut().expect("the session is there");
        last.extend(Some(line).filter(|line| !line.is_empty()));
    }
    sections
}

/// The mids of `sdp`.
#[cfg(test)]
pub(super) fn mids_of(sdp: &str) -> Vec<String> {
    mids(&sections(sdp)[1..])
}

fn mids(lines: &[Lines<'_>]) -> Vec<String> {
    let mid = |(index, line): (usize, &Lines<'_>)| {
        let mid = values(line, "mid").first().copied().unwrap_or_default();
        match mid {
            "" => index.to_string(),
            mid => mid.to_owned(),
        }
    };
    lines.iter().enumerate().map(mid).collect()
}

fn tracks(lines: &[Lines<'_>]) -> Vec<TrackSpec> {
    let mut known = HashSet::new();
    let mids = mids(lines);
    let track = |(index, line): (usize, &Lines<'_>)| {
        let kind = match fields(line).first()?.to_ascii_lowercase().as_str() {
            "audio" => MediaKind::Audio,
            "video" => MediaKind::Video,
            _ => return None,
        };
        let mid = mids[index].clone();
        let is_new = known.insert(mid.clone());
        let rids = values(line, "rid").into_iter().filter_map(|rid| {
            let mut fields = rid.split_ascii_whitespace();
            let rid = fields.next()?;
            (fields.next() == Some("send")).then(|| rid.to_owned())
        });
        let layers = rids
            .take(MAX_LAYERS)
            .map(|rid| LayerSpec { rid, height: 0 });
        (is_new && mid.len() <= MAX_MID_BYTES).then(|| TrackSpec {
            key: TrackKey(index as u64),
            id: format!("track-{index}").into(),
            mid,
            kind,
            layers: layers.collect(),
        })
    };
    lines.iter().enumerate().filter_map(track).collect()
}

fn fields<'a>(line: &Lines<'a>) -> Vec<&'a str> {
    let first = line.first().copied().unwrap_or_default();
    first
        .trim_start_matches("m=")
        .split_ascii_whitespace()
        .collect()
}

fn values<'a>(line: &Lines<'a>, name: &str) -> Vec<&'a str> {
    let value = |line: &&'a str| {
        let attribute = line.strip_prefix("a=")?;
        let (found, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        (found.trim_ascii() == name).then_some(value.trim_ascii())
    };
    line.iter().filter_map(value).collect()
}

fn has(line: &Lines<'_>, name: &str) -> bool {
    !values(line, name).is_empty()
}

fn direction_of(line: &Lines<'_>) -> String {
    if fields(line).get(1) == Some(&"0") {
        return "0".into();
    }
    let directions = ["sendrecv", "sendonly", "recvonly", "inactive"];
    let found = directions.into_iter().find(|name| has(line, name));
    found.unwrap_or("sendrecv").to_owned()
}

/// Checks an m-line of the answer against the same m-line of the offer.
fn check_line(session: &Lines<'_>, offered: &Lines<'_>, answered: &Lines<'_>) -> String {
    let (asked, got) = (fields(offered), fields(answered));
    assert_eq!((got[0], got[2]), (asked[0], asked[2]), "media and protocol");
    let named = |line: &Lines<'_>| {
        values(line, "mid")
            .first()
            .copied()
            .filter(|mid| !mid.is_empty())
            .map(str::to_owned)
    };
    assert_eq!(named(answered), named(offered), "the mid");
    let direction = direction_of(answered);
    assert!(
        ["recvonly", "inactive", "0"].contains(&&*direction),
        "{direction}"
    );
    for name in ["rtcp-rsize", "msid", "ssrc", "ssrc-group", "rtcp-mux-only"] {
        assert!(
            !has(answered, name),
            "a={name} is not for an answer of ours"
        );
    }
    if direction == "0" {
        return direction;
    }
    assert!(
        !got[3..].is_empty() && got[3..].iter().all(|pt| asked[3..].contains(pt)),
        "formats"
    );
    let muxes = has(offered, "rtcp-mux") || has(offered, "rtcp-mux-only");
    assert!(!has(answered, "rtcp-mux") || muxes, "rtcp-mux");
    let is_mixed = has(offered, "extmap-allow-mixed");
    assert!(!has(answered, "extmap-allow-mixed") || is_mixed);
    check_formats(offered, answered, &got[3..]);
    let extension = |value: &str| {
        let mut fields = value.split_ascii_whitespace();
        let id = fields.next()?.split('/').next()?.to_owned();
        Some((id, fields.next()?.to_owned()))
    };
    let of = |line: &Lines<'_>| {
        values(line, "extmap")
            .into_iter()
            .filter_map(extension)
            .collect::<HashSet<_>>()
    };
    let extensions: HashSet<_> = of(offered).union(&of(session)).cloned().collect();
    assert!(of(answered).is_subset(&extensions), "header extensions");
    let rid = |value: &str| value.split_ascii_whitespace().next().map(str::to_owned);
    let of = |line: &Lines<'_>| {
        values(line, "rid")
            .into_iter()
            .filter_map(rid)
            .collect::<HashSet<_>>()
    };
    assert!(of(answered).is_subset(&of(offered)), "rids");
    assert!(!has(answered, "simulcast") || has(offered, "simulcast"));
    direction
}

/// Checks that every format in the answer was offered.
fn check_formats(offered: &Lines<'_>, answered: &Lines<'_>, pts: &[&str]) {
    let split = |value: &str| {
        let (pt, rest) = value
            .split_once(|c: char| c.is_ascii_whitespace())
            .unwrap_or((value, ""));
        (pt.to_owned(), rest.trim_ascii().to_owned())
    };
    let of = |line: &Lines<'_>, name: &str| {
        values(line, name)
            .into_iter()
            .map(split)
            .collect::<Vec<_>>()
    };
    for name in ["rtpmap", "rtcp-fb"] {
        let offered = of(offered, name);
        for (pt, said) in of(answered, name) {
            assert!(
                pts.contains(&&*pt),
                "a={name} of a format that is not in the answer"
            );
            let is_it = |(known, value): &(String, String)| {
                (*known == pt || known == "*") && *value == said
            };
            assert!(
                offered.iter().any(is_it),
                "a={name}:{pt} {said} was not offered"
            );
        }
    }
    for pt in pts {
        let is_named = of(answered, "rtpmap").iter().any(|(known, _)| known == pt);
        assert!(is_named, "format {pt} has no name");
    }
    let names = |said: &str| {
        said.split(';')
            .map(|one| {
                one.split('=')
                    .next()
                    .unwrap_or_default()
                    .trim_ascii()
                    .to_ascii_lowercase()
            })
            .collect::<HashSet<_>>()
    };
    let offered = of(offered, "fmtp");
    for (pt, said) in of(answered, "fmtp") {
        assert!(pts.contains(&&*pt));
        let of_pt = offered.iter().filter(|(known, _)| *known == pt);
        let mut known: HashSet<String> = of_pt.flat_map(|(_, value)| names(value)).collect();
        if known.contains("sprop-stereo") {
            known.insert("stereo".into());
        }
        assert!(
            names(&said).is_subset(&known),
            "a=fmtp:{pt} {said} was not offered"
        );
    }
}

fn check_session(offered: &[Lines<'_>], answered: &[Lines<'_>]) {
    let is_mixed = has(&offered[0], "extmap-allow-mixed");
    assert!(!has(&answered[0], "extmap-allow-mixed") || is_mixed);
    let open = answered[1..]
        .iter()
        .filter(|line| direction_of(line) != "0");
    let open: HashSet<&str> = open.flat_map(|line| values(line, "mid")).collect();
    let mut grouped = HashSet::new();
    for group in values(&answered[0], "group") {
        let mut fields = group.split_ascii_whitespace();
        assert_eq!(fields.next(), Some("BUNDLE"));
        let mids: Vec<&str> = fields.collect();
        assert!(!mids.is_empty(), "an empty BUNDLE group");
        for mid in mids {
            assert!(
                open.contains(mid),
                "m-line '{mid}' is in the group and not in the answer"
            );
            assert!(grouped.insert(mid), "m-line '{mid}' is in the groups twice");
        }
    }
}

#[cfg(test)]
mod tests; // the corpus and variations of it
