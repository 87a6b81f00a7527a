//! Adds our TCP candidates to an SDP. The client's candidates are removed before the SDP is read, because an ICE-lite
//! agent does not need them.

use std::net::SocketAddr;

/// Candidate lines for passive TCP at `candidates` (RFC 6544 section 4.5). Their priority is lower than the priority of
/// UDP host candidates, because a lost TCP segment delays all later data.
pub(in crate::peer) fn tcp_candidates(candidates: &[SocketAddr]) -> String {
    let line = |(number, candidate): (u32, &SocketAddr)| {
        let (ip, port) = (candidate.ip(), candidate.port());
        // RFC 8445 section 5.1.2.1; the local preference contains the direction preference of RFC 6544 section 4.2.
        let local = PASSIVE_PREFERENCE << 13 | (MAX_OTHER_PREFERENCE - number);
        let priority = TCP_HOST_PREFERENCE << 24 | local << 8 | 255;
        format!("a=candidate:t{number} 1 tcp {priority} {ip} {port} typ host tcptype passive\r\n")
    };
    (0..).zip(candidates).map(line).collect()
}

/// Type preference of TCP host candidates: below UDP hosts (126), above relays (0).
const TCP_HOST_PREFERENCE: u32 = 90;
const PASSIVE_PREFERENCE: u32 = 4;
const MAX_OTHER_PREFERENCE: u32 = (1 << 13) - 1;

/// `sdp` with `lines` added behind the last candidate of each m-line that has candidates.
pub(in crate::peer) fn with_candidates(sdp: &str, lines: &str) -> String {
    let is_candidate = |line: &str| line.starts_with("a=candidate:");
    let mut out = String::with_capacity(sdp.len() + lines.len());
    let mut rest = sdp.split_inclusive('\n').peekable();
    while let Some(line) = rest.next() {
        out.push_str(line);
        let is_last = !rest.peek().is_some_and(|next| is_candidate(next));
        if is_candidate(line) && is_last {
            out.push_str(lines);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_is_offered_beside_udp_and_below_it() {
        let both = ["192.0.2.1:7", "[2001:db8::1]:7"].map(|addr| addr.parse().unwrap());
        let lines = tcp_candidates(&both);
        assert_eq!(
            lines,
            "a=candidate:t0 1 tcp 1520435199 192.0.2.1 7 typ host tcptype passive\r\n\
             a=candidate:t1 1 tcp 1520434943 2001:db8::1 7 typ host tcptype passive\r\n"
        );
        let udp = "a=candidate:1 1 udp 2130706175 192.0.2.1 7 typ host\r\n";
        let sdp = format!("v=0\r\nm=audio 9\r\n{udp}{udp}a=mid:0\r\nm=video 9\r\na=mid:1\r\n");
        let expected =
            format!("v=0\r\nm=audio 9\r\n{udp}{udp}{lines}a=mid:0\r\nm=video 9\r\na=mid:1\r\n");
        assert_eq!(with_candidates(&sdp, &lines), expected);
    }
}
