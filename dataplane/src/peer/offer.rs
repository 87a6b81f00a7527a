//! An offer before the session layer sees it: its size is checked, and m-lines of media that we do not speak are taken out,
//! to be rejected in the answer (RFC 3264 section 6): data channels, text, and whatever else there is.
//!
//! The session layer would accept a data channel and keep an SCTP association for it that nobody uses.

use crate::command::CommandError;
use crate::limits::{MAX_SDP_LINE_BYTES, MAX_SDP_LINES_PER_SECTION, MAX_SSRC_LINES_PER_M_LINE};

/// An offer, taken apart.
pub(super) struct Offer {
    /// What the session layer gets.
    pub(super) supported: String,
    /// For each m-line of the offer its rejection; `None` for those that the session layer answers.
    rejections: Vec<Option<String>>,
}

/// One part of an SDP: the session's, or an m-line and what belongs to it.
struct Section<'a> {
    lines: Vec<&'a str>,
}

/// Attributes of a transport, which the tagged m-line of a BUNDLE group may have for all others (RFC 8843 section 7.1.3).
const TRANSPORT: [&str; 5] = [
    "a=ice-ufrag:",
    "a=ice-pwd:",
    "a=ice-options:",
    "a=fingerprint:",
    "a=setup:",
];

/// Checks the sizes that reading an SDP costs time for.
pub(crate) fn check_sizes(sdp: &str) -> Result<(), CommandError> {
    let (mut lines, mut ssrc_lines) = (0, 0);
    for line in sdp.lines() {
        if line.starts_with("m=") {
            (lines, ssrc_lines) = (0, 0);
        }
        lines += usize::from(!is_candidate(line));
        ssrc_lines += usize::from(line.starts_with("a=ssrc"));
        at_most("bytes of an sdp line", line.len(), MAX_SDP_LINE_BYTES)?;
        let (name, limit) = ("sdp lines of an m-line", MAX_SDP_LINES_PER_SECTION);
        at_most(name, lines, limit)?;
        let (name, limit) = ("a=ssrc lines of an m-line", MAX_SSRC_LINES_PER_M_LINE);
        at_most(name, ssrc_lines, limit)?;
    }
    Ok(())
}

fn at_most(what: &'static str, got: usize, limit: usize) -> Result<(), CommandError> {
    match got <= limit {
        true => Ok(()),
        false => Err(CommandError::TooMany { what, got, limit }),
    }
}

impl Offer {
    /// Takes `sdp` apart.
    pub(super) fn read(sdp: &str) -> Self {
        let (mut session, media) = sections(sdp);
        let is_supported = |section: &&Section<'_>| section.is_supported();
        let rejections = media
            .iter()
            .map(|section| (!section.is_supported()).then(|| section.rejection()))
            .collect();
        let rejected_mids: Vec<&str> = media
            .iter()
            .filter(|section| !section.is_supported())
            .filter_map(Section::mid)
            .collect();
        let has_transport = std::iter::once(&session)
            .chain(media.iter().filter(is_supported))
            .any(|section| section.has("a=ice-ufrag:"));
        if !has_transport {
            // What the tagged m-line says of the transport holds for the session.
            let tagged = media.iter().find(|section| section.has("a=ice-ufrag:"));
            let lines = tagged.iter().flat_map(|section| &section.lines);
            let is_transport = |line: &&&str| TRANSPORT.iter().any(|name| line.starts_with(name));
            session.lines.extend(lines.filter(is_transport));
        }
        let mut supported = String::with_capacity(sdp.len());
        for line in session.lines {
            put_line(&mut supported, &without_mids(line, &rejected_mids));
        }
        let kept = media.iter().filter(is_supported);
        for line in kept.flat_map(|section| &section.lines) {
            if !is_candidate(line) {
                put_line(&mut supported, line);
            }
        }
        Self {
            supported,
            rejections,
        }
    }

    /// `answer` of the session layer with one m-line for each m-line of the offer.
    pub(super) fn complete(&self, answer: &str) -> String {
        if self.rejections.iter().all(Option::is_none) {
            return answer.to_owned();
        }
        let (session, media) = sections(answer);
        let mut media = media.into_iter();
        let mut out = String::with_capacity(answer.len() + 256);
        session
            .lines
            .iter()
            .for_each(|line| put_line(&mut out, line));
        for rejection in &self.rejections {
            match rejection {
                Some(rejection) => out.push_str(rejection),
                None => media
                    .next()
                    .iter()
                    .flat_map(|section| &section.lines)
                    .for_each(|line| put_line(&mut out, line)),
            }
        }
        out
    }
}

impl<'a> Section<'a> {
    fn is_supported(&self) -> bool {
        let media = self.lines[0].strip_prefix("m=");
        let media = media.and_then(|rest| rest.split(' ').next());
        matches!(media, Some("audio" | "video"))
    }

    fn mid(&self) -> Option<&'a str> {
        let mut mids = self
            .lines
            .iter()
            .filter_map(|line| line.strip_prefix("a=mid:"));
        mids.next()
    }

    fn has(&self, name: &str) -> bool {
        self.lines.iter().any(|line| line.starts_with(name))
    }

    /// The m-line with port 0, and the name that both sides know it by.
    fn rejection(&self) -> String {
        let mut fields = self.lines[0].split_ascii_whitespace();
        let media = fields.next().unwrap_or("m=application");
        let rest: Vec<&str> = fields.skip(1).collect();
        let mut out = format!(
            "{media} 0 {}\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\n",
            rest.join(" ")
        );
        if let Some(mid) = self.mid() {
            put_line(&mut out, &format!("a=mid:{mid}"));
        }
        out
    }
}

/// The session's part and those of the m-lines.
fn sections(sdp: &str) -> (Section<'_>, Vec<Section<'_>>) {
    let mut session = Section { lines: Vec::new() };
    let mut media: Vec<Section<'_>> = Vec::new();
    for line in sdp.lines() {
        if line.starts_with("m=") {
            media.push(Section { lines: Vec::new() });
        }
        media.last_mut().unwrap_or(&mut session).lines.push(line);
    }
    (session, media)
}

/// A BUNDLE group without `mids`; any other line as it is.
fn without_mids(line: &str, mids: &[&str]) -> String {
    let Some(group) = line.strip_prefix("a=group:BUNDLE") else {
        return line.to_owned();
    };
    let kept = group
        .split_ascii_whitespace()
        .filter(|mid| !mids.contains(mid));
    let kept: Vec<&str> = kept.collect();
    match kept.is_empty() {
        true => String::new(),
        false => format!("a=group:BUNDLE {}", kept.join(" ")),
    }
}

/// ICE-lite has no use for the client's candidates.
fn is_candidate(line: &str) -> bool {
    line.starts_with("a=candidate:")
}

fn put_line(out: &mut String, line: &str) {
    if !line.is_empty() {
        out.push_str(line);
        out.push_str("\r\n");
    }
}

#[cfg(test)]
mod cost; // what an offer can cost

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";

    #[test]
    fn what_we_do_not_speak_is_taken_out_and_rejected_in_its_place() {
        let offer = format!(
            "{SESSION}a=group:BUNDLE d 0 t 1\r\n\
             m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n\
             a=fingerprint:sha-256 00\r\na=setup:actpass\r\na=sctp-port:5000\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n\
             m=text 9 UDP/TLS/RTP/SAVPF 98 99\r\na=mid:t\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n"
        );
        let offer = Offer::read(&offer);
        assert_eq!(
            offer.supported,
            format!(
                "{SESSION}a=group:BUNDLE 0 1\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\na=fingerprint:sha-256 00\r\n\
                 a=setup:actpass\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
                 m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n"
            )
        );
        let answer = format!(
            "{SESSION}a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n"
        );
        assert_eq!(
            offer.complete(&answer),
            format!(
                "{SESSION}a=group:BUNDLE 0 1\r\n\
                 m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\na=mid:d\r\n\
                 m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
                 m=text 0 UDP/TLS/RTP/SAVPF 98 99\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\na=mid:t\r\n\
                 m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n"
            )
        );
    }

    #[test]
    fn an_offer_that_is_all_ours_stays_as_it_is_without_candidates() {
        let offer = format!(
            "{SESSION}a=group:BUNDLE 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:u\r\n"
        );
        let with_candidate = format!("{offer}a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n");
        let read = Offer::read(&with_candidate);
        assert_eq!(read.supported, offer);
        assert_eq!(read.complete("anything"), "anything");
    }

    #[test]
    fn sizes_have_limits_that_are_named() {
        let of =
            |line: &str, count: usize| format!("{SESSION}m=video 9 X 1\r\n{}", line.repeat(count));
        let too_many = |what, got, limit| Err(CommandError::TooMany { what, got, limit });
        let lines = |count| check_sizes(&of("a=x\r\n", count));
        assert_eq!(lines(MAX_SDP_LINES_PER_SECTION - 1), Ok(()));
        let limit = MAX_SDP_LINES_PER_SECTION;
        assert_eq!(
            lines(MAX_SDP_LINES_PER_SECTION),
            too_many("sdp lines of an m-line", limit + 1, limit)
        );
        let limit = MAX_SSRC_LINES_PER_M_LINE;
        let ssrcs = |count| check_sizes(&of("a=ssrc:1 cname:x\r\n", count));
        assert_eq!(ssrcs(limit), Ok(()));
        assert_eq!(
            ssrcs(limit + 1),
            too_many("a=ssrc lines of an m-line", limit + 1, limit)
        );
        let two = format!(
            "{}{}",
            of("a=ssrc:1 x\r\n", limit),
            of("a=ssrc:1 x\r\n", limit)
        );
        assert_eq!(check_sizes(&two), Ok(()), "each m-line counts its own");
        let limit = MAX_SDP_LINE_BYTES;
        let long = |bytes| check_sizes(&of(&"x".repeat(bytes), 1));
        assert_eq!(long(limit), Ok(()));
        assert_eq!(
            long(limit + 1),
            too_many("bytes of an sdp line", limit + 1, limit)
        );
        let candidates = of("a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n", 3_000);
        assert_eq!(check_sizes(&candidates), Ok(()), "they are left out");
    }
}
