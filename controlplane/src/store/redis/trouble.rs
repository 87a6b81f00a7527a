//! What goes wrong with a Redis server, in words that say what to do: whether it is to be asked again, and
//! whether it is one that we can work with at all.

use std::collections::HashMap;
use std::error::Error as _;
use std::io;
use std::sync::Arc;

use redis::{ErrorKind, RedisError, Value};
use rustls::{AlertDescription, CertificateError};

use super::topology::Address;

/// The first version with sharded pub/sub.
const OLDEST_MAJOR: u32 = 7;

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LinkError {
    /// The server cannot be reached or cannot serve the slot now.
    #[error("{0}")]
    Unavailable(String),
    /// There is no connection as it has to be. A node does not start like that; one that runs goes on as
    /// without a server, until somebody has put the certificates right.
    #[error("{0}")]
    Insecure(String),
    /// It will not serve us, however often it is asked.
    #[error("{0}")]
    Refused(String),
}

/// Whether the server is one we can work with.
pub(super) fn fit(address: &Address, hello: &HashMap<String, Value>) -> Result<(), LinkError> {
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
            "Redis at {address} is version {version}, at least {OLDEST_MAJOR}.0 is wanted: it has no sharded pub/sub"
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

/// What an error of the client library means.
pub(super) fn refusal(address: &Address, error: &RedisError) -> LinkError {
    if let Some(tls) = tls_error(error) {
        return LinkError::Insecure(format!("Redis at {address} {}", insecurity(tls)));
    }
    let said = format!("Redis at {address}: {error}");
    let code = error.code();
    match error.kind() {
        ErrorKind::AuthenticationFailed
        | ErrorKind::InvalidClientConfig
        | ErrorKind::RESP3NotSupported => LinkError::Refused(said),
        _ if matches!(code, Some("WRONGPASS" | "NOAUTH" | "NOPERM" | "WRONGTYPE")) => {
            LinkError::Refused(said)
        }
        _ if error.is_io_error() || error.is_timeout() || code.is_none() => {
            LinkError::Unavailable(said)
        }
        // A server that is full, still loading or about to stop will be asked again.
        _ if matches!(
            code,
            Some("OOM" | "LOADING" | "MISCONF" | "NOREPLICAS" | "BUSY" | "MASTERDOWN")
        ) =>
        {
            LinkError::Unavailable(said)
        }
        _ => LinkError::Refused(said),
    }
}

/// The library keeps what TLS said inside an error of IO, inside an `Arc`.
fn tls_error(error: &RedisError) -> Option<&rustls::Error> {
    type Kept = Arc<dyn std::error::Error + Send + Sync>;
    let kept = error.source()?.downcast_ref::<Kept>()?;
    let io = kept.downcast_ref::<io::Error>()?;
    io.get_ref()?.downcast_ref()
}

/// What is wrong with a server's TLS, and whose move it is.
fn insecurity(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(why) => untrusted(why),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "wants to see a certificate of ours: give it one (settings store-certificate and store-key)"
                .into()
        }
        rustls::Error::AlertReceived(alert) => format!(
            "refuses our TLS with {alert:?}: does it want a certificate of ours (settings store-certificate and store-key), or another one?"
        ),
        rustls::Error::InvalidMessage(_) => "speaks no TLS: name it redis://, or its TLS port".into(),
        error => format!("cannot be spoken to over TLS: {error}"),
    }
}

fn untrusted(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "shows a certificate that nobody we trust vouches for: name its authority (setting store-ca)"
                .into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("shows a certificate of another name, and is not trusted: {why}")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("shows a certificate that has ended: {why}")
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
            fit(&address, &hello("7.0.15", "standalone", "master")),
            Ok(())
        );
        assert_eq!(fit(&address, &hello("8.2.1", "cluster", "replica")), Ok(()));
        for (hello, part) in [
            (
                hello("6.2.14", "standalone", "master"),
                "version 6.2.14, at least 7.0",
            ),
            (hello("", "standalone", "master"), "at least 7.0"),
            (hello("7.0.0", "standalone", "replica"), "read-only replica"),
        ] {
            let said = fit(&address, &hello).unwrap_err().to_string();
            assert!(
                said.contains(part) && said.contains("10.0.0.5:6379"),
                "{said}"
            );
        }
    }

    #[test]
    fn what_tls_says_is_found_and_says_what_to_do() {
        for (error, part) in [
            (CertificateError::UnknownIssuer.into(), "setting store-ca"),
            (CertificateError::Expired.into(), "has ended"),
            (CertificateError::NotValidForName.into(), "another name"),
            (
                rustls::Error::AlertReceived(AlertDescription::CertificateRequired),
                "settings store-certificate and store-key",
            ),
            (
                rustls::InvalidMessage::InvalidContentType.into(),
                "speaks no TLS",
            ),
        ] {
            let error: rustls::Error = error;
            let error = RedisError::from(io::Error::new(io::ErrorKind::InvalidData, error));
            let LinkError::Insecure(said) = refusal(&address(), &error) else {
                panic!("{error} is no trouble of TLS");
            };
            assert!(
                said.contains(part) && said.contains("10.0.0.5:6379"),
                "{said}"
            );
        }
        let other = RedisError::from(io::Error::from(io::ErrorKind::ConnectionReset));
        let said = refusal(&address(), &other);
        assert!(matches!(said, LinkError::Unavailable(_)), "{said:?}");
    }
}
