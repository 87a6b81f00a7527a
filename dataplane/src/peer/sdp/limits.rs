//! Limits of an SDP that bound the time to read it.

use crate::limits::{MAX_SDP_LINE_BYTES, MAX_SDP_LINES_PER_SECTION, MAX_SSRC_LINES_PER_M_LINE};
use crate::peer::command::CommandError;

/// Checks the number and length of lines, on which the time to parse an SDP depends.
pub(crate) fn check_sizes(sdp: &str) -> Result<(), CommandError> {
    let (mut lines, mut ssrc_lines) = (0, 0);
    for line in sdp.lines() {
        if line.starts_with("m=") {
            (lines, ssrc_lines) = (0, 0);
        }
        lines += usize::from(!line.starts_with("a=candidate:"));
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

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";

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
