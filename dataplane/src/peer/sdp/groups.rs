//! Lip sync groups in our offers: media stream ids and CNAMEs.

use crate::media::subscription::SyncGroup;

/// Our offer `sdp` with the media stream id (RFC 8830) and CNAME (RFC 5576 section 6.1) that `group` returns for each
/// mid. Browsers play tracks of one media stream in sync. The session layer chooses random values for each m-line.
pub(in crate::peer) fn with_groups<'g>(
    sdp: &str,
    group: impl Fn(&str) -> Option<&'g SyncGroup>,
) -> String {
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

/// `line` with the names of `group`; `None` if the line contains no such name.
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
