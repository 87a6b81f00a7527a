//! Tests that announced tracks can play when the offer has little information about the m-lines of packets.

use std::time::{Duration, Instant};

use spillway_wire::stun::TransactionId;
use str0m::change::SdpAnswer;
use str0m::media::{Direction, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output as Polled, Rtc, RtcConfig};

use crate::ice::credentials::IceKey;
use crate::io::entropy::Entropy;
use crate::key::{SessionKey, TrackKey};
use crate::media::codec::MediaKind;
use crate::media::track::TrackSpec;
use crate::peer::build::PeerFactory;
use crate::peer::command::{Answered, Command, CommandReply};
use crate::peer::output::Output;
use crate::peer::paths::Checked;
use crate::srtp::AeadChoice;

const CLIENT: &str = "127.0.0.1:5000";
const SERVER: &str = "127.0.0.1:7000";
/// Number of 10 ms steps in which a client connects and sends.
const ROUNDS: usize = 300;

/// Index that stands for the lines before the first m-line.
const SESSION: usize = usize::MAX;

/// A client with two m-lines of VP8.
fn client(now: Instant) -> (Rtc, [Mid; 2], str0m::change::SdpPendingOffer, String) {
    let crypto = std::sync::Arc::new(str0m::crypto::from_feature_flags());
    let mut rtc = RtcConfig::new()
        .set_crypto_provider(crypto)
        .set_rtp_mode(true)
        .clear_codecs()
        .enable_vp8(true)
        .enable_h265(true)
        .build(now);
    let candidate = Candidate::host(CLIENT.parse().unwrap(), "udp").unwrap();
    rtc.add_local_candidate(candidate);
    let mut api = rtc.sdp_api();
    let mids = [(); 2].map(|()| {
        api.add_media(
            MediaKind::Video.into(),
            Direction::SendOnly,
            None,
            None,
            None,
        )
    });
    let (offer, pending) = api.apply().unwrap();
    (rtc, mids, pending, offer.to_sdp_string())
}

/// Number of received packets of each track. `edit` changes each section of the client's offer before the server reads
/// it. `undo` reverts the change in the answer, because the client made the unchanged offer.
fn received(edit: fn(usize, &str) -> String, undo: fn(&str) -> String, pts: [u8; 2]) -> [usize; 2] {
    let mut now = Instant::now();
    let (mut rtc, mids, pending, offer) = client(now);
    let mut sections = offer.split("m=video ");
    let mut edited = edit(SESSION, sections.next().unwrap());
    for (index, section) in sections.enumerate() {
        edited += &edit(index, &format!("m=video {section}"));
    }
    let server = vec![SERVER.parse().unwrap()];
    let factory = PeerFactory::new(
        IceKey::generate(&mut Entropy::System),
        server,
        false,
        AeadChoice::Auto,
    )
    .unwrap();
    let mut peer = factory.publisher(SessionKey(1), &mut Entropy::System, now);
    let named = crate::peer::hostile::mids_of(&edited);
    let tracks = named.into_iter().enumerate().map(|(index, mid)| TrackSpec {
        key: TrackKey(index as u64),
        id: format!("track-{index}").into(),
        mid,
        kind: MediaKind::Video,
        layers: Vec::new(),
    });
    let command = Command::Publish {
        offer: edited,
        tracks: tracks.collect(),
    };
    let mut out = Output::default();
    let Ok(CommandReply::Answer(Answered { sdp, tracks })) = peer.apply(command, now, &mut out)
    else {
        panic!("an offer is answered");
    };
    assert_eq!(tracks.len(), 2, "both are announced");
    let answer = SdpAnswer::from_sdp_string(&undo(&sdp)).unwrap();
    rtc.sdp_api().accept_answer(pending, answer).unwrap();
    let mut counts = [0; 2];
    // As the shard does after a verified check from that address.
    let checked = Checked {
        remote: CLIENT.parse().unwrap(),
        local: None,
        nominates: true,
        is_proven: true,
    };
    peer.paths.add(checked, TransactionId([7; 12]), now);
    let (mut is_connected, mut sent) = (false, Vec::new());
    for round in 0..ROUNDS {
        now += Duration::from_millis(10);
        if is_connected {
            for (mid, pt) in mids.iter().zip(pts) {
                let mut api = rtc.direct_api();
                let stream = api.stream_tx_by_mid(*mid, None).unwrap();
                let (seq, time) = (round as u64 + 1, round as u32 * 900);
                let packet = RtpWrite::new(pt.into(), seq.into(), time, now, vec![0x10, 0, 1, 2]);
                stream.write_rtp(packet.marker(true));
            }
        }
        rtc.handle_input(Input::Timeout(now)).unwrap();
        drain(&mut rtc, &mut sent, &mut is_connected);
        let (client, server) = (CLIENT.parse().unwrap(), SERVER.parse().unwrap());
        for datagram in sent.drain(..) {
            peer.receive(now, client, server, &datagram, &mut out);
        }
        peer.handle_timeout(now, &mut out);
        for transmit in out.transmits.drain(..) {
            let receive = Receive::new(Protocol::Udp, server, client, &transmit.contents).unwrap();
            rtc.handle_input(Input::Receive(now, receive)).unwrap();
            drain(&mut rtc, &mut sent, &mut is_connected);
        }
        for packet in out.packets.drain(..) {
            counts[packet.track.0 as usize] += 1;
        }
        if counts.iter().all(|count| *count > 10) {
            break;
        }
    }
    counts
}

/// Datagrams that the client sends, and whether it is connected.
fn drain(rtc: &mut Rtc, sent: &mut Vec<Vec<u8>>, is_connected: &mut bool) {
    loop {
        match rtc.poll_output().unwrap() {
            Polled::Timeout(_) => return,
            Polled::Transmit(transmit) => sent.push(transmit.contents.to_vec()),
            Polled::Event(Event::Connected) => *is_connected = true,
            Polled::Event(_) => {}
        }
    }
}

fn without(section: &str, lines: &[&str]) -> String {
    let kept = section.split_inclusive('\n');
    kept.filter(|line| {
        !lines
            .iter()
            .any(|name| line.starts_with(name) || line.trim_end().ends_with(name))
    })
    .collect()
}

/// Replaces the number of VP8 on the second m-line by one that the client uses for an unsupported codec.
fn with_other_number(index: usize, section: &str) -> String {
    if index != 1 {
        return section.to_owned();
    }
    let gone = [
        "a=rtpmap:96",
        "a=rtcp-fb:96",
        "a=rtpmap:97",
        "a=fmtp:97",
        "a=fmtp:102",
    ];
    let section = without(section, &gone).replace("SAVPF 96 97 ", "SAVPF ");
    section.replace("a=rtpmap:102 H265", "a=rtpmap:102 VP8")
}

/// Makes the client's session layer send with that number.
fn with_own_number(answer: &str) -> String {
    answer.replace("a=rtpmap:102 VP8", "a=rtpmap:102 H265")
}

fn assert_all(counts: [usize; 2]) {
    assert!(counts.iter().all(|count| *count > 10), "{counts:?} packets");
}

#[test]
fn one_codec_under_two_numbers_plays_on_both_m_lines() {
    assert_all(received(with_other_number, with_own_number, [96, 102]));
}

#[test]
fn packets_are_told_apart_by_their_payload_type_where_the_offer_has_nothing_else() {
    let bare = |index: usize, section: &str| {
        without(&with_other_number(index, section), &["a=ssrc", "sdes:mid"])
    };
    assert_all(received(bare, with_own_number, [96, 102]));
}

#[test]
fn mids_of_32_bytes_profiles_of_other_stacks_and_missing_directions_play() {
    let other = |index: usize, section: &str| {
        if index == SESSION {
            let group = section
                .lines()
                .find(|line| line.starts_with("a=group:"))
                .unwrap();
            let renamed = group.replace(' ', " a-name-of-more-than-16-bytes-");
            return section.replace(group, &renamed);
        }
        let section = without(section, &["a=sendonly", "sdes:mid"]);
        let section = section.replace("UDP/TLS/RTP/SAVPF", "RTP/SAVPF");
        section.replace("a=mid:", "a=mid:a-name-of-more-than-16-bytes-")
    };
    let undo = |answer: &str| {
        let answer = answer.replace("RTP/SAVPF", "UDP/TLS/RTP/SAVPF");
        answer.replace("a-name-of-more-than-16-bytes-", "")
    };
    assert_all(received(other, undo, [96, 96]));
}
