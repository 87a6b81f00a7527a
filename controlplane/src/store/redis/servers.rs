//! The Redis servers of the setting `store`, and the parameters of connections to them:
//! credentials, CA certificates and client certificate. Certificate files are read for each
//! connection, so that new files need no restart.

use std::path::PathBuf;

use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, ProtocolVersion, TlsCertificates,
};

use super::errors::LinkError;
use super::sentinel::MonitoredMaster;
use super::sentinel_url;
use super::server_url::parse;
use super::topology::Address;
use crate::tls::{self, CertificateFiles, TlsError};

/// The settings of the store on Redis.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RedisServers {
    /// `redis://[user:password@]host[:port]`, or `rediss://` for TLS; several URLs for one cluster.
    /// Or one `redis+sentinel://[user:password@]host[:port][,host[:port]...]/master`.
    pub urls: Vec<String>,
    /// File with CA certificates (PEM) for the servers; `None`: the CA certificates of the system.
    pub authorities: Option<PathBuf>,
    /// Client certificate for servers that ask for one.
    pub identity: Option<CertificateFiles>,
}

impl RedisServers {
    /// The servers of `urls`, without certificate files.
    pub fn at(urls: &[String]) -> Self {
        Self {
            urls: urls.to_vec(),
            ..Self::default()
        }
    }
}

/// What a connection leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerKind {
    /// A server that stores rooms.
    Server,
    /// A sentinel, which knows the master.
    Sentinel,
}

/// The Redis servers of the setting `store`, parsed.
#[derive(Debug)]
pub(super) struct Servers {
    /// Credentials and TLS of every server.
    template: ConnectionInfo,
    named: ConfiguredServers,
    authorities: Option<PathBuf>,
    identity: Option<CertificateFiles>,
}

/// Servers in the settings.
#[derive(Debug)]
enum ConfiguredServers {
    Servers(Vec<Address>),
    /// The monitored master, and the credentials for the sentinels.
    Sentinels(MonitoredMaster, ConnectionInfo),
}

impl Servers {
    /// Parses the setting. Fails for an invalid URL, an unusable file, or a mix of `redis://` and
    /// `rediss://`.
    pub(super) fn read(named: &RedisServers) -> Result<Self, LinkError> {
        let (template, at) = match &named.urls[..] {
            [url] if sentinel_url::is_one(url) => {
                let sentinel_url::Parsed {
                    server,
                    sentinel,
                    monitored,
                } = sentinel_url::parse(url)?;
                (
                    server,
                    ConfiguredServers::Sentinels(monitored, resp3(sentinel)),
                )
            }
            urls => servers_of(urls)?,
        };
        let servers = Self {
            template: resp3(template),
            named: at,
            authorities: named.authorities.clone(),
            identity: named.identity.clone(),
        };
        match servers.certificates() {
            Ok(_) => Ok(servers),
            Err(error) => Err(LinkError::Refused(error.to_string())),
        }
    }

    /// True if connections use TLS.
    pub(super) fn are_encrypted(&self) -> bool {
        is_encrypted(&self.template)
    }

    /// Addresses in the settings: Redis servers, or sentinels.
    pub(super) fn named(&self) -> &[Address] {
        match &self.named {
            ConfiguredServers::Servers(addresses) => addresses,
            ConfiguredServers::Sentinels(monitored, _) => &monitored.sentinels,
        }
    }

    /// The monitored master; `None` without Sentinel.
    pub(super) fn monitored(&self) -> Option<&MonitoredMaster> {
        match &self.named {
            ConfiguredServers::Servers(_) => None,
            ConfiguredServers::Sentinels(monitored, _) => Some(monitored),
        }
    }

    /// Name of the Redis user.
    pub(super) fn user(&self) -> &str {
        self.template
            .redis_settings()
            .username()
            .unwrap_or("default")
    }

    /// A client for `address`; reads the certificate files.
    pub(super) fn client(&self, address: &Address, kind: ServerKind) -> Result<Client, LinkError> {
        let template = match (kind, &self.named) {
            (ServerKind::Sentinel, ConfiguredServers::Sentinels(_, sentinel)) => sentinel,
            (ServerKind::Sentinel | ServerKind::Server, _) => &self.template,
        };
        let (host, port) = (address.host.clone(), address.port);
        let refused = |error: &dyn std::fmt::Display| {
            LinkError::Insecure(format!(
                "no connection to Redis at {address} is possible: {error}"
            ))
        };
        if !self.are_encrypted() {
            let info = template.clone();
            let client = Client::open(info.set_addr(ConnectionAddr::Tcp(host, port)));
            return client.map_err(|error| refused(&error));
        }
        let addr = ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        };
        let info = template.clone().set_addr(addr);
        let certificates = self.certificates().map_err(|error| refused(&error))?;
        Client::build_with_tls(info, certificates).map_err(|error| refused(&error))
    }

    fn certificates(&self) -> Result<TlsCertificates, TlsError> {
        let authorities = self.authorities.as_deref().map(tls::authorities);
        let identity = self.identity.as_ref().map(CertificateFiles::checked_pem);
        let client_tls = identity
            .transpose()?
            .map(|(client_cert, client_key)| ClientTlsConfig {
                client_cert,
                client_key,
            });
        Ok(TlsCertificates {
            client_tls,
            root_cert: authorities.transpose()?.map(|them| them.pem),
        })
    }
}

fn is_encrypted(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

fn resp3(info: ConnectionInfo) -> ConnectionInfo {
    let settings = info.redis_settings().clone();
    info.set_redis_settings(settings.set_protocol(ProtocolVersion::RESP3))
}

/// Parses the URLs of one cluster, or several URLs of one server.
fn servers_of(urls: &[String]) -> Result<(ConnectionInfo, ConfiguredServers), LinkError> {
    let mut infos = Vec::new();
    let mut seeds = Vec::new();
    for url in urls {
        let (info, address) = parse(url)?;
        infos.push(info);
        seeds.push(address);
    }
    let encrypted = infos.iter().filter(|info| is_encrypted(info)).count();
    if encrypted != 0 && encrypted != infos.len() {
        let said = "the URLs of one store must be all redis:// or all rediss://";
        return Err(LinkError::Refused(said.into()));
    }
    let template = infos.into_iter().next();
    let template = template.ok_or_else(|| LinkError::Refused("no Redis server is named".into()))?;
    Ok((template, ConfiguredServers::Servers(seeds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(urls: &[&str]) -> String {
        let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
        let refused = Servers::read(&RedisServers::at(&urls)).unwrap_err();
        assert!(matches!(refused, LinkError::Refused(_)));
        refused.to_string()
    }

    #[test]
    fn addresses_that_are_none_are_named_without_their_password() {
        for url in [
            "redis://u:hush@:x",
            "unix:///tmp/redis.sock",
            "redis://a:hush@b:99999",
            "rediss://a:hush@b:6379/#insecure",
        ] {
            let said = refusal(&[url]);
            assert!(!said.contains("hush"), "{said}");
        }
        assert!(refusal(&[]).contains("no Redis server"));
    }

    #[test]
    fn every_server_is_asked_as_the_urls_say() {
        let address = Address {
            host: "10.0.0.7".into(),
            port: 6_390,
        };
        for (scheme, encrypted) in [("redis", false), ("rediss", true)] {
            let urls = [format!("{scheme}://u:secret@10.0.0.5:6379")];
            let servers = Servers::read(&RedisServers::at(&urls)).unwrap();
            assert_eq!(servers.are_encrypted(), encrypted);
            let client = servers.client(&address, ServerKind::Server).unwrap();
            let info = client.get_connection_info();
            assert_eq!(is_encrypted(info), encrypted);
            assert_eq!(info.redis_settings().password(), Some("secret"));
            assert_eq!(info.addr().to_string(), "10.0.0.7:6390");
        }
        let said = refusal(&["redis://a:1", "rediss://b:1"]);
        assert!(said.contains("all rediss://"), "{said}");
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let with = |authorities, identity| RedisServers {
            urls: vec!["rediss://10.0.0.5".into()],
            authorities,
            identity,
        };
        let said = Servers::read(&with(Some(path.clone()), None)).unwrap_err();
        assert!(said.to_string().contains("ca.pem"), "{said}");
        std::fs::write(&path, "").unwrap();
        let said = Servers::read(&with(Some(path.clone()), None)).unwrap_err();
        assert!(said.to_string().contains("no certificate"), "{said}");
        let files = CertificateFiles {
            certificate: path.clone(),
            key: path,
        };
        let said = Servers::read(&with(None, Some(files))).unwrap_err();
        assert!(said.to_string().contains("no certificate"), "{said}");
    }
}
