//! Errors of Redis servers: their effect on the connection, and advice for the operator.

use std::collections::HashMap;
use std::error::Error as _;
use std::io;
use std::sync::Arc;

use redis::{ErrorKind, RedisError, Value};
use rustls::{AlertDescription, CertificateError};

use super::topology::Address;

/// The first major version with sharded pub/sub.
const OLDEST_MAJOR: u32 = 7;

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LinkError {
    /// The server cannot be reached, or cannot serve the slot now.
    #[error("{0}")]
    Unavailable(String),
    /// TLS failed. Spillway does not start with this error. A running process treats the server as
    /// unavailable until the certificates are correct.
    #[error("{0}")]
    Insecure(String),
    /// The server's configuration does not fit: credentials, rights, version or role. Spillway does
    /// not start with this error. A running process treats the server as unavailable until the
    /// configuration is corrected.
    #[error("{0}")]
    Refused(String),
    /// The server answers with unexpected data.
    #[error("{0}")]
    Broken(String),
}

/// What an error reply means for the command and its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyKind {
    /// The cluster redirects the command.
    Redirect,
    /// The slot or the server is busy. This ends by itself.
    Busy,
    /// The connection is closed and opened again: another server may have taken over the address,
    /// or a new connection gets other rights.
    Reconnect,
    /// The error concerns only the command or its key.
    Final,
}

/// The meaning of an error that a server returned.
pub(super) fn reply_kind(error: &RedisError) -> ReplyKind {
    match error.code() {
        Some("MOVED" | "ASK") => ReplyKind::Redirect,
        Some("TRYAGAIN" | "BUSY") => ReplyKind::Busy,
        Some(
            // A demoted master answers READONLY while the connection is open. During a failover it
            // answers UNBLOCKED to blocked commands.
            "READONLY" | "UNBLOCKED" | "MASTERDOWN" | "LOADING" | "CLUSTERDOWN"
            // A master without replicas, or with a full disk, may have been replaced.
            | "NOREPLICAS" | "MISCONF"
            // Redis assigns credentials and rights to a connection.
            | "NOPERM" | "NOAUTH" | "WRONGPASS",
        ) => ReplyKind::Reconnect,
        _ if lacks_rights(error) || error.is_io_error() || error.is_unrecoverable_error() => {
            ReplyKind::Reconnect
        }
        _ => ReplyKind::Final,
    }
}

/// True if the user lacks a right. Inside a script Redis reports this only as text.
pub(super) fn lacks_rights(error: &RedisError) -> bool {
    if error.code() == Some("NOPERM") {
        return true;
    }
    let said = error.to_string();
    // Redis 7.0 and later versions.
    said.contains("The user executing the script can't") || said.contains("ACL failure in script")
}

/// Checks version and role of a server in its HELLO reply.
pub(super) fn check_server(
    address: &Address,
    hello: &HashMap<String, Value>,
) -> Result<(), LinkError> {
    let text = |name: &str| {
        let value = hello.get(name)?;
        redis::from_redis_value_ref::<String>(value).ok()
    };
    let version = text("version").unwrap_or_default();
    let major: u32 = version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .unwrap_or(0);
    if major < OLDEST_MAJOR {
        return Err(LinkError::Refused(format!(
            "Redis at {address} is version {version}, at least {OLDEST_MAJOR}.0 is required, for sharded pub/sub"
        )));
    }
    let (mode, role) = (text("mode"), text("role"));
    if mode.as_deref() == Some("standalone") && role.as_deref() == Some("replica") {
        return Err(LinkError::Refused(format!(
            "Redis at {address} is a read-only replica: name its master"
        )));
    }
    Ok(())
}

/// Converts an error of the client library.
pub(super) fn link_error(address: &Address, error: &RedisError) -> LinkError {
    if let Some(tls) = tls_error(error) {
        return LinkError::Insecure(format!("Redis at {address} {}", insecurity(tls)));
    }
    let said = format!("Redis at {address}: {error}");
    let code = error.code();
    match error.kind() {
        ErrorKind::AuthenticationFailed
        | ErrorKind::InvalidClientConfig
        | ErrorKind::RESP3NotSupported => LinkError::Refused(said),
        _ if lacks_rights(error) || matches!(code, Some("WRONGPASS" | "NOAUTH")) => {
            LinkError::Refused(said)
        }
        _ if error.is_io_error() || error.is_timeout() || code.is_none() => {
            LinkError::Unavailable(said)
        }
        // A server without free memory may have some later.
        _ if code == Some("OOM") => LinkError::Unavailable(said),
        _ => match reply_kind(error) {
            ReplyKind::Redirect | ReplyKind::Busy | ReplyKind::Reconnect => {
                LinkError::Unavailable(said)
            }
            ReplyKind::Final => LinkError::Broken(said),
        },
    }
}

/// Finds the TLS error, which the library puts inside an IO error inside an `Arc`.
fn tls_error(error: &RedisError) -> Option<&rustls::Error> {
    type Kept = Arc<dyn std::error::Error + Send + Sync>;
    let kept = error.source()?.downcast_ref::<Kept>()?;
    let io = kept.downcast_ref::<io::Error>()?;
    io.get_ref()?.downcast_ref()
}

/// Describes the TLS error, and the setting to change.
fn insecurity(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(why) => untrusted(why),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "requires a client certificate: configure one (settings store-certificate and store-key)"
                .into()
        }
        rustls::Error::AlertReceived(alert) => format!(
            "ended the TLS handshake with the alert {alert:?}: check the client certificate (settings store-certificate and store-key)"
        ),
        rustls::Error::InvalidMessage(_) => "does not use TLS: write redis://, or name its TLS port".into(),
        error => format!("failed in the TLS handshake: {error}"),
    }
}

fn untrusted(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "shows a certificate that is not signed by a trusted CA: name its CA (setting store-ca)"
                .into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("shows a certificate for another name: {why}")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("shows a certificate that has expired: {why}")
        }
        _ => format!("shows a certificate that is not trusted: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(version: &str, mode: &str, role: &str) -> HashMap<String, Value> {
        let said = [("version", version), ("mode", mode), ("role", role)];
        let value = |text: &str| Value::BulkString(text.into());
        said.map(|(name, text)| (name.to_owned(), value(text)))
            .into()
    }

    fn address() -> Address {
        Address {
            host: "10.0.0.5".into(),
            port: 6_379,
        }
    }

    #[test]
    fn servers_that_cannot_serve_are_refused_by_name() {
        let address = address();
        assert_eq!(
            check_server(&address, &hello("7.0.15", "standalone", "master")),
            Ok(())
        );
        assert_eq!(
            check_server(&address, &hello("8.2.1", "cluster", "replica")),
            Ok(())
        );
        for (hello, part) in [
            (
                hello("6.2.14", "standalone", "master"),
                "version 6.2.14, at least 7.0",
            ),
            (hello("", "standalone", "master"), "at least 7.0"),
            (hello("7.0.0", "standalone", "replica"), "read-only replica"),
        ] {
            let said = check_server(&address, &hello).unwrap_err().to_string();
            assert!(
                said.contains(part) && said.contains("10.0.0.5:6379"),
                "{said}"
            );
        }
    }

    /// An error as the library parses it from a reply.
    fn said(line: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    #[test]
    fn replies_that_a_server_gives_for_as_long_as_the_connection_is_open_end_the_connection() {
        let script = "script: 6fc2c250, on @user_script:1.";
        for line in [
            "READONLY You can't write against a read only replica.",
            "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "LOADING Redis is loading the dataset in memory",
            "CLUSTERDOWN The cluster is down",
            "NOREPLICAS Not enough good replicas to write.",
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        ] {
            let error = said(line);
            assert_eq!(reply_kind(&error), ReplyKind::Reconnect, "{line}");
            let means = link_error(&address(), &error);
            assert!(matches!(means, LinkError::Unavailable(_)), "{means:?}");
        }
        for line in [
            "NOPERM this user has no permissions to run the 'xadd' command",
            "NOPERM User u has no permissions to access a channel",
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username-password pair or user is disabled.",
            &format!(
                "ERR The user executing the script can't run this command or subcommand {script}"
            ),
            &format!(
                "ERR The user executing the script can't publish to the channel mentioned in the command {script}"
            ),
            &format!(
                "ERR ACL failure in script: User u has no permissions to run the 'xadd' command {script}"
            ),
        ] {
            let error = said(line);
            assert_eq!(reply_kind(&error), ReplyKind::Reconnect, "{line}");
            let means = link_error(&address(), &error);
            assert!(matches!(means, LinkError::Refused(_)), "{means:?}");
        }
        for (line, expected) in [
            (
                "TRYAGAIN Multiple keys request during rehashing of slot",
                ReplyKind::Busy,
            ),
            ("BUSY Redis is busy running a script.", ReplyKind::Busy),
            ("MOVED 7 127.0.0.1:7001", ReplyKind::Redirect),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                ReplyKind::Final,
            ),
        ] {
            let error = said(line);
            assert_eq!(reply_kind(&error), expected, "{line}");
            let means = link_error(&address(), &error);
            assert!(matches!(means, LinkError::Unavailable(_)), "{means:?}");
        }
        for line in [
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "ERR syntax error",
        ] {
            let error = said(line);
            assert_eq!(reply_kind(&error), ReplyKind::Final, "{line}");
            let means = link_error(&address(), &error);
            assert!(matches!(means, LinkError::Broken(_)), "{means:?}");
        }
    }

    #[test]
    fn what_tls_says_is_found_and_says_what_to_do() {
        for (error, part) in [
            (CertificateError::UnknownIssuer.into(), "setting store-ca"),
            (CertificateError::Expired.into(), "has expired"),
            (CertificateError::NotValidForName.into(), "another name"),
            (
                rustls::Error::AlertReceived(AlertDescription::CertificateRequired),
                "settings store-certificate and store-key",
            ),
            (
                rustls::InvalidMessage::InvalidContentType.into(),
                "does not use TLS",
            ),
        ] {
            let error: rustls::Error = error;
            let error = RedisError::from(io::Error::new(io::ErrorKind::InvalidData, error));
            let LinkError::Insecure(said) = link_error(&address(), &error) else {
                panic!("{error} is not an error of TLS");
            };
            assert!(
                said.contains(part) && said.contains("10.0.0.5:6379"),
                "{said}"
            );
        }
        let other = RedisError::from(io::Error::from(io::ErrorKind::ConnectionReset));
        let said = link_error(&address(), &other);
        assert!(matches!(said, LinkError::Unavailable(_)), "{said:?}");
    }
}
