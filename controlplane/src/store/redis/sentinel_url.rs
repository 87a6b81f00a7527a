//! URLs of sentinels: `redis+sentinel://[user:password@]host[:port][,host[:port]...]/master`. The
//! scheme `rediss+sentinel://` uses TLS to sentinels and servers. User and password are for the
//! servers; `?sentinel-user=` and `sentinel-password=` are for the sentinels.

use redis::ConnectionInfo;

use super::errors::LinkError;
use super::sentinel::MonitoredMaster;
use super::server_url::{masked, parse as parse_server};

const PORT: u16 = 26_379;

/// Schemes, and the corresponding scheme of the Redis servers.
const SCHEMES: [(&str, &str); 2] = [
    ("redis+sentinel://", "redis"),
    ("rediss+sentinel://", "rediss"),
];

/// The parts of a sentinel URL.
#[derive(Debug)]
pub(super) struct Parsed {
    /// Credentials and TLS for the master. Its address is replaced by the one that a sentinel
    /// returns.
    pub(super) server: ConnectionInfo,
    /// Credentials and TLS for the sentinels.
    pub(super) sentinel: ConnectionInfo,
    pub(super) monitored: MonitoredMaster,
}

/// True if `url` names sentinels.
pub fn is_one(url: &str) -> bool {
    SCHEMES.iter().any(|(scheme, _)| url.starts_with(scheme))
}

/// True if `url` names sentinels with TLS.
pub fn is_encrypted(url: &str) -> bool {
    url.starts_with(SCHEMES[1].0)
}

/// Parses `url`; errors do not contain its passwords.
pub(super) fn parse(url: &str) -> Result<Parsed, LinkError> {
    let refused = |why: &str| {
        let (named, _) = url.split_once('?').unwrap_or((url, ""));
        let named = masked(named);
        LinkError::Refused(format!(
            "'{named}' is not a URL of sentinels, redis+sentinel://[user:password@]host[:port],host[:port]/master: {why}"
        ))
    };
    let known = SCHEMES.iter().find_map(|(prefix, scheme)| {
        let rest = url.strip_prefix(prefix)?;
        Some((*scheme, rest))
    });
    let (scheme, rest) = known.ok_or_else(|| refused("it has another scheme"))?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, master) = rest.split_once('/').unwrap_or((rest, ""));
    let (credentials, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    // Redis accepts only these characters in a master's name (sentinel.conf).
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if master.is_empty() || !master.chars().all(is_name) {
        return Err(refused(
            "the master's name, of letters, digits and . - _, is missing after the hosts",
        ));
    }
    let (user, password) = sentinel_credentials(query).map_err(|why| refused(&why))?;
    let own = match (user, password) {
        ("", "") => String::new(),
        (user, password) => format!("{user}:{password}@"),
    };
    let theirs = match credentials {
        "" => String::new(),
        credentials => format!("{credentials}@"),
    };
    let mut sentinels = Vec::new();
    let mut first = None;
    for host in hosts.split(',') {
        let host = with_port(host.trim());
        let part = |credentials: &str| {
            parse_server(&format!("{scheme}://{credentials}{host}"))
                .map_err(|_| refused("a host or a password is not as in a URL"))
        };
        let (sentinel, address) = part(&own)?;
        let (server, _) = part(&theirs)?;
        sentinels.push(address);
        first.get_or_insert((server, sentinel));
    }
    let (server, sentinel) = first.ok_or_else(|| refused("no host is named"))?;
    let master = master.to_owned();
    Ok(Parsed {
        server,
        sentinel,
        monitored: MonitoredMaster { master, sentinels },
    })
}

/// User and password of the sentinels, still percent-encoded.
fn sentinel_credentials(query: &str) -> Result<(&str, &str), String> {
    let (mut user, mut password) = ("", "");
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sentinel-user", value)) => user = value,
            Some(("sentinel-password", value)) => password = value,
            Some((name, _)) => {
                return Err(format!(
                    "'{name}' is neither sentinel-user nor sentinel-password"
                ));
            }
            None => return Err("a part after ? has no value".into()),
        }
    }
    if password.is_empty() && !user.is_empty() {
        return Err("sentinel-user has no effect without sentinel-password".into());
    }
    Ok((user, password))
}

fn with_port(host: &str) -> String {
    let after_brackets = host.rsplit(']').next().unwrap_or(host);
    if after_brackets.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:{PORT}")
    }
}

impl MonitoredMaster {
    #[cfg(test)]
    fn names(&self) -> Vec<String> {
        self.sentinels.iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_credentials_and_the_name_are_found() {
        let parsed = parse("redis+sentinel://10.0.0.1,b:26380,[::1]/my-master").unwrap();
        assert_eq!(parsed.monitored.master, "my-master");
        assert_eq!(
            parsed.monitored.names(),
            ["10.0.0.1:26379", "b:26380", "::1:26379"]
        );
        assert_eq!(parsed.server.redis_settings().password(), None);
        let url = "rediss+sentinel://u:p%40ss@a,b/m?sentinel-user=s&sentinel-password=q%2F";
        let parsed = parse(url).unwrap();
        let (server, sentinel) = (
            parsed.server.redis_settings(),
            parsed.sentinel.redis_settings(),
        );
        assert_eq!(
            (server.username(), server.password()),
            (Some("u"), Some("p@ss"))
        );
        assert_eq!(
            (sentinel.username(), sentinel.password()),
            (Some("s"), Some("q/"))
        );
        assert!(is_one(url) && is_encrypted(url));
        let parsed = parse("redis+sentinel://a/m?sentinel-password=q").unwrap();
        let sentinel = parsed.sentinel.redis_settings();
        assert_eq!(
            (sentinel.username(), sentinel.password()),
            (None, Some("q"))
        );
    }

    #[test]
    fn what_is_no_such_url_is_refused_without_its_passwords() {
        for (url, part) in [
            ("redis+sentinel://u:hush@a", "master's name"),
            ("redis+sentinel://u:hush@a/", "master's name"),
            ("redis+sentinel://u:hush@a/a b", "master's name"),
            ("redis+sentinel://u:hush@/m", "host"),
            ("redis+sentinel://u:hush@a:99999/m", "host"),
            (
                "redis+sentinel://a/m?sentinel-pass=hush",
                "'sentinel-pass' is neither",
            ),
            (
                "redis+sentinel://a/m?sentinel-user=hush",
                "no effect without",
            ),
        ] {
            let said = parse(url).unwrap_err().to_string();
            assert!(
                said.contains(part) && !said.contains("hush"),
                "{url}: {said}"
            );
        }
    }
}
