//! The URL of one Redis server.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};

use super::errors::LinkError;
use super::topology::Address;

/// Parses credentials, TLS and address of a server URL. Errors do not contain the password.
pub(super) fn parse(url: &str) -> Result<(ConnectionInfo, Address), LinkError> {
    let refused = |error: &dyn std::fmt::Display| {
        let url = masked(url);
        LinkError::Refused(format!("'{url}' is not a URL of a Redis server: {error}"))
    };
    let info = url
        .into_connection_info()
        .map_err(|error| refused(&error))?;
    let (host, port) = match info.addr() {
        ConnectionAddr::Tcp(host, port) => (host, port),
        ConnectionAddr::TcpTls { insecure: true, .. } => {
            return Err(refused(
                &"certificates are always verified: remove #insecure and name the CA (setting store-ca)",
            ));
        }
        ConnectionAddr::TcpTls { host, port, .. } => (host, port),
        _ => {
            return Err(refused(&"write redis://host:port or rediss://host:port"));
        }
    };
    let address = Address {
        host: host.clone(),
        port: *port,
    };
    Ok((info, address))
}

/// A URL without its password.
pub(super) fn masked(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((secret, host)) => {
            let scheme = secret
                .split_once("://")
                .map_or("redis", |(scheme, _)| scheme);
            format!("{scheme}://(secret)@{host}")
        }
        None => url.to_owned(),
    }
}
