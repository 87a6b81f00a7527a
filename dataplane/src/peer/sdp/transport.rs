//! The client's transport in an SDP: ICE credentials and DTLS fingerprint.

use str0m::IceCreds;

use super::read::{Section, shortened};
use crate::peer::command::CommandError;

/// Length of a SHA-256 fingerprint as text.
const SHA256_TEXT_BYTES: usize = 32 * 3 - 1;
/// Length of a SHA-1 fingerprint as text.
const SHA1_TEXT_BYTES: usize = 20 * 3 - 1;

/// The client's transport, which all m-lines of the session share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transport<'a> {
    ufrag: &'a str,
    pwd: &'a str,
    /// Hash function in lower case, and the fingerprint as hexadecimal bytes.
    fingerprint: (&'static str, &'a str),
    setup: &'a str,
    is_lite: bool,
}

impl<'a> Transport<'a> {
    /// Reads the transport from `sections`. The first section with a value is used. The session part comes after the
    /// m-lines (RFC 8839 section 5.4).
    pub(super) fn read(sections: &[&Section<'a>]) -> Result<Self, CommandError> {
        let missing = |what: &str| CommandError::BadSdp(format!("the sdp has no {what}"));
        let credentials = sections
            .iter()
            .find_map(|section| Some((section.value("ice-ufrag")?, section.value("ice-pwd")?)));
        let (ufrag, pwd) = credentials.ok_or_else(|| missing("a=ice-ufrag with a=ice-pwd"))?;
        let offered = || {
            sections
                .iter()
                .flat_map(|section| section.values("fingerprint"))
        };
        let known = offered().filter_map(fingerprint);
        let fingerprint = known
            .max_by_key(|(hash, _)| *hash == "sha-256")
            .ok_or_else(|| match offered().next() {
                Some(other) => CommandError::BadSdp(format!(
                    "a=fingerprint '{}' is no whole fingerprint of sha-256 or sha-1",
                    shortened(other)
                )),
                None => missing("a=fingerprint"),
            })?;
        let setup = sections.iter().find_map(|section| section.value("setup"));
        Ok(Self {
            ufrag,
            pwd,
            fingerprint,
            setup: setup.filter(|setup| is_setup(setup)).unwrap_or("actpass"),
            is_lite: sections.iter().any(|section| section.has("ice-lite")),
        })
    }

    /// Transport lines for the session part of an SDP.
    pub(super) fn lines(&self) -> String {
        let Self {
            ufrag,
            pwd,
            fingerprint: (hash, bytes),
            setup,
            is_lite,
        } = self;
        let lite = if *is_lite { "a=ice-lite\r\n" } else { "" };
        format!(
            "{lite}a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\na=fingerprint:{hash} {bytes}\r\na=setup:{setup}\r\n"
        )
    }

    pub(super) fn credentials(&self) -> IceCreds {
        IceCreds {
            ufrag: self.ufrag.to_owned(),
            pass: self.pwd.to_owned(),
        }
    }
}

/// Parses a fingerprint with a hash function that the session library supports. Names of hash functions are
/// case-insensitive (RFC 8122 section 5).
fn fingerprint(value: &str) -> Option<(&'static str, &str)> {
    let (hash, bytes) = value.split_once(|c: char| c.is_ascii_whitespace())?;
    let bytes = bytes.trim_ascii();
    let (hash, length) = match hash.to_ascii_lowercase().as_str() {
        "sha-256" => ("sha-256", SHA256_TEXT_BYTES),
        "sha-1" => ("sha-1", SHA1_TEXT_BYTES),
        _ => return None,
    };
    let is_pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
    let is_whole = bytes.len() == length && bytes.split(':').all(is_pair);
    is_whole.then_some((hash, bytes))
}

fn is_setup(setup: &str) -> bool {
    matches!(setup, "actpass" | "active" | "passive")
}

#[cfg(test)]
mod tests {
    use super::super::read::Description;
    use super::*;

    #[test]
    fn of_several_fingerprints_the_one_with_sha_256_counts_whatever_its_case() {
        let sha256 = ["ab"; 32].join(":");
        let sdp = format!(
            "v=0\na=ice-lite\na=ice-ufrag:u\na=ice-pwd:p\na=fingerprint:SHA-512 {sha256}\n\
             a=fingerprint:sha-1 {}\na=fingerprint:SHA-256 {sha256}\na=setup:holdconn\n",
            ["AB"; 20].join(":")
        );
        let read = Description::read(&sdp);
        let transport = Transport::read(&[&read.session]).unwrap();
        assert_eq!(
            transport.lines(),
            format!(
                "a=ice-lite\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\na=fingerprint:sha-256 {sha256}\r\na=setup:actpass\r\n"
            )
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let of = |lines: &str| {
            let sdp = format!("v=0\n{lines}");
            let read = Description::read(&sdp);
            Transport::read(&[&read.session]).unwrap_err().to_string()
        };
        assert_eq!(of(""), "bad sdp: the sdp has no a=ice-ufrag with a=ice-pwd");
        let ice = "a=ice-ufrag:u\na=ice-pwd:p\n";
        assert_eq!(of(ice), "bad sdp: the sdp has no a=fingerprint");
        let short = of(&format!("{ice}a=fingerprint:sha-256 00:11\n"));
        assert_eq!(
            short,
            "bad sdp: a=fingerprint 'sha-256 00:11' is no whole fingerprint of sha-256 or sha-1"
        );
    }
}
