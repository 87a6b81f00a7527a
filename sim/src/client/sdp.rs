//! Offers and answers as Chromium writes them, with VP8 and Opus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;

/// Values of one side that its SDP announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// ICE ufrag of the session.
    pub ufrag: String,
    /// ICE password of the session.
    pub pwd: String,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
}

/// An m-line to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedLine {
    /// True for audio, false for video.
    pub is_audio: bool,
    /// Rids of simulcast layers, lowest first; empty without simulcast.
    pub rids: Vec<String>,
    /// SSRC that is announced; of simulcast none is.
    pub ssrc: u32,
}

/// What the other side's SDP says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remote {
    /// ICE ufrag of the session.
    pub ufrag: String,
    /// ICE password of the session.
    pub pwd: String,
    /// The first candidate over UDP.
    pub candidate: Option<SocketAddr>,
    /// True if the side is the DTLS client.
    pub is_active: bool,
    /// The m-lines in their order.
    pub lines: Vec<RemoteLine>,
}

/// An m-line of the other side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteLine {
    /// Identification of the m-line.
    pub mid: String,
    /// True for audio, false for video.
    pub is_audio: bool,
    /// True if the port is 0 or the m-line is inactive.
    pub is_off: bool,
    /// Codec name by payload type.
    pub codecs: BTreeMap<u8, String>,
    /// Payload type that an RTX payload type repeats.
    pub repeats: BTreeMap<u8, u8>,
    /// Identifiers of header extensions, by URI.
    pub extensions: BTreeMap<String, u8>,
    /// SSRCs in the order of the SDP.
    pub ssrcs: Vec<u32>,
    /// Pairs of SSRC and RTX SSRC.
    pub rtx: Vec<(u32, u32)>,
}

/// URI of the extension with the mid.
pub const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
/// URI of the extension with the rid.
pub const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
/// URI of the extension with the audio level.
pub const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
/// URI of the extension with transport-wide sequence numbers.
pub const TRANSPORT_WIDE: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// An offer to send `lines`.
pub fn offer(ours: &Identity, lines: &[OfferedLine]) -> String {
    let mids: Vec<String> = (0..lines.len()).map(|mid| mid.to_string()).collect();
    let mut sdp = format!(
        "v=0\r\no=- 4611686018427387904 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=extmap-allow-mixed\r\n",
        mids.join(" ")
    );
    for (line, mid) in lines.iter().zip(&mids) {
        let (first, formats) = match line.is_audio {
            true => (
                "m=audio 9 UDP/TLS/RTP/SAVPF 111",
                "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n",
            ),
            false => (
                "m=video 9 UDP/TLS/RTP/SAVPF 96",
                "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 goog-remb\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 ccm fir\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n",
            ),
        };
        sdp += &format!("{first}\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n");
        sdp += &transport(ours, "actpass");
        sdp += &format!("a=mid:{mid}\r\na=extmap:4 {MID}\r\n");
        sdp += &match line.is_audio {
            true => format!("a=extmap:1 {AUDIO_LEVEL}\r\n"),
            false => format!("a=extmap:10 {RID}\r\n"),
        };
        sdp += "a=sendonly\r\na=msid:- sim\r\na=rtcp-mux\r\na=rtcp-rsize\r\n";
        sdp += formats;
        if line.rids.is_empty() {
            sdp += &format!("a=ssrc:{} cname:sim\r\n", line.ssrc);
        } else {
            for rid in &line.rids {
                sdp += &format!("a=rid:{rid} send\r\n");
            }
            sdp += &format!("a=simulcast:send {}\r\n", line.rids.join(";"));
        }
    }
    sdp
}

/// An answer that accepts everything in `offer`: as the DTLS client, with the offer's formats and extensions.
pub fn answer(ours: &Identity, offer: &str) -> String {
    let mut sdp =
        "v=0\r\no=- 4611686018427387905 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n".to_owned();
    let mut sections = offer.split("\r\nm=");
    let session = sections.next().unwrap_or_default();
    for line in session.lines() {
        if line.starts_with("a=group:BUNDLE") || line.starts_with("a=extmap-allow-mixed") {
            sdp += &format!("{line}\r\n");
        }
    }
    for section in sections {
        let mut lines = section.lines();
        sdp += &format!(
            "m={}\r\nc=IN IP4 0.0.0.0\r\n",
            lines.next().unwrap_or_default()
        );
        if !section.starts_with("audio 0 ") && !section.starts_with("video 0 ") {
            sdp += &transport(ours, "active");
        }
        for line in lines {
            let kept = ["a=mid:", "a=rtpmap:", "a=fmtp:", "a=rtcp-fb:", "a=extmap:"];
            let is_kept = kept.iter().any(|name| line.starts_with(name));
            match line {
                "a=sendonly" => sdp += "a=recvonly\r\n",
                "a=inactive" | "a=rtcp-mux" | "a=rtcp-rsize" => sdp += &format!("{line}\r\n"),
                _ if is_kept => sdp += &format!("{line}\r\n"),
                _ => {}
            }
        }
    }
    sdp
}

impl Remote {
    /// Reads the SDP of the other side.
    pub fn read(sdp: &str) -> Self {
        let mut remote = Remote::default();
        for line in sdp.lines() {
            if let Some(first) = line.strip_prefix("m=") {
                remote.lines.push(RemoteLine {
                    is_audio: first.starts_with("audio"),
                    is_off: first.split(' ').nth(1) == Some("0"),
                    ..RemoteLine::default()
                });
                continue;
            }
            let Some(attribute) = line.strip_prefix("a=") else {
                continue;
            };
            let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
            match name {
                "ice-ufrag" => remote.ufrag = value.to_owned(),
                "ice-pwd" => remote.pwd = value.to_owned(),
                "setup" => remote.is_active = value == "active",
                "candidate" if remote.candidate.is_none() => remote.candidate = candidate(value),
                _ => {}
            }
            if let Some(last) = remote.lines.last_mut() {
                last.take(name, value);
            }
        }
        remote
    }

    /// Identifier of the extension `uri`, on the first m-line that has it.
    pub fn extension(&self, uri: &str) -> Option<u8> {
        let mut lines = self.lines.iter();
        lines.find_map(|line| line.extensions.get(uri).copied())
    }
}

impl RemoteLine {
    fn take(&mut self, name: &str, value: &str) {
        let (first, rest) = value.split_once(' ').unwrap_or((value, ""));
        let number: Option<u32> = first.parse().ok();
        match (name, number) {
            ("mid", _) => self.mid = value.to_owned(),
            ("inactive", _) => self.is_off = true,
            ("rtpmap", Some(pt)) => {
                let codec = rest.split('/').next().unwrap_or_default();
                self.codecs.insert(pt as u8, codec.to_ascii_lowercase());
            }
            ("fmtp", Some(pt)) => {
                if let Some(Ok(main)) = rest.strip_prefix("apt=").map(str::parse::<u8>) {
                    self.repeats.insert(pt as u8, main);
                }
            }
            ("extmap", Some(id)) => {
                self.extensions.insert(rest.to_owned(), id as u8);
            }
            ("ssrc", Some(ssrc)) if !self.ssrcs.contains(&ssrc) => self.ssrcs.push(ssrc),
            ("ssrc-group", _) if first == "FID" => {
                let ssrcs: Vec<u32> = rest
                    .split(' ')
                    .filter_map(|ssrc| ssrc.parse().ok())
                    .collect();
                if let [main, rtx] = ssrcs[..] {
                    self.rtx.push((main, rtx));
                }
            }
            (_, _) => {}
        }
    }
}

fn transport(ours: &Identity, setup: &str) -> String {
    let bytes = ours.fingerprint.iter().map(|byte| format!("{byte:02X}"));
    let fingerprint = bytes.collect::<Vec<_>>().join(":");
    let mut sdp = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        sdp,
        "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=ice-options:trickle\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:{setup}\r\n",
        ours.ufrag, ours.pwd
    );
    sdp
}

/// Address of a candidate over UDP (RFC 8839 section 5.1).
fn candidate(value: &str) -> Option<SocketAddr> {
    let fields: Vec<&str> = value.split_ascii_whitespace().collect();
    let [_, _, transport, _, ip, port, ..] = fields[..] else {
        return None;
    };
    let is_udp = transport.eq_ignore_ascii_case("udp");
    let (ip, port) = (ip.parse().ok()?, port.parse().ok()?);
    is_udp.then(|| SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            ufrag: "abcd".into(),
            pwd: "0123456789012345678901".into(),
            fingerprint: [0xa0; 32],
        }
    }

    #[test]
    fn an_offer_says_what_is_sent() {
        let lines = [
            OfferedLine {
                is_audio: true,
                rids: Vec::new(),
                ssrc: 7,
            },
            OfferedLine {
                is_audio: false,
                rids: vec!["q".into(), "h".into()],
                ssrc: 0,
            },
        ];
        let sdp = offer(&identity(), &lines);
        let read = Remote::read(&sdp);
        assert_eq!(
            (&*read.ufrag, &*read.pwd),
            ("abcd", "0123456789012345678901")
        );
        assert_eq!(read.lines.len(), 2);
        assert_eq!((read.lines[0].is_audio, &*read.lines[1].mid), (true, "1"));
        assert_eq!(read.lines[0].ssrcs, [7]);
        assert_eq!(read.lines[1].codecs[&96], "vp8");
        assert_eq!(read.extension(RID), Some(10));
        assert!(sdp.contains("a=simulcast:send q;h\r\n"));
    }

    #[test]
    fn an_answer_keeps_the_lines_of_the_offer() {
        let theirs = "v=0\r\na=group:BUNDLE 0 1\r\na=setup:actpass\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:0\r\n\
             a=candidate:1 1 UDP 2130706431 10.0.0.1 7882 typ host\r\na=sendonly\r\na=rtpmap:96 VP8/90000\r\n\
             a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=ssrc-group:FID 5 6\r\na=ssrc:5 cname:x\r\na=ssrc:6 cname:x\r\n\
             m=audio 0 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\na=inactive\r\n";
        let read = Remote::read(theirs);
        assert_eq!(read.candidate, Some("10.0.0.1:7882".parse().unwrap()));
        let line = &read.lines[0];
        assert_eq!((line.repeats[&97], &line.rtx[..]), (96, &[(5, 6)][..]));
        assert_eq!(line.ssrcs, [5, 6]);
        assert!(!line.is_off && read.lines[1].is_off);
        let ours = Remote::read(&answer(&identity(), theirs));
        assert!(ours.is_active);
        assert_eq!(ours.lines[0].codecs, line.codecs);
        assert!(ours.lines[0].ssrcs.is_empty());
        assert!(ours.lines[1].is_off);
        assert!(answer(&identity(), theirs).contains("a=recvonly\r\n"));
    }
}
