//! Parses a client's answer to our offer: the accepted m-lines, and the answer that the session library reads in its
//! place.
//!
//! The library does not see which codecs the client accepted, because it would never change the codecs of an m-line
//! again. Its answer has all codecs of its offer; [`AnsweredLine::accepted`] has the client's choice.

use std::collections::HashMap;

use str0m::IceCreds;
use str0m::format::PayloadParams;

use super::formats::{self, Format, Meaning};
use super::ours::{carried_by, is_of_formats};
use super::read::{Description, Direction, MediaLine, Section, named};
use super::transport::Transport;
use crate::peer::codecs::{self, Accepted, OfferedFormats};
use crate::peer::command::CommandError;
use crate::send::header::CarriedIds;

/// A client's answer after parsing.
pub(in crate::peer) struct Answer {
    /// The answer that the session library reads; `None` when the client rejected every m-line and no transport is
    /// known.
    pub(in crate::peer) normalised: Option<String>,
    /// ICE credentials and transport lines of the client, if the answer has them.
    pub(in crate::peer) transport: Option<(IceCreds, String)>,
    /// Result for each m-line of the session library, in order.
    pub(in crate::peer) lines: Vec<AnsweredLine>,
}

/// The answer for one m-line.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::peer) struct AnsweredLine {
    /// True if the port is 0: the m-line has ended.
    pub(in crate::peer) is_rejected: bool,
    /// True if media may be sent on the m-line.
    pub(in crate::peer) is_taken: bool,
    pub(in crate::peer) accepted: Vec<Accepted>,
    /// Identifiers of forwarded header extensions that the client accepted.
    pub(in crate::peer) carried: CarriedIds,
}

/// The outstanding offer, which the client answers.
pub(in crate::peer) struct OutstandingOffer<'o> {
    /// The session library's offer.
    pub(in crate::peer) written: &'o str,
    /// Formats that each m-line of the session library offered.
    pub(in crate::peer) offered_formats: Vec<&'o OfferedFormats>,
    /// Number of m-lines with port 0 that the session library does not know; they come first, or the library's m-lines
    /// reuse their positions.
    pub(in crate::peer) forgotten: usize,
    /// The client's transport lines in an earlier answer.
    pub(in crate::peer) transport: Option<&'o str>,
}

impl Answer {
    /// Parses `sdp` as the answer to the offer `asked`.
    pub(in crate::peer) fn read(
        sdp: &str,
        asked: &OutstandingOffer<'_>,
    ) -> Result<Self, CommandError> {
        let answer = Description::read(sdp);
        let offer = Description::read(asked.written);
        let offered = offer.media.len() + asked.forgotten.saturating_sub(offer.media.len());
        if answer.media.len() != offered {
            let got = answer.media.len();
            let said = format!("the answer has {got} m-lines, and the offer has {offered}");
            return Err(CommandError::BadSdp(said));
        }
        let mut lines = Vec::with_capacity(offer.media.len());
        for (index, section) in answer.media.iter().enumerate().take(offer.media.len()) {
            let media = section.media_line(index)?;
            check_mid(index, section, &offer.media[index])?;
            let direction = section.direction().or_else(|| answer.session.direction());
            let receives = direction.unwrap_or(Direction::SendRecv).receives();
            let empty = OfferedFormats::default();
            let offered_formats = asked.offered_formats.get(index).copied().unwrap_or(&empty);
            let is_rejected = media.is_port_zero();
            lines.push(AnsweredLine {
                is_rejected,
                is_taken: receives && !is_rejected,
                accepted: accepted(&media, section, offered_formats),
                carried: carried_by(section, &answer.session),
            });
        }
        let zero: Vec<bool> = answer
            .media
            .iter()
            .map(|section| section.media_line(0).is_ok_and(|line| line.is_port_zero()))
            .collect();
        let of = |is_zero: bool| {
            let sections = answer.media.iter().zip(&zero);
            sections
                .filter(move |(_, zero)| **zero == is_zero)
                .map(|(section, _)| section)
        };
        let sections: Vec<&Section<'_>> =
            of(false).chain([&answer.session]).chain(of(true)).collect();
        let transport = match Transport::read(&sections) {
            Ok(transport) => Some(transport),
            Err(_) if zero.iter().all(|zero| *zero) => None,
            Err(error) => return Err(error),
        };
        let transport = transport.map(|transport| (transport.credentials(), transport.lines()));
        let said = transport.as_ref().map(|(_, lines)| &**lines);
        let normalised = said.or(asked.transport).map(|transport| {
            let answered = answer.media.iter().zip(&lines);
            normalised(&offer, answered, transport)
        });
        Ok(Self {
            normalised,
            transport,
            lines,
        })
    }
}

/// Checks the mid of an m-line. Clients without mid support leave it out (RFC 8829 section 5.3.1).
fn check_mid(
    index: usize,
    section: &Section<'_>,
    offered: &Section<'_>,
) -> Result<(), CommandError> {
    let ours = offered.value("mid").unwrap_or_default();
    match section.value("mid") {
        Some(mid) if mid != ours => {
            let said = format!("{} was offered as '{ours}'", named(index, mid));
            Err(CommandError::BadSdp(said))
        }
        Some(_) | None => Ok(()),
    }
}

/// Role of a payload type of our offer.
enum Role {
    Codec,
    Resend,
    Redundancy,
}

/// The codecs that the client accepted. A payload type that we offered for the same codec name identifies our codec;
/// the parameters in the answer are ignored. Any other payload type was chosen by the client: then codec name and
/// parameters identify our codec.
fn accepted(
    line: &MediaLine<'_>,
    section: &Section<'_>,
    offered_formats: &OfferedFormats,
) -> Vec<Accepted> {
    let formats = formats::read(line, section);
    let mut accepted: Vec<Accepted> = Vec::new();
    let mut place_by_pt: HashMap<u8, usize> = HashMap::new();
    for format in &formats {
        let ours = match role_of(format, offered_formats) {
            Some((params, Role::Codec)) => Some(*params),
            Some((_, Role::Resend | Role::Redundancy)) => None,
            None => of_its_own(format, offered_formats),
        };
        let Some(params) = ours else {
            continue;
        };
        place_by_pt.insert(format.pt, accepted.len());
        accepted.push(Accepted {
            params,
            pt: format.pt.into(),
            red: None,
            resend: None,
        });
    }
    for format in &formats {
        // The codec of a retransmission or redundancy format: from the payload type in its parameters, or else from its
        // own payload type.
        let (said, role) = match format.meaning {
            Meaning::Resend(pt) => (place_by_pt.get(&pt).copied(), Some(Role::Resend)),
            Meaning::Redundancy(pt) => (place_by_pt.get(&pt).copied(), Some(Role::Redundancy)),
            Meaning::Codec(_) | Meaning::Unknown => (None, None),
        };
        let (place, role) = match (said, role, role_of(format, offered_formats)) {
            (Some(_), Some(role), _) => (said, role),
            (_, _, Some((params, role))) => {
                let is_it = |accepted: &Accepted| accepted.params.pt() == params.pt();
                (accepted.iter().position(is_it), role)
            }
            (_, _, None) => continue,
        };
        let Some(accepted) = place.map(|place| &mut accepted[place]) else {
            continue;
        };
        match role {
            Role::Codec => {}
            Role::Resend => accepted.resend = Some(format.pt.into()),
            Role::Redundancy => accepted.red = Some(format.pt.into()),
        }
    }
    accepted
}

/// Codec and role of `format` according to its payload type.
fn role_of<'m>(
    format: &Format<'_>,
    offered_formats: &'m OfferedFormats,
) -> Option<(&'m PayloadParams, Role)> {
    let pt = format.pt.into();
    let (params, role, name) = offered_formats.codecs.iter().find_map(|params| {
        if params.pt() == pt {
            return Some((params, Role::Codec, params.spec().codec.to_string()));
        }
        if params.resend() == Some(pt) {
            return Some((params, Role::Resend, "rtx".into()));
        }
        let is_red = params.red() == Some(pt);
        is_red.then(|| (params, Role::Redundancy, "red".into()))
    })?;
    let said = format.name();
    (said.is_empty() || said.eq_ignore_ascii_case(&name)).then_some((params, role))
}

/// The offered codec that matches a format with a payload type chosen by the client.
fn of_its_own(format: &Format<'_>, offered_formats: &OfferedFormats) -> Option<PayloadParams> {
    let Meaning::Codec(spec) = format.meaning else {
        return None;
    };
    let codec = codecs::supported(spec)?;
    let mut offered = offered_formats.codecs.iter();
    offered.find(|params| *params.pt() == codec).copied()
}

fn normalised<'s>(
    offer: &Description<'_>,
    answered: impl Iterator<Item = (&'s Section<'s>, &'s AnsweredLine)>,
    transport: &str,
) -> String {
    let (mut bundle, mut media) = (String::new(), String::new());
    for (offered, (section, line)) in offer.media.iter().zip(answered) {
        let mid = offered.value("mid").unwrap_or_default();
        let mut fields = offered.lines[0].split_ascii_whitespace();
        let kind = fields.next().unwrap_or_default();
        let port = fields.next();
        let is_zero = line.is_rejected || port == Some("0");
        let rest: Vec<&str> = fields.collect();
        let port = if is_zero { 0 } else { 9 };
        let direction = if line.is_taken {
            "recvonly"
        } else {
            "inactive"
        };
        if !is_zero {
            bundle += &format!(" {mid}");
        }
        media += &format!(
            "{kind} {port} {}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na={direction}\r\na=rtcp-mux\r\n",
            rest.join(" ")
        );
        for extension in extensions(section, offered) {
            media += &format!("a=extmap:{extension}\r\n");
        }
        for line in offered.lines.iter().filter(|line| is_of_formats(line)) {
            media += &format!("{line}\r\n");
        }
    }
    format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE{bundle}\r\n{transport}{media}"
    )
}

/// The offered header extensions that the client accepted: id and URI.
fn extensions<'a>(section: &Section<'a>, offered: &Section<'_>) -> Vec<String> {
    let parse = |value: &str| {
        let mut fields = value.split_ascii_whitespace();
        let (id, uri) = (fields.next()?, fields.next()?);
        let (id, direction) = id.split_once('/').unwrap_or((id, "sendrecv"));
        let receives = matches!(direction, "sendrecv" | "recvonly");
        receives.then(|| format!("{id} {uri}"))
    };
    let offered: Vec<String> = offered.values("extmap").filter_map(parse).collect();
    let taken = section.values("extmap").filter_map(parse);
    taken
        .filter(|extension| offered.contains(extension))
        .collect()
}
