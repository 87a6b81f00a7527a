//! Parses an SDP into sections and lines without copies, in linear time. The session library's parser, which builds an
//! error for each alternative that it tries, reads only the output of [`normalise`](super::normalise).

use std::collections::HashSet;
use std::str::SplitAsciiWhitespace;

use crate::peer::command::CommandError;

/// A session description (RFC 8866): session part and m-lines.
pub(super) struct Description<'a> {
    pub(super) session: Section<'a>,
    pub(super) media: Vec<Section<'a>>,
}

/// The session part, or one m-line with its attribute lines.
#[derive(Default)]
pub(super) struct Section<'a> {
    pub(super) lines: Vec<&'a str>,
}

/// The fields of an m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MediaLine<'a> {
    pub(super) media: &'a str,
    pub(super) port: &'a str,
    pub(super) protocol: &'a str,
    pub(super) formats: Vec<&'a str>,
}

/// Direction of RTP on an m-line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl<'a> Description<'a> {
    /// Parses `sdp`. Lines end with CRLF or LF.
    pub(super) fn read(sdp: &'a str) -> Self {
        let mut session = Section::default();
        let mut media: Vec<Section<'a>> = Vec::new();
        for line in sdp.split('\n').map(str::trim_ascii_end) {
            if line.is_empty() {
                continue;
            }
            if line.starts_with("m=") {
                media.push(Section::default());
            }
            media.last_mut().unwrap_or(&mut session).lines.push(line);
        }
        Self { session, media }
    }

    /// The mids of each BUNDLE group. A mid must be in one group only (RFC 8843 section 6).
    pub(super) fn bundles(&self) -> Vec<Vec<&'a str>> {
        let mut known = HashSet::new();
        let groups = self.session.values("group").filter_map(|group| {
            let mut fields = group.split_ascii_whitespace();
            (fields.next()? == "BUNDLE").then_some(fields)
        });
        let new = |mids: SplitAsciiWhitespace<'a>| -> Vec<&'a str> {
            mids.filter(|mid| known.insert(*mid)).collect()
        };
        groups.map(new).collect()
    }
}

impl<'a> Section<'a> {
    /// Attributes: name, and value (empty for a flag).
    pub(super) fn attributes(&self) -> impl Iterator<Item = (&'a str, &'a str)> + '_ {
        self.lines.iter().filter_map(|line| {
            let attribute = line.strip_prefix("a=")?;
            let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
            Some((name.trim_ascii(), value.trim_ascii()))
        })
    }

    /// Values of all attributes with this name.
    pub(super) fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a str> + 's {
        let named = move |(found, value): (&'a str, &'a str)| (found == name).then_some(value);
        self.attributes().filter_map(named)
    }

    /// Value of the first attribute with this name.
    pub(super) fn value(&self, name: &str) -> Option<&'a str> {
        let mut attributes = self.attributes();
        attributes.find_map(|(found, value)| (found == name).then_some(value))
    }

    /// True if the attribute exists.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Direction attribute of the section, if present.
    pub(super) fn direction(&self) -> Option<Direction> {
        self.attributes().find_map(|(name, _)| match name {
            "sendrecv" => Some(Direction::SendRecv),
            "sendonly" => Some(Direction::SendOnly),
            "recvonly" => Some(Direction::RecvOnly),
            "inactive" => Some(Direction::Inactive),
            _ => None,
        })
    }

    /// Parses the `m=` line of the section, which is m-line number `index`.
    pub(super) fn media_line(&self, index: usize) -> Result<MediaLine<'a>, CommandError> {
        let line = self.lines.first().copied().unwrap_or_default();
        let mut fields = line
            .strip_prefix("m=")
            .unwrap_or(line)
            .split_ascii_whitespace();
        let mut field = |what: &str| {
            fields.next().ok_or_else(|| {
                CommandError::BadSdp(format!(
                    "m-line {index}: '{}' has no {what}",
                    shortened(line)
                ))
            })
        };
        Ok(MediaLine {
            media: field("media type")?,
            port: field("port")?,
            protocol: field("protocol")?,
            formats: fields.collect(),
        })
    }
}

impl MediaLine<'_> {
    /// Port 0: rejected, or used only as part of a BUNDLE group (RFC 8843 section 6).
    pub(super) fn is_port_zero(&self) -> bool {
        let number = self.port.split('/').next().unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte == b'0')
    }
}

impl Direction {
    /// True if the side with this direction may send.
    pub(super) fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// True if the side with this direction may receive.
    pub(super) fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// The first bytes of the client's text, for an error.
pub(super) fn shortened(text: &str) -> &str {
    const SHOWN: usize = 40;
    let mut addresses = (0..=SHOWN.min(text.len())).rev();
    let end = addresses.find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// Description of an m-line for errors: its number or mid.
pub(super) fn named(index: usize, mid: &str) -> String {
    format!("m-line {index} (mid '{}')", shortened(mid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_ending_and_odd_spaces_are_read() {
        let sdp = "v=0\r\na=group:BUNDLE  0 x 0\na=group:LS 0\r\n\r\nm=audio  9 RTP/SAVPF  0  8 \na=mid: 0\r\na=sendonly \n\
                   m=video 0/2 RTP/AVP 96\r\n";
        let read = Description::read(sdp);
        assert_eq!(read.bundles(), [["0", "x"]]);
        assert_eq!(read.media.len(), 2);
        let audio = read.media[0].media_line(0).unwrap();
        assert_eq!((audio.media, audio.protocol), ("audio", "RTP/SAVPF"));
        assert_eq!(audio.formats, ["0", "8"]);
        assert!(!audio.is_port_zero());
        assert_eq!(read.media[0].value("mid"), Some("0"));
        assert_eq!(read.media[0].direction(), Some(Direction::SendOnly));
        assert!(read.media[1].media_line(1).unwrap().is_port_zero());
        assert_eq!(read.media[1].direction(), None);
    }

    #[test]
    fn a_short_m_line_is_named() {
        let read = Description::read("v=0\r\nm=audio 9\r\n");
        let error = read.media[0].media_line(0).unwrap_err().to_string();
        assert_eq!(error, "bad sdp: m-line 0: 'm=audio 9' has no protocol");
    }
}
