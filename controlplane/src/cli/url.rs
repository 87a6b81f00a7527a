//! Parses the URL of a control plane that a user typed. An error contains the corrected URL.

use axum::http::Uri;

/// URL of a control plane: scheme `http` or `https`, host, optional port, and the public path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerUrl {
    /// Scheme, host and port.
    pub(super) origin: String,
    /// The public path without its trailing slash; empty for the root.
    pub(super) path: String,
}

/// Why a text is not such a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--url '{given}' {why}: type --url {wanted}")]
pub(super) struct NoServerUrl {
    given: String,
    why: &'static str,
    wanted: String,
}

/// Example of a URL, for errors.
const EXAMPLE: &str = "http://127.0.0.1:7880";

impl ServerUrl {
    /// The URL of `path` of the API.
    pub(super) fn of(&self, path: &str) -> String {
        format!("{}{}{path}", self.origin, self.path)
    }

    /// The origin with the other scheme, for an error message.
    pub(super) fn other_scheme(&self) -> String {
        match self.origin.strip_prefix("https://") {
            Some(host) => format!("http://{host}"),
            None => self.origin.replacen("http://", "https://", 1),
        }
    }

    pub(super) fn is_https(&self) -> bool {
        self.origin.starts_with("https://")
    }
}

impl std::str::FromStr for ServerUrl {
    type Err = NoServerUrl;

    fn from_str(given: &str) -> Result<Self, NoServerUrl> {
        let refuse = |why, wanted: String| NoServerUrl {
            given: given.chars().take(200).collect(),
            why,
            wanted,
        };
        let given_trimmed = given.trim();
        let Some((scheme, rest)) = given_trimmed.split_once("://") else {
            let wanted = match format!("http://{given_trimmed}").parse::<Self>() {
                Ok(url) if !given_trimmed.is_empty() => url.origin,
                Ok(_) | Err(_) => EXAMPLE.to_owned(),
            };
            return Err(refuse("has no scheme", wanted));
        };
        let scheme = scheme.to_ascii_lowercase();
        let scheme = match &*scheme {
            "http" | "https" => scheme,
            "ws" | "wss" => {
                let wanted = scheme.replacen("ws", "http", 1);
                let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
                return Err(refuse("is a signaling URL", format!("{wanted}://{host}")));
            }
            _ => {
                return Err(refuse(
                    "has another scheme than http and https",
                    EXAMPLE.to_owned(),
                ));
            }
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if let Some((_, host)) = authority.rsplit_once('@') {
            return Err(refuse(
                "has a user's name, and none is asked for",
                format!("{scheme}://{host}"),
            ));
        }
        let origin = format!("{scheme}://{authority}");
        let uri: Option<Uri> = origin.parse().ok();
        let port_is_one = |uri: &Uri| {
            let text = authority
                .rsplit_once(':')
                .filter(|(_, port)| !port.ends_with(']'));
            text.is_none() || uri.port_u16().is_some_and(|port| port != 0)
        };
        if !uri
            .is_some_and(|uri| uri.host().is_some_and(|host| !host.is_empty()) && port_is_one(&uri))
        {
            return Err(refuse(
                "has no host and port that can be asked",
                EXAMPLE.to_owned(),
            ));
        }
        if path.contains(['?', '#']) {
            return Err(refuse("has more than a path", origin));
        }
        let path = path.trim_end_matches('/').to_owned();
        if format!("{origin}{path}/").parse::<Uri>().is_err() {
            return Err(refuse("has a path that is none", origin));
        }
        Ok(Self { origin, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_scheme_and_a_host() {
        for (given, origin, path) in [
            ("http://127.0.0.1:7880", "http://127.0.0.1:7880", ""),
            ("https://rtc.example.com/", "https://rtc.example.com", ""),
            (
                "HTTPS://rtc.example.com/calls/",
                "https://rtc.example.com",
                "/calls",
            ),
            ("http://[::1]:7880", "http://[::1]:7880", ""),
            ("http://[::1]", "http://[::1]", ""),
        ] {
            let url: ServerUrl = given.parse().unwrap();
            assert_eq!((&*url.origin, &*url.path), (origin, path), "{given}");
        }
    }

    #[test]
    fn what_is_none_says_what_to_type() {
        for (given, why, wanted) in [
            ("127.0.0.1:7880", "has no scheme", "http://127.0.0.1:7880"),
            ("localhost", "has no scheme", "http://localhost"),
            (
                "rtc.example.com/calls",
                "has no scheme",
                "http://rtc.example.com",
            ),
            ("", "has no scheme", EXAMPLE),
            ("http:/127.0.0.1", "has no scheme", EXAMPLE),
            (
                "ws://127.0.0.1:7880/v1/signal",
                "is a signaling URL",
                "http://127.0.0.1:7880",
            ),
            ("wss://h", "is a signaling URL", "https://h"),
            ("ftp://h", "another scheme", EXAMPLE),
            ("http://", "has no host", EXAMPLE),
            ("http://:7880", "has no host", EXAMPLE),
            ("http://h:port", "has no host and port", EXAMPLE),
            ("http://h:99999", "has no host and port", EXAMPLE),
            ("http://h/?room=x", "has more than a path", "http://h"),
            ("https://h:1#x", "has more than a path", "https://h:1"),
            ("http://me:pw@h:1/", "has a user's name", "http://h:1"),
        ] {
            let said = given.parse::<ServerUrl>().unwrap_err().to_string();
            assert!(said.contains(why), "{given}: {said}");
            assert!(
                said.ends_with(&format!("type --url {wanted}")),
                "{given}: {said}"
            );
        }
    }
}
