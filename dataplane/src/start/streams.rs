//! Starts the TCP and TLS listeners of each shard from the configuration.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, crypto::CryptoProvider};
use spillway_certificate::Certificates;

use crate::config::{Tls, Turn};
use crate::stream::{self, Listener, ListenerKind, PROTOCOLS, Renewals, Streams, TlsOptions};

/// TCP and TLS listeners of all shards.
pub(super) struct StreamStart {
    by_shard: Vec<Vec<Listener>>,
    tls: TlsOptions,
    has_ice: bool,
}

/// Port and certificate name of the TLS listeners.
pub(super) struct TlsListener {
    pub(super) port: u16,
    /// The first name in the certificate that is a host name, without wildcard.
    pub(super) name: Option<String>,
}

impl StreamStart {
    pub(super) fn new(shards: usize) -> Self {
        Self {
            by_shard: (0..shards).map(|_| Vec::new()).collect(),
            tls: TlsOptions::default(),
            has_ice: false,
        }
    }

    /// Binds TCP listeners for sessions at the same port as UDP.
    pub(super) fn bind_ice(&mut self, requested_port: u16, port: u16) -> anyhow::Result<()> {
        match self.bind(ListenerKind::Ice, "udp-port, or say ice-tcp false", port) {
            Ok(_) => self.has_ice = true,
            // If any port is allowed, it is not a mistake that this one is taken.
            Err(error) if requested_port == 0 => {
                tracing::warn!(%error, "sessions are not reached over tcp");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// True when clients can connect sessions over TCP at the media port.
    pub(super) fn has_ice(&self) -> bool {
        self.has_ice
    }

    /// Binds TCP listeners for TURN at the same port as UDP.
    pub(super) fn bind_turn(&mut self, port: u16) -> anyhow::Result<()> {
        self.bind(ListenerKind::Turn, "turn-port", port).map(drop)
    }

    /// Binds TLS listeners for TURN, if configured.
    pub(super) fn bind_tls(&mut self, turn: &Turn) -> anyhow::Result<Option<TlsListener>> {
        let Some(tls) = &turn.tls else {
            return Ok(None);
        };
        let (options, name) = tls_options(tls)?;
        self.tls = options;
        let port = self.bind(ListenerKind::Tls, "turn-tls-port", tls.port)?;
        Ok(Some(TlsListener { port, name }))
    }

    /// The streams of each shard, with its listeners.
    pub(super) fn build(self) -> anyhow::Result<Vec<Streams>> {
        let tls = self.tls;
        let streams = self.by_shard.into_iter().map(|listeners| {
            Streams::new(listeners, tls.clone()).context("no streams can be watched")
        });
        streams.collect()
    }

    fn bind(&mut self, kind: ListenerKind, setting: &str, port: u16) -> anyhow::Result<u16> {
        let shards = self.by_shard.len();
        let bound = stream::bind(kind, setting, port, shards);
        let (port, listeners) =
            bound.with_context(|| format!("cannot listen on tcp port {port}"))?;
        for (shard, listeners) in self.by_shard.iter_mut().zip(listeners) {
            shard.extend(listeners);
        }
        Ok(port)
    }
}

/// TLS options, and the host name in the certificate. Must be called inside the runtime that reloads the certificate.
fn tls_options(tls: &Tls) -> anyhow::Result<(TlsOptions, Option<String>)> {
    let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
    let renewals = Arc::new(Renewals::default());
    let observer = Box::new(Arc::clone(&renewals));
    let loaded = Certificates::load(tls.files.clone(), Arc::clone(&provider), observer)?;
    let (certificates, certificate, renewal) = loaded;
    tokio::spawn(renewal.run());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    // Session tickets spare returning clients the signature; the state is kept by clients.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    let options = TlsOptions {
        config: Some(Arc::new(config)),
        renewals: Some(renewals),
        http: tls.http,
    };
    Ok((options, certificate.name))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpStream;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
    use spillway_certificate::CertificateFiles;

    use super::*;
    use crate::stream::{Arrivals, Event};

    /// Expiry dates: 3 February 2101 and 2102.
    const FIRST_END_S: u64 = 4_136_832_000;
    const SECOND_END_S: u64 = FIRST_END_S + 365 * 86_400;

    type Client = StreamOwned<ClientConnection, TcpStream>;

    struct Served {
        streams: Streams,
        port: u16,
        roots: RootCertStore,
        arrivals: Arrivals,
    }

    impl Served {
        async fn turn(&mut self) {
            let now = Instant::now();
            self.streams.poll(now, &mut self.arrivals);
            self.streams.flush(now);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }

        /// Certificate counters in the reports of all shards.
        fn renewals(&self) -> (u64, u64, u64) {
            let renewals = self.streams.counts().renewals.as_ref().unwrap();
            (renewals.ends_at_s(), renewals.done(), renewals.failed())
        }

        /// Connects a client. Returns it with the server's certificate.
        async fn connect(&mut self) -> (Client, CertificateDer<'static>) {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(self.roots.clone())
                .with_no_client_auth();
            let name = ServerName::try_from("localhost").unwrap();
            let connection = ClientConnection::new(Arc::new(config), name).unwrap();
            let socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
            let mut client = StreamOwned::new(connection, socket);
            let shaking = std::thread::spawn(move || {
                while client.conn.is_handshaking() {
                    client.conn.complete_io(&mut client.sock).unwrap();
                }
                client
            });
            while !shaking.is_finished() {
                self.turn().await;
            }
            let client = shaking.join().unwrap();
            let shown = client.conn.peer_certificates().unwrap()[0].clone();
            (client, shown)
        }
    }

    /// Replaces certificate and key by new ones that expire in February of `year`.
    fn renew(dir: &Path, roots: &mut RootCertStore, year: i32) -> CertificateDer<'static> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 2, 3);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(dir.join("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
        roots.add(certificate.der().clone()).unwrap();
        certificate.der().clone()
    }

    fn hang_up() {
        let ourselves = rustix::process::getpid();
        rustix::process::kill_process(ourselves, rustix::process::Signal::HUP).unwrap();
    }

    #[tokio::test]
    async fn a_new_certificate_is_for_new_connections_and_ends_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut roots = RootCertStore::empty();
        let first = renew(dir.path(), &mut roots, 2101);
        let tls = Tls {
            port: 0,
            files: CertificateFiles {
                certificate: dir.path().join("cert.pem"),
                key: dir.path().join("key.pem"),
            },
            http: None,
        };
        let (options, name) = tls_options(&tls).unwrap();
        assert_eq!(name.as_deref(), Some("localhost"));
        let (port, mut listeners) = stream::bind(ListenerKind::Tls, "test", 0, 1).unwrap();
        let mut served = Served {
            streams: Streams::new(listeners.remove(0), options).unwrap(),
            port,
            roots,
            arrivals: Arrivals::default(),
        };
        let (mut old, shown) = served.connect().await;
        assert_eq!(shown, first);
        assert_eq!(served.renewals(), (FIRST_END_S, 0, 0));
        let until = Instant::now() + Duration::from_secs(20);
        std::fs::write(&tls.files.certificate, "half of it").unwrap();
        hang_up();
        while served.renewals() != (FIRST_END_S, 0, 1) {
            assert!(Instant::now() < until, "{:?}", served.renewals());
            served.turn().await;
        }
        let second = renew(dir.path(), &mut served.roots, 2102);
        hang_up();
        while served.connect().await.1 != second {
            assert!(Instant::now() < until, "it is still the first");
        }
        assert_eq!(served.renewals(), (SECOND_END_S, 1, 1));
        let binding = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[9; 12]].concat();
        old.write_all(&binding).unwrap();
        while served.arrivals.iter().count() == 0 {
            assert!(Instant::now() < until, "the old connection is dead");
            served.turn().await;
        }
        let said: Vec<_> = served.arrivals.iter().collect();
        assert!(
            matches!(said[..], [Event::Turn { message, .. }] if message == binding),
            "{said:?}"
        );
    }
}
