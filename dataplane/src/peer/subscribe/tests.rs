//! Offers to subscribers and their answers.

use std::time::Instant;

use super::*;
use crate::ice::credentials::IceKey;
use crate::io::entropy::Entropy;
use crate::key::SessionKey;
use crate::limits::{ANSWER_BYTES_BESIDES, ANSWER_BYTES_PER_M_LINE, MAX_BAD_ANSWERS};
use crate::media::layer_allocation::SubscriptionParams;
use crate::media::subscription::SyncGroup;
use crate::peer::build::PeerFactory;
use crate::peer::command::Command;
use crate::peer::session::Peer;
use crate::srtp::AeadChoice;

fn subscriber(now: Instant) -> Peer {
    let candidates = vec!["127.0.0.1:7".parse().unwrap()];
    let factory = PeerFactory::new(
        IceKey::generate(&mut Entropy::System),
        candidates,
        false,
        AeadChoice::Auto,
    )
    .unwrap();
    factory.subscriber(SessionKey(1), &mut Entropy::System, now)
}

fn wanted(track: u64, kind: MediaKind, group: Option<(&str, &str)>) -> Wanted {
    Wanted {
        track: TrackKey(track),
        kind,
        params: SubscriptionParams::default(),
        group: group.map(|(stream, cname)| SyncGroup {
            stream: stream.into(),
            cname: cname.into(),
        }),
        formats: None,
    }
}

/// Changes the subscriptions of `peer`, and returns the offer that results.
fn offered(peer: &mut Peer, put: Vec<Wanted>, remove: &[u64], now: Instant) -> OfferOut {
    let remove = remove.iter().map(|track| TrackKey(*track)).collect();
    let mut out = Output::default();
    peer.apply(Command::Subscribe { put, remove }, now, &mut out)
        .unwrap();
    let offer = out.events.into_iter().find_map(|event| match event {
        PeerEvent::Offer(offer) => Some(offer),
        _ => None,
    });
    offer.unwrap()
}

fn with_an_offer() -> (Peer, Instant) {
    let now = Instant::now();
    let mut peer = subscriber(now);
    offered(&mut peer, vec![wanted(1, MediaKind::Video, None)], &[], now);
    (peer, now)
}

/// For each m-line of `sdp`: its direction, media stream id and CNAMEs.
fn groups(sdp: &str) -> Vec<(&str, &str, Vec<&str>)> {
    let media = sdp.split("\r\nm=").skip(1);
    media
        .map(|section| {
            let direction = ["a=sendonly", "a=inactive"]
                .into_iter()
                .find(|name| section.contains(name));
            let msid = section
                .lines()
                .find_map(|line| line.strip_prefix("a=msid:"));
            let stream = msid.and_then(|msid| msid.split(' ').next());
            let cnames = section
                .lines()
                .filter_map(|line| line.split(" cname:").nth(1));
            (
                direction.unwrap_or_default(),
                stream.unwrap_or_default(),
                cnames.collect(),
            )
        })
        .collect()
}

#[test]
fn tracks_of_one_person_are_offered_as_one_stream_also_on_an_m_line_that_is_used_again() {
    let now = Instant::now();
    let mut peer = subscriber(now);
    let mut client = str0m::RtcConfig::new()
        .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
        .build(now);
    let mut answer = |peer: &mut Peer, offer: &OfferOut| {
        let sdp = str0m::change::SdpOffer::from_sdp_string(&offer.sdp).unwrap();
        let sdp = client.sdp_api().accept_offer(sdp).unwrap().to_sdp_string();
        let revision = offer.revision;
        peer.apply(
            Command::Answer { revision, sdp },
            now,
            &mut Output::default(),
        )
        .unwrap();
    };
    let ann = Some(("ann", "ann"));
    let put = vec![
        wanted(1, MediaKind::Audio, ann),
        wanted(2, MediaKind::Video, ann),
        wanted(3, MediaKind::Video, Some(("ann-screen", "ann"))),
    ];
    let offer = offered(&mut peer, put, &[], now);
    let all = groups(&offer.sdp);
    let streams: Vec<_> = all.iter().map(|(_, stream, _)| *stream).collect();
    assert_eq!(streams, ["ann", "ann", "ann-screen"]);
    for (_, _, cnames) in &all {
        assert!(!cnames.is_empty() && cnames.iter().all(|cname| *cname == "ann"));
    }
    answer(&mut peer, &offer);
    let offer = offered(&mut peer, Vec::new(), &[2], now);
    answer(&mut peer, &offer);
    let put = vec![wanted(4, MediaKind::Video, Some(("bob", "bob")))];
    let offer = offered(&mut peer, put, &[], now);
    let all = groups(&offer.sdp);
    assert_eq!(all.len(), 3, "the m-line is used again");
    assert_eq!((all[1].0, all[1].1), ("a=sendonly", "bob"));
    assert!(all[1].2.iter().all(|cname| *cname == "bob"));
    assert_eq!(all[0].1, "ann");
}

#[test]
fn only_the_answer_that_is_waited_for_is_read() {
    let (mut peer, now) = with_an_offer();
    let mut out = Output::default();
    let mut answer = |revision, sdp: &str| {
        let sdp = sdp.to_owned();
        peer.apply(Command::Answer { revision, sdp }, now, &mut out)
    };
    for _ in 0..1_000 {
        let stale = answer(7, "not an sdp");
        assert!(matches!(
            stale,
            Err(CommandError::StaleAnswer { got: 7, .. })
        ));
    }
    let long = "x".repeat(13_000);
    let too_long = answer(1, &long);
    let limit = ANSWER_BYTES_BESIDES + ANSWER_BYTES_PER_M_LINE;
    let what = "bytes of an answer";
    let got = long.len();
    assert_eq!(too_long, Err(CommandError::TooMany { what, got, limit }));
    for _ in 1..=MAX_BAD_ANSWERS {
        assert!(matches!(answer(1, "v=1"), Err(CommandError::BadSdp(_))));
    }
    let ended = |event: &PeerEvent| matches!(event, PeerEvent::Closed(reason) if reason.contains("bad answers"));
    assert!(out.events.iter().any(ended));
}

/// A client's answer for one m-line: `0`, `inactive`, or payload types with attribute lines.
type LineAnswer<'a> = (&'a str, &'a str);

/// A client's answer; without transport when all m-lines are rejected, as browsers do.
fn answer_of(offer: &str, answers: &[LineAnswer<'_>]) -> String {
    let transport = format!(
        "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=setup:active\r\na=fingerprint:sha-256 {}\r\n",
        ["0A"; 32].join(":")
    );
    let mut sdp = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n".to_owned();
    let sections: Vec<&str> = offer.split("\r\nm=").skip(1).collect();
    assert_eq!(sections.len(), answers.len());
    for (section, (what, lines)) in sections.iter().zip(answers) {
        let kind = section.split(' ').next().unwrap();
        let mid = section
            .lines()
            .find(|line| line.starts_with("a=mid:"))
            .unwrap();
        sdp += &match *what {
            "0" => format!("m={kind} 0 UDP/TLS/RTP/SAVPF 96\r\n{mid}\r\n"),
            "inactive" => {
                format!("m={kind} 9 UDP/TLS/RTP/SAVPF 96\r\n{mid}\r\na=inactive\r\n{transport}")
            }
            pts => format!(
                "m={kind} 9 UDP/TLS/RTP/SAVPF {pts}\r\n{mid}\r\na=recvonly\r\n{transport}{lines}"
            ),
        };
    }
    sdp
}

fn send_answer(
    peer: &mut Peer,
    offer: &OfferOut,
    answers: &[LineAnswer<'_>],
    now: Instant,
) -> Vec<PeerEvent> {
    let mut out = Output::default();
    let sdp = answer_of(&offer.sdp, answers);
    let revision = offer.revision;
    peer.apply(Command::Answer { revision, sdp }, now, &mut out)
        .unwrap();
    out.events
}

fn rejected(events: &[PeerEvent]) -> Vec<u64> {
    let track = |event: &PeerEvent| match event {
        PeerEvent::Rejected(track) => Some(track.0),
        _ => None,
    };
    events.iter().filter_map(track).collect()
}

/// The first line of each m-line of an offer.
fn m_lines(sdp: &str) -> Vec<&str> {
    sdp.lines().filter(|line| line.starts_with("m=")).collect()
}

fn group_of(sdp: &str) -> Option<usize> {
    let group = sdp
        .lines()
        .find_map(|line| line.strip_prefix("a=group:BUNDLE"));
    group.map(|mids| mids.split_ascii_whitespace().count())
}

fn ours(pt: u8) -> str0m::format::PayloadParams {
    let mut params = codecs::SUPPORTED.params().iter();
    *params.find(|params| *params.pt() == pt).unwrap()
}

fn formats(pts: &[u8], is_stereo: bool) -> TrackFormats {
    TrackFormats {
        codecs: pts
            .iter()
            .map(|pt| codecs::described(ours(*pt).spec()))
            .collect(),
        is_stereo,
    }
}

/// A subscription to a track whose publisher's formats are known.
fn known(track: u64, kind: MediaKind, formats: TrackFormats) -> Wanted {
    Wanted {
        formats: Some(Arc::new(formats)),
        ..wanted(track, kind, None)
    }
}

fn published(track: u64, formats: &TrackFormats) -> TrackInfo {
    TrackInfo {
        spec: crate::media::track::TrackSpec {
            key: TrackKey(track),
            id: "track".into(),
            mid: "0".into(),
            kind: MediaKind::Video,
            layers: Vec::new(),
        },
        codecs: formats.codecs.clone(),
        is_stereo: formats.is_stereo,
    }
}

fn subscription_to(peer: &mut Peer, track: u64) -> SubscriptionIndex {
    let mut subs = peer.subscriber().unwrap().subscriptions.iter();
    let found = subs.find(|(_, sub)| sub.track.0 == track);
    found.unwrap().0
}

/// Connects a published track. Returns the codecs of the subscription, and the offer that results, if any.
fn connected(
    peer: &mut Peer,
    track: u64,
    formats: &TrackFormats,
) -> (Option<Vec<Option<u8>>>, Option<OfferOut>) {
    let info = published(track, formats);
    let mut out = Output::default();
    let sub = subscription_to(peer, track);
    peer.connect(sub, &info, &mut out);
    let codecs = &peer.subscriber().unwrap().subscriptions[sub].codecs;
    let pts = codecs.as_ref().map(|codecs| {
        codecs
            .iter()
            .map(|codec| codec.map(|codec| codec.pt))
            .collect()
    });
    let offer = out.events.into_iter().find_map(|event| match event {
        PeerEvent::Offer(offer) => Some(offer),
        _ => None,
    });
    (pts, offer)
}

const OPUS: LineAnswer<'static> = ("111", "a=rtpmap:111 opus/48000/2\r\n");
const VP8: LineAnswer<'static> = ("96", "a=rtpmap:96 VP8/90000\r\n");

const H264: LineAnswer<'static> = (
    "108",
    "a=rtpmap:108 H264/90000\r\na=fmtp:108 packetization-mode=1;profile-level-id=42e01f\r\n",
);

#[test]
fn a_client_that_answers_with_the_first_codec_only_is_offered_the_sent_codec_first() {
    let now = Instant::now();
    let of = formats(&[96, 108], false); // the publisher sends codec number 1
    for (answer, map, is_told) in [
        (H264, [None, Some(108)], false),
        (VP8, [Some(96), None], true),
    ] {
        let mut peer = subscriber(now);
        let put = vec![known(1, MediaKind::Video, of.clone())];
        let offer = offered(&mut peer, put, &[], now);
        send_answer(&mut peer, &offer, &[VP8], now);
        let first = connected(&mut peer, 1, &of);
        assert_eq!(first.0, Some(vec![Some(96), None]));
        let sub = subscription_to(&mut peer, 1);
        let mut out = Output::default();
        assert!(peer.offer_first(sub, 1, &published(1, &of), &mut out));
        let again = out.events.into_iter().find_map(|event| match event {
            PeerEvent::Offer(offer) => Some(offer),
            _ => None,
        });
        let again = again.expect("an offer");
        assert_eq!(groups(&again.sdp)[0].0, "a=inactive");
        let line = m_lines(&again.sdp)[1];
        assert!(
            line.starts_with("m=video 9 UDP/TLS/RTP/SAVPF 108 "),
            "{line}"
        );
        assert!(line.contains(" 96 "), "and the others after it: {line}");
        let mut out = Output::default();
        assert!(peer.offer_first(sub, 1, &published(1, &of), &mut out));
        assert!(out.events.is_empty(), "the answer is waited for");
        send_answer(&mut peer, &again, &[("inactive", ""), answer], now);
        let (mapped, offer) = connected(&mut peer, 1, &of);
        assert_eq!(mapped, Some(map.to_vec()));
        assert!(offer.is_none());
        if is_told {
            assert!(!peer.offer_first(sub, 1, &published(1, &of), &mut out));
            assert!(out.events.is_empty());
        }
    }
}

#[test]
fn a_publisher_that_changes_its_codec_again_and_again_does_not_make_offers_for_ever() {
    let now = Instant::now();
    let of = formats(&[96, 108], false);
    let mut peer = subscriber(now);
    let put = vec![known(1, MediaKind::Video, of.clone())];
    let mut offer = offered(&mut peer, put, &[], now);
    let mut offers = 0;
    for turn in 0..20 {
        let mut answers = vec![("inactive", ""); turn];
        answers.push(if turn % 2 == 0 { VP8 } else { H264 });
        send_answer(&mut peer, &offer, &answers, now);
        connected(&mut peer, 1, &of);
        let sub = subscription_to(&mut peer, 1);
        let mut out = Output::default();
        let codec = if turn % 2 == 0 { 1 } else { 0 };
        if !peer.offer_first(sub, codec, &published(1, &of), &mut out) {
            break;
        }
        offers += 1;
        let again = out.events.into_iter().find_map(|event| match event {
            PeerEvent::Offer(offer) => Some(offer),
            _ => None,
        });
        offer = again.expect("an offer");
    }
    assert_eq!(offers, usize::from(crate::limits::MAX_REOFFERS));
}

#[test]
fn a_rejected_m_line_ends_its_subscription_and_is_never_used_again() {
    let now = Instant::now();
    for refusal in ["0", "inactive"] {
        let mut peer = subscriber(now);
        let put = vec![
            wanted(1, MediaKind::Audio, None),
            wanted(2, MediaKind::Video, None),
        ];
        let offer = offered(&mut peer, put, &[], now);
        let events = send_answer(&mut peer, &offer, &[OPUS, (refusal, "")], now);
        assert_eq!(rejected(&events), [2]);
        let ended =
            |event: &PeerEvent| matches!(event, PeerEvent::Unsubscribed(ended) if ended.len() == 1);
        assert!(events.iter().any(ended));
        let offer = offered(&mut peer, vec![wanted(3, MediaKind::Video, None)], &[], now);
        let lines = m_lines(&offer.sdp);
        assert_eq!(lines.len(), 3, "the next track has an m-line of its own");
        assert_eq!(lines[1].starts_with("m=video 0 "), refusal == "0");
        assert_eq!(groups(&offer.sdp)[1].0, "a=inactive");
        assert_eq!(groups(&offer.sdp)[2].0, "a=sendonly");
        assert_eq!(
            group_of(&offer.sdp),
            Some(if refusal == "0" { 2 } else { 3 })
        );
        let tracks: Vec<u64> = offer.mids.iter().map(|(_, track)| track.0).collect();
        assert_eq!(tracks, [1, 3]);
        let events = send_answer(&mut peer, &offer, &[OPUS, (refusal, ""), VP8], now);
        assert_eq!(rejected(&events), [0; 0]);
        assert_eq!(
            connected(&mut peer, 3, &formats(&[96], false)).0,
            Some(vec![Some(96)])
        );
    }
}

#[test]
fn when_a_client_rejects_all_it_is_offered_later_m_lines_have_their_places() {
    let now = Instant::now();
    let mut peer = subscriber(now);
    let put = vec![
        wanted(1, MediaKind::Video, None),
        wanted(2, MediaKind::Video, None),
    ];
    let offer = offered(&mut peer, put, &[], now);
    let before: Vec<String> = offer.mids.iter().map(|(mid, _)| mid.clone()).collect();
    let events = send_answer(&mut peer, &offer, &[("0", ""), ("0", "")], now);
    assert_eq!(rejected(&events), [1, 2]);
    let offer = offered(&mut peer, vec![wanted(3, MediaKind::Audio, None)], &[], now);
    let lines = m_lines(&offer.sdp);
    assert!(
        lines[0].starts_with("m=audio 9 ") && lines[1].starts_with("m=video 0 "),
        "{lines:?}"
    );
    assert!(offer.sdp.contains(&format!("a=mid:{}", before[1])));
    assert!(
        !offer.sdp.contains(&format!("a=mid:{}", before[0])),
        "used again under a new mid"
    );
    assert_eq!(group_of(&offer.sdp), Some(1));
    assert_eq!(
        rejected(&send_answer(&mut peer, &offer, &[OPUS, ("0", "")], now)),
        [0; 0]
    );
    assert_eq!(
        connected(&mut peer, 3, &formats(&[111], false)).0,
        Some(vec![Some(111)])
    );
    let put = vec![
        wanted(4, MediaKind::Video, None),
        wanted(5, MediaKind::Video, None),
    ];
    let offer = offered(&mut peer, put, &[], now);
    assert_eq!(m_lines(&offer.sdp).len(), 3);
    assert_eq!(group_of(&offer.sdp), Some(3));
    assert_eq!(
        rejected(&send_answer(&mut peer, &offer, &[OPUS, VP8, VP8], now)),
        [0; 0]
    );
}

#[test]
fn a_client_that_answers_with_one_codec_plays_each_track_on_an_m_line_that_is_used_again() {
    let now = Instant::now();
    let mut peer = subscriber(now);
    let h264 = formats(&[108], false);
    let put = vec![
        known(1, MediaKind::Video, h264.clone()),
        known(2, MediaKind::Audio, formats(&[111], false)),
    ];
    let offer = offered(&mut peer, put, &[], now);
    let lines = m_lines(&offer.sdp);
    assert!(
        lines[0].ends_with(" 108 109 127 121 123 119 114 115 39 40"),
        "{lines:?}"
    );
    assert!(
        lines[1].ends_with(" 111 63"),
        "the codec before its redundancy: {lines:?}"
    );
    assert!(!offer.sdp.contains("VP8"), "the publisher cannot send it");
    // The answer has no profile, so the payload type identifies the codec.
    let answers = [("108", "a=rtpmap:108 H264/90000\r\n"), OPUS];
    send_answer(&mut peer, &offer, &answers, now);
    let (pts, offer) = connected(&mut peer, 1, &h264);
    assert_eq!((pts, offer.is_none()), (Some(vec![Some(108)]), true));

    let offer = offered(&mut peer, Vec::new(), &[1], now);
    send_answer(&mut peer, &offer, &[("inactive", ""), OPUS], now);
    let vp8 = formats(&[96], false);
    let offer = offered(
        &mut peer,
        vec![known(3, MediaKind::Video, vp8.clone())],
        &[],
        now,
    );
    let lines = m_lines(&offer.sdp);
    assert_eq!(lines.len(), 2, "the m-line is used again");
    assert!(lines[0].ends_with("SAVPF 96 97"), "{lines:?}");
    assert_eq!(
        connected(&mut peer, 3, &vp8).0,
        None,
        "not before the client has answered"
    );
    send_answer(&mut peer, &offer, &[VP8, OPUS], now);
    assert_eq!(connected(&mut peer, 3, &vp8).0, Some(vec![Some(96)]));
}

#[test]
fn a_clients_own_payload_types_are_what_it_is_sent() {
    let now = Instant::now();
    let mut peer = subscriber(now);
    let offer = offered(&mut peer, vec![wanted(1, MediaKind::Video, None)], &[], now);
    let lines = "a=rtpmap:120 VP8/90000\r\na=rtpmap:96 H264/90000\r\n\
                 a=fmtp:96 packetization-mode=1;profile-level-id=42e01f\r\na=rtpmap:121 rtx/90000\r\na=fmtp:121 apt=120\r\n";
    send_answer(&mut peer, &offer, &[("120 96 121", lines)], now);
    let (pts, _) = connected(&mut peer, 1, &formats(&[96, 108, 45], false));
    assert_eq!(pts, Some(vec![Some(120), Some(96), None]));
    let subscriber = peer.subscriber().unwrap();
    let codecs = subscriber.subscriptions[SubscriptionIndex(0)]
        .codecs
        .as_ref()
        .unwrap();
    assert_eq!(codecs[0].unwrap().resend, Some(121));
    assert_eq!(codecs[1].unwrap().resend, None);
}

#[test]
fn what_a_publisher_may_send_besides_is_offered_when_it_is_known() {
    let now = Instant::now();
    let mut peer = subscriber(now);
    let mono = formats(&[111], false);
    let offer = offered(
        &mut peer,
        vec![known(1, MediaKind::Audio, mono.clone())],
        &[],
        now,
    );
    assert!(!offer.sdp.contains("stereo"));
    send_answer(&mut peer, &offer, &[OPUS], now);
    assert!(connected(&mut peer, 1, &mono).1.is_none());
    let (pts, offer) = connected(&mut peer, 1, &formats(&[111], true));
    assert_eq!(pts, Some(vec![Some(111)]), "it goes on meanwhile");
    let offer = offer.expect("two channels are offered");
    assert!(
        offer
            .sdp
            .contains("useinbandfec=1;stereo=1;sprop-stereo=1\r\n"),
        "{}",
        offer.sdp
    );
    assert_eq!(groups(&offer.sdp)[0].0, "a=sendonly");
    send_answer(&mut peer, &offer, &[OPUS], now);
    let (pts, offer) = connected(&mut peer, 1, &formats(&[111], true));
    assert_eq!((pts, offer.is_none()), (Some(vec![Some(111)]), true));
}

#[test]
fn an_answer_with_too_few_m_lines_or_another_mid_is_named() {
    let (mut peer, now) = with_an_offer();
    let revision = 1;
    let mut refused = |sdp: &str| {
        let sdp = sdp.to_owned();
        let mut out = Output::default();
        peer.apply(Command::Answer { revision, sdp }, now, &mut out)
            .unwrap_err()
            .to_string()
    };
    let none = refused("v=0\r\n");
    assert_eq!(
        none,
        "bad sdp: the answer has 0 m-lines, and the offer has 1"
    );
    let other = refused("v=0\r\nm=video 9 X 96\r\na=mid:other\r\n");
    assert!(
        other.starts_with("bad sdp: m-line 0 (mid 'other') was offered as '"),
        "{other}"
    );
}
