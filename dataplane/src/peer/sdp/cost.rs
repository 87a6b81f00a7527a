//! Tests that the CPU time of an offer is proportional to its length, also when the offer repeats a line many times.

use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::ice::credentials::IceKey;
use crate::io::entropy::Entropy;
use crate::key::SessionKey;
use crate::limits::{MAX_OFFER_BYTES, MAX_OFFER_MEDIA_LINES};
use crate::peer::build::PeerFactory;
use crate::peer::command::Command;
use crate::peer::output::Output;
use crate::srtp::AeadChoice;

/// Limit of CPU time per byte, in ns: more than a usual offer needs on a slow host, far less than quadratic parsing.
const NS_PER_BYTE: u128 = 1_000;

const SESSION: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-ufrag:abcd\r\n\
    a=ice-pwd:0123456789012345678901\r\na=setup:actpass\r\na=fingerprint:sha-256 \
    00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n";

/// An offer with the maximum number of m-lines; each has as many lines of `line` (which gets a number) as the limits
/// allow.
fn offer(lines_each: usize, line: impl Fn(usize) -> String) -> String {
    let mut media = String::new();
    let mut mids = String::new();
    for mid in 0..MAX_OFFER_MEDIA_LINES {
        let mut section = format!(
            "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=sendonly\r\n\
             a=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n"
        );
        for number in 0..lines_each {
            section += &line(number);
            section += "\r\n";
        }
        if SESSION.len() + media.len() + section.len() + 1_000 > MAX_OFFER_BYTES {
            break;
        }
        media += &section;
        write!(mids, " {mid}").unwrap();
    }
    format!("{SESSION}a=group:BUNDLE{mids}\r\n{media}")
}

/// CPU time of this thread so far; not affected by other load of the host.
fn thread_time() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let ns = schedstat.split(' ').next().unwrap();
    Duration::from_nanos(ns.parse().unwrap())
}

/// CPU time of the session layer for `sdp`, accepted or not; the minimum of several runs.
fn cost(sdp: &str) -> Duration {
    let candidate = "127.0.0.1:7".parse().unwrap();
    let factory = PeerFactory::new(
        IceKey::generate(&mut Entropy::System),
        vec![candidate],
        false,
        AeadChoice::Auto,
    )
    .unwrap();
    let once = || {
        let now = Instant::now();
        let mut peer = factory.publisher(SessionKey(1), &mut Entropy::System, now);
        let command = Command::Publish {
            offer: sdp.to_owned(),
            tracks: Vec::new(),
        };
        let before = thread_time();
        let result = peer.apply(command, now, &mut Output::default());
        let cost = thread_time() - before;
        if let Err(error) = result {
            println!("refused: {error}");
        }
        cost
    };
    (0..3).map(|_| once()).min().unwrap()
}

#[test]
fn an_offer_costs_time_in_proportion_to_its_bytes() {
    type Line = Box<dyn Fn(usize) -> String>;
    let kinds: [(&str, usize, Line); 12] = [
        (
            "ssrc",
            60,
            Box::new(|n| format!("a=ssrc:{} cname:x", n + 1)),
        ),
        ("same ssrc", 60, Box::new(|n| format!("a=ssrc:7 x{n}:y"))),
        (
            "ssrc-group",
            60,
            Box::new(|n| format!("a=ssrc-group:FID {} {}", n + 1, n + 2)),
        ),
        (
            "rtpmap",
            500,
            Box::new(|n| format!("a=rtpmap:{} VP8/90000", 35 + n % 90)),
        ),
        ("fmtp", 500, Box::new(|n| format!("a=fmtp:96 x{n}={n}"))),
        ("rtcp-fb", 500, Box::new(|_| "a=rtcp-fb:96 nack pli".into())),
        (
            "extmap",
            500,
            Box::new(|n| format!("a=extmap:{} urn:x:{n}", 1 + n % 14)),
        ),
        ("rid", 500, Box::new(|n| format!("a=rid:r{n} send"))),
        ("msid", 500, Box::new(|n| format!("a=msid:s{n} t{n}"))),
        ("unknown", 500, Box::new(|n| format!("a=x-{n}:y"))),
        (
            "fingerprint",
            400,
            Box::new(|_| "a=fingerprint:sha-256 00:11".into()),
        ),
        (
            "simulcast",
            400,
            Box::new(|n| format!("a=simulcast:send a{n};b{n};c{n}")),
        ),
    ];
    let mut dearest = Vec::new();
    for (name, lines, line) in kinds {
        let sdp = offer(lines, line);
        let ns_per_byte = cost(&sdp).as_nanos() / sdp.len() as u128;
        println!("{name}: {} bytes, {ns_per_byte} ns a byte", sdp.len());
        dearest.push((ns_per_byte, name));
    }
    let long_group = format!("{SESSION}a=group:BUNDLE{}\r\n", " 0".repeat(8_000));
    dearest.push((
        cost(&long_group).as_nanos() / long_group.len() as u128,
        "group",
    ));
    let dearest = dearest.into_iter().max().unwrap();
    assert!(dearest.0 < NS_PER_BYTE, "{dearest:?}");
}
