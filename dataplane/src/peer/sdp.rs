//! What has to be changed in an SDP that the session layer wrote.

use std::net::SocketAddr;

use str0m::IceCreds;

use crate::subscription::SyncGroup;

/// `sdp` without the client's candidates: ICE-lite has no use for them.
pub(super) fn without_candidates(sdp: &str) -> String {
    let kept = sdp
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("a=candidate:"));
    kept.collect()
}

/// The ICE credentials in `sdp`: its session's, or those of its first m-line that has some. With BUNDLE, which all clients
/// use, there is one transport.
pub(super) fn ice_credentials(sdp: &str) -> Option<IceCreds> {
    let value = |name: &str| sdp.lines().find_map(|line| line.strip_prefix(name));
    Some(IceCreds {
        ufrag: value("a=ice-ufrag:")?.trim().to_owned(),
        pass: value("a=ice-pwd:")?.trim().to_owned(),
    })
}

/// Lines that offer passive TCP at `candidates` (RFC 6544 section 4.5); lower than all of UDP, because what is
/// lost on the way holds up all that comes after it.
pub(super) fn tcp_candidates(candidates: &[SocketAddr]) -> String {
    let line = |(number, candidate): (u32, &SocketAddr)| {
        let (ip, port) = (candidate.ip(), candidate.port());
        // RFC 8445 section 5.1.2.1, with the direction preference of RFC 6544 section 4.2 in the local one.
        let local = PASSIVE_PREFERENCE << 13 | (MAX_OTHER_PREFERENCE - number);
        let priority = TCP_HOST_PREFERENCE << 24 | local << 8 | 255;
        format!("a=candidate:t{number} 1 tcp {priority} {ip} {port} typ host tcptype passive\r\n")
    };
    (0..).zip(candidates).map(line).collect()
}

/// The type preference: below that of hosts over UDP (126), above that of relays (0).
const TCP_HOST_PREFERENCE: u32 = 90;
const PASSIVE_PREFERENCE: u32 = 4;
const MAX_OTHER_PREFERENCE: u32 = (1 << 13) - 1;

/// `sdp` with `lines` after the last candidate of each m-line that has some.
pub(super) fn with_candidates(sdp: &str, lines: &str) -> String {
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

/// `sdp` of ours with the media stream id (RFC 8830) and the CNAME (RFC 5576 section 6.1) of each m-line as `group` of its
/// mid says: browsers play tracks of one stream in sync. The session layer chooses them at random, for each m-line anew.
pub(super) fn with_groups<'g>(sdp: &str, group: impl Fn(&str) -> Option<&'g SyncGroup>) -> String {
    let mut out = String::with_capacity(sdp.len());
    let starts = sdp.match_indices("m=").map(|(at, _)| at);
    let mut starts: Vec<usize> = starts
        .filter(|at| *at == 0 || sdp[..*at].ends_with('\n'))
        .collect();
    starts.push(sdp.len());
    out.push_str(&sdp[..starts[0]]);
    for bounds in starts.windows(2) {
        let section = &sdp[bounds[0]..bounds[1]];
        let mid = section.lines().find_map(|line| line.strip_prefix("a=mid:"));
        let Some(group) = mid.and_then(&group) else {
            out.push_str(section);
            continue;
        };
        for line in section.split_inclusive('\n') {
            match regrouped(line, group) {
                Some(regrouped) => out.push_str(&regrouped),
                None => out.push_str(line),
            }
        }
    }
    out
}

/// `line` with the names of `group`; `None` when it has none to change.
fn regrouped(line: &str, group: &SyncGroup) -> Option<String> {
    let SyncGroup { stream, cname } = group;
    if let Some(msid) = line.strip_prefix("a=msid:") {
        let (_, track) = msid.trim_end().split_once(' ')?;
        return Some(format!("a=msid:{stream} {track}\r\n"));
    }
    let (ssrc, attribute) = line.strip_prefix("a=ssrc:")?.trim_end().split_once(' ')?;
    let (name, value) = attribute.split_once(':')?;
    match name {
        "cname" => Some(format!("a=ssrc:{ssrc} cname:{cname}\r\n")),
        "msid" => {
            let (_, track) = value.split_once(' ')?;
            Some(format!("a=ssrc:{ssrc} msid:{stream} {track}\r\n"))
        }
        _ => None,
    }
}

/// `answer` with the payload types of each m-line in the order of `offer`.
///
/// The answerer should keep the offerer's order of preference (RFC 3264 section 6.1), and browsers send
/// the first codec of the answer: without this, the client's choice of codec and of redundancy is lost.
pub(super) fn in_the_order_of_the_offer(offer: &str, answer: &str) -> String {
    let mut preferences = offer.lines().filter(|line| line.starts_with("m="));
    let mut out = String::with_capacity(answer.len());
    for line in answer.split_inclusive('\n') {
        match line.starts_with("m=").then(|| preferences.next()).flatten() {
            Some(preferred) => out.push_str(&reorder(preferred, line)),
            None => out.push_str(line),
        }
    }
    out
}

/// Fields of an m-line before its formats: media, port, protocol (RFC 8866 section 5.14).
const FIELDS_BEFORE_FORMATS: usize = 3;

fn reorder(preferred: &str, line: &str) -> String {
    let formats = |line: &str| -> Vec<String> {
        line.split_ascii_whitespace()
            .skip(FIELDS_BEFORE_FORMATS)
            .map(str::to_owned)
            .collect()
    };
    let order = formats(preferred);
    let rank = |format: &String| order.iter().position(|known| known == format);
    let mut sorted = formats(line);
    sorted.sort_by_key(|format| rank(format).unwrap_or(usize::MAX));
    let fields = line
        .split_ascii_whitespace()
        .take(FIELDS_BEFORE_FORMATS)
        .map(str::to_owned);
    let fields: Vec<String> = fields.chain(sorted).collect();
    format!("{}\r\n", fields.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_left_out() {
        let sdp = "v=0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\na=mid:0\r\n";
        assert_eq!(without_candidates(sdp), "v=0\r\na=mid:0\r\n");
    }

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

    #[test]
    fn the_client_chooses_what_comes_first() {
        let offer = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 63 9\r\nm=video 9 UDP/TLS/RTP/SAVPF 45 46 96 97\r\n";
        let answer = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 63 111\r\na=mid:0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97 45 46 120\r\na=mid:1\r\n";
        let expected = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\na=mid:0\r\nm=video 9 UDP/TLS/RTP/SAVPF 45 46 96 97 120\r\na=mid:1\r\n";
        assert_eq!(in_the_order_of_the_offer(offer, answer), expected);
        assert_eq!(
            in_the_order_of_the_offer("", answer),
            answer,
            "nothing to go by"
        );
    }
}
