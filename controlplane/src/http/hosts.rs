//! Checks `Host` and `Origin` against the names of this server while demo tokens are enabled. A
//! page of another site whose name resolves to this host (DNS rebinding) must not join with a demo
//! token through its visitor's browser.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use axum::http::{HeaderMap, Uri, header};

/// Names of this server. `localhost` and all IP addresses are allowed in addition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

/// A host with an optional port, from `Host`, an authority or an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    name: Name,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    /// Lower case, without a trailing dot.
    Dns(String),
    Address(IpAddr),
}

/// Number of characters of a host that an error quotes.
const QUOTED_CHARS: usize = 100;

/// The text is not `host[:port]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoHost;

impl Hosts {
    /// Allows these names. `*.example.com` matches exactly one label before `.example.com`, as in a
    /// certificate.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let clean = |name: String| name.trim_end_matches('.').to_ascii_lowercase();
        Self(names.into_iter().map(clean).collect())
    }

    /// Checks the target and the headers of a request. Returns the reason for a refusal.
    pub(super) fn refuse(&self, uri: &Uri, headers: &HeaderMap) -> Option<String> {
        let mut named = headers.get_all(header::HOST).iter();
        let (first, more) = (named.next(), named.next());
        if more.is_some() {
            return Some("the request has more than one Host".to_owned());
        }
        let text = first.map(|value| String::from_utf8_lossy(value.as_bytes()));
        // If the target has an authority, a proxy uses that (RFC 9112 section 3.2.2).
        let authority = uri.authority().map(|authority| authority.as_str().into());
        if text.is_none() && authority.is_none() {
            return Some(refusal("Host", ""));
        }
        let mut all = text.into_iter().chain(authority);
        let foreign = all.find(|text| !text.parse().is_ok_and(|host| self.allows(&host)))?;
        Some(refusal("Host", &foreign))
    }

    /// Checks the origin of the page. Returns the reason why it must not use demo tokens.
    pub(super) fn refuse_origin(&self, headers: &HeaderMap) -> Option<String> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let foreign = origins.find(|origin| {
            let text = origin.to_str().unwrap_or_default();
            let host = text
                .strip_prefix("http://")
                .or_else(|| text.strip_prefix("https://"));
            !host.is_some_and(|host| host.parse().is_ok_and(|host| self.allows(&host)))
        })?;
        Some(refusal(
            "Origin",
            &String::from_utf8_lossy(foreign.as_bytes()),
        ))
    }

    fn allows(&self, host: &Host) -> bool {
        match &host.name {
            // An IP address is not resolved by DNS, so DNS rebinding is impossible.
            Name::Address(_) => true,
            Name::Dns(name) => {
                name == "localhost"
                    || name.ends_with(".localhost")
                    || self.0.iter().any(|known| matches_name(known, name))
            }
        }
    }
}

fn matches_name(known: &str, name: &str) -> bool {
    match known.strip_prefix("*.") {
        None => known == name,
        Some(rest) => name
            .split_once('.')
            .is_some_and(|(label, of)| !label.is_empty() && of == rest),
    }
}

fn refusal(what: &str, host: &str) -> String {
    let host: String = host.chars().take(QUOTED_CHARS).collect();
    let host = host.escape_default();
    format!(
        "{what} '{host}' is no name of this server, which gives demo tokens: name it in allowed-hosts \
         (SPILLWAY_ALLOWED_HOSTS), or set demo-tokens to false"
    )
}

/// The host in a request's target or `Host`; `None` if it is missing or invalid.
pub(super) fn of_request(uri: &Uri, headers: &HeaderMap) -> Option<Host> {
    let text = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => headers.get(header::HOST)?.to_str().ok()?,
    };
    text.parse().ok()
}

impl FromStr for Host {
    type Err = NoHost;

    /// Parses `uri-host [ ":" port ]` (RFC 9110 section 7.2).
    fn from_str(text: &str) -> Result<Self, NoHost> {
        let (name, rest) = match text.strip_prefix('[') {
            Some(bracketed) => {
                let (address, rest) = bracketed.split_once(']').ok_or(NoHost)?;
                let address: Ipv6Addr = address.parse().map_err(|_| NoHost)?;
                (Name::Address(address.into()), rest)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                (dns(&text[..end])?, &text[end..])
            }
        };
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            None => return Err(NoHost),
            Some("") => None,
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(port.parse().map_err(|_| NoHost)?)
            }
            Some(_) => return Err(NoHost),
        };
        Ok(Self { name, port })
    }
}

fn dns(text: &str) -> Result<Name, NoHost> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(Name::Address(address.into()));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        !label.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // Other notations of an IPv4 address end with a number, host names do not (URL standard, "ends
    // in a number checker").
    let is_number = |label: &str| match label.strip_prefix("0x") {
        Some(hex) => hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    if !name.split('.').all(is_label) || is_number(last) {
        return Err(NoHost);
    }
    Ok(Name::Dns(name))
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Name::Dns(name) => f.write_str(name)?,
            Name::Address(IpAddr::V4(address)) => write!(f, "{address}")?,
            Name::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn hosts() -> Hosts {
        Hosts::new(["Rtc.Example.com.", "*.example.net", "2ndbox", "rtc.0xyz"].map(str::to_owned))
    }

    fn refused(target: &str, named: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for host in named {
            headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        hosts().refuse(&target.parse().unwrap(), &headers)
    }

    #[test]
    fn names_of_the_server_and_addresses_pass_in_every_notation() {
        for host in [
            "localhost",
            "LOCALHOST:7880",
            "localhost.",
            "app.localhost:1",
            "127.0.0.1",
            "127.0.0.1:7880",
            "192.168.1.5:7880",
            "[::1]",
            "[::1]:7880",
            "[2001:DB8::5]:7880",
            "rtc.example.com",
            "RTC.example.COM.:443",
            "rtc.example.com:",
            "a.example.net",
            "b.example.net.:80",
            "2ndbox:7880",
            "rtc.0xyz",
            "0x7f.localhost",
        ] {
            assert_eq!(refused("/v1/demo/token", &[host]), None, "{host}");
        }
    }

    #[test]
    fn other_names_and_what_is_none_are_refused() {
        for host in [
            "evil.example",
            "evil.example:7880",
            "localhost.evil.example",
            "evillocalhost",
            "rtc.example.com.evil",
            "xrtc.example.com",
            "a.b.example.net",
            "example.net",
            ".example.net",
            "127.0.0.1.evil.example",
            "",
            "localhost@evil.example",
            "evil.example@localhost",
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
            "0x7f000001",
            "0X7F000001",
            "127.0.0.0x1",
            "127.0.0.0x",
            "3rdbox",
            "[::1",
            "[evil]",
            "[::1]x",
            "::1",
            "localhost:x",
            "localhost:99999",
            "local host",
            "localhost..",
            "a..localhost",
            "localhost,evil.example",
        ] {
            assert!(refused("/v1/demo/token", &[host]).is_some(), "{host}");
        }
        let said = refused("/", &["evil.example:7880"]).unwrap();
        assert!(
            said.contains("'evil.example:7880'") && said.contains("allowed-hosts"),
            "{said}"
        );
        assert!(refused("/", &[]).is_some(), "HTTP/1.0 needs no Host");
        assert!(refused("/", &["localhost", "localhost"]).is_some());
        assert!(refused("/", &["localhost", "evil.example"]).is_some());
        // Both the authority of the target and `Host` are checked.
        assert!(refused("http://evil.example/", &["localhost"]).is_some());
        assert!(refused("http://localhost/", &["evil.example"]).is_some());
        assert_eq!(refused("http://localhost:7880/", &["localhost:7880"]), None);
        let long = refused("/", &[&"x".repeat(5_000)]).unwrap();
        assert!(long.len() < 500);
    }

    #[test]
    fn origins_are_those_of_the_same_hosts() {
        let refused = |origin: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
            hosts().refuse_origin(&headers)
        };
        for origin in [
            "http://localhost:3000",
            "https://rtc.example.com",
            "http://127.0.0.1:7880",
            "http://[::1]",
        ] {
            assert_eq!(refused(origin), None, "{origin}");
        }
        for origin in [
            "null",
            "http://evil.example",
            "https://evil.example:7880",
            "file://",
            "localhost",
            "ftp://localhost",
            "http://localhost.evil.example",
            "http://evil.example/http://localhost",
        ] {
            let said = refused(origin).unwrap();
            assert!(said.contains("Origin"), "{said}");
        }
        assert_eq!(hosts().refuse_origin(&HeaderMap::new()), None, "not a page");
    }
}
