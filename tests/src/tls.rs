//! Test certificates, clients that verify them, and a signaling server with TLS.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use spillway_bench::canary::token::TokenSource;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::clock::{self, TimeLimit};
use crate::node::{Node, binary, free_tcp_port};
use crate::servers::KEY;

/// A CA that signs test certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate chain in PEM.
    pub certificate: String,
    /// The private key in PEM.
    pub key: String,
}

impl Authority {
    /// A new CA that no client trusts yet.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { issuer })
    }

    /// The CA's own certificate in PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Issues a certificate for the host names `names`.
    pub fn issue(&self, names: &[&str]) -> anyhow::Result<Pair> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names)?.signed_by(&key, &self.issuer)?;
        Ok(Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

impl Pair {
    /// Writes both files into `dir`; returns their paths.
    pub fn write(&self, dir: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
        let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        std::fs::write(&certificate, &self.certificate)?;
        std::fs::write(&key, &self.key)?;
        Ok((certificate, key))
    }

    /// The server's certificate, as sent in a handshake.
    pub fn shown(&self) -> anyhow::Result<CertificateDer<'static>> {
        Ok(CertificateDer::from_pem_slice(self.certificate.as_bytes())?)
    }
}

/// A client that trusts one CA.
#[derive(Clone)]
pub struct Client {
    config: ClientConfig,
    address: String,
}

/// A signaling socket over TLS.
pub struct Socket(WebSocketStream<TlsStream<TcpStream>>);

const ANSWER_LIMIT: Duration = Duration::from_secs(10);

impl Client {
    /// A client for `address` that trusts `authority`.
    pub fn new(address: &str, authority: &Authority) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes())?)?;
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Verify the certificate at each connect: no session resumption.
        config.resumption = rustls::client::Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config,
            address: address.to_owned(),
        })
    }

    /// Offers only this ALPN protocol.
    pub fn speaking(mut self, protocol: &[u8]) -> Self {
        self.config.alpn_protocols = vec![protocol.to_vec()];
        self
    }

    /// Connects, with the handshake.
    pub async fn connect(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(&self.address).await?;
        let connector = TlsConnector::from(Arc::new(self.config.clone()));
        let name = ServerName::try_from("127.0.0.1")?;
        Ok(clock::timeout(ANSWER_LIMIT, connector.connect(name, stream)).await??)
    }

    /// The certificate that a new connection gets.
    pub async fn shown(&self) -> anyhow::Result<CertificateDer<'static>> {
        let stream = self.connect().await?;
        let chain = stream.get_ref().1.peer_certificates();
        let first = chain.and_then(<[_]>::first).context("no certificate")?;
        Ok(first.clone().into_owned())
    }

    /// Response to `GET path`: head and body.
    pub async fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = self.connect().await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        clock::timeout(ANSWER_LIMIT, stream.read_to_string(&mut answer)).await??;
        Ok(answer)
    }

    /// Value of a metric as text; `None` if it is absent.
    pub async fn metric(&self, name: &str) -> anyhow::Result<Option<f64>> {
        let answer = self.get("/metrics").await?;
        let mut lines = answer.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.map(str::parse).transpose()?)
    }

    /// Joins `room` over WSS.
    pub async fn join(&self, room: &str, identity: &str) -> anyhow::Result<Socket> {
        let url = format!("wss://{}/v1/signal", self.address);
        let (socket, _) = tokio_tungstenite::client_async(url, self.connect().await?).await?;
        let mut socket = Socket(socket);
        let source = TokenSource::Key {
            key: KEY.0.into(),
            secret: KEY.1.into(),
        };
        let join = json!({"type": "join", "id": 1, "token": source.token(room, identity)?});
        let joined = socket.ask(&join).await?;
        anyhow::ensure!(joined["type"] == "joined", "{joined}");
        Ok(socket)
    }
}

impl Socket {
    /// Sends `message`; returns the reply with its id.
    pub async fn ask(&mut self, message: &Value) -> anyhow::Result<Value> {
        self.0.send(Message::text(message.to_string())).await?;
        loop {
            let answer = clock::timeout(ANSWER_LIMIT, self.0.next()).await?;
            if let Message::Text(text) = answer.context("the socket ended")?? {
                let answer: Value = serde_json::from_str(&text)?;
                if answer["id"] == message["id"] {
                    return Ok(answer);
                }
            }
        }
    }
}

/// `spillway serve` with a certificate.
pub struct TlsServer {
    child: Child,
    /// Address of the server's listener.
    pub address: String,
    /// Directory with certificate, key and log.
    pub dir: tempfile::TempDir,
}

const START_LIMIT: Duration = Duration::from_secs(10);

impl TlsServer {
    /// Starts a server with the certificate `pair`, and the data plane `media`.
    pub async fn start(media: &Node, pair: &Pair, authority: &Authority) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let address = format!("127.0.0.1:{}", free_tcp_port()?);
        let (certificate, key) = pair.write(dir.path())?;
        let child = Command::new(binary("spillway"))
            .args(["serve", "--listen", &address, "--log", "info"])
            .args(["--keys", &format!("{}:{}", KEY.0, KEY.1)])
            .args(["--admin-token", ADMIN_TOKEN])
            .args(["--dataplane-control", &media.control_url()])
            .args(["--tls-certificate".as_ref(), certificate.as_os_str()])
            .args(["--tls-key".as_ref(), key.as_os_str()])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("log"))?)
            .spawn()
            .context("cannot start spillway serve: is target/release built?")?;
        let server = Self {
            child,
            address,
            dir,
        };
        let client = Client::new(&server.address, authority)?;
        let limit_left = TimeLimit::new(START_LIMIT);
        while !client
            .get("/readyz")
            .await
            .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
        {
            anyhow::ensure!(!limit_left.is_over(), "not ready: {}", server.log()?);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(server)
    }

    /// Output of the server so far.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.dir.path().join("log"))?)
    }

    /// Sends SIGHUP to the server.
    pub fn hang_up(&self) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-HUP", &pid]).status()?;
        anyhow::ensure!(status.success(), "kill -HUP: {status}");
        Ok(())
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        // Both fail only if the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Admin token of every [`TlsServer`].
pub const ADMIN_TOKEN: &str = "0123456789abcdef";

/// Runs `spillway` with `args` until it ends; returns its exit status and output.
pub fn run_to_the_end(args: &[&str]) -> anyhow::Result<(ExitStatus, String)> {
    let log = tempfile::NamedTempFile::new()?;
    let mut child = Command::new(binary("spillway"))
        .args(args)
        .stdout(log.reopen()?)
        .stderr(log.reopen()?)
        .spawn()
        .context("cannot start spillway: is target/release built?")?;
    let limit_left = TimeLimit::new(START_LIMIT);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if limit_left.is_over() {
            child.kill()?;
            child.wait()?;
            anyhow::bail!("it goes on: {}", std::fs::read_to_string(log.path())?);
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    Ok((status, std::fs::read_to_string(log.path())?))
}
