//! The TURN server under attack: its own data plane, and a permitted peer.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use anyhow::{Context, ensure};
use spillway_tests::node::Node;
use spillway_tests::tls::Authority;
use spillway_tests::turn::{SECRET, TurnCaller};
use spillway_wire::stun::{Method, Writer, kinds};

/// Time to wait for packets that must not arrive.
pub(super) const SILENCE: Duration = Duration::from_millis(300);
pub(super) const CHANNEL: u16 = 0x4001;

/// A TURN server, and a permitted peer.
pub(super) struct Target {
    pub(super) node: Node,
    pub(super) relay: SocketAddrV4,
    /// Address for TURN over TLS, with a certificate of `authority`.
    pub(super) tls: SocketAddr,
    pub(super) authority: Authority,
    pub(super) media: SocketAddr,
    pub(super) peer: UdpSocket,
}

impl Target {
    /// A TURN server that permits the cluster and `peer`, or all public addresses.
    pub(super) async fn start(is_public: bool, more: &[&str]) -> anyhow::Result<Self> {
        let peer = UdpSocket::bind("127.0.0.3:0")?;
        peer.set_read_timeout(Some(SILENCE))?;
        let peers = match is_public {
            true => "public".to_owned(),
            false => peer.local_addr()?.to_string(),
        };
        let secret = ["--turn-secret", SECRET];
        let secret = if more.contains(&secret[0]) {
            &[]
        } else {
            &secret[..]
        };
        let flags = [secret, &["--turn-port", "0"]].concat();
        // A port below the kernel's ephemeral ports.
        let ports = ["--turn-relay-ports", "20000-29999", "--turn-peers", &peers];
        let authority = Authority::new("an authority")?;
        let dir = tempfile::tempdir()?;
        let (certificate, key) = authority.issue(&["127.0.0.1"])?.write(dir.path())?;
        let [certificate, key] = [certificate, key].map(|path| path.display().to_string());
        let tls = ["--turn-tls-port", "0", "--tls-certificate", &certificate];
        let flags = [&flags[..], &ports, &tls, &["--tls-key", &key], more].concat();
        let mut node = Node::start(1, &flags).await?;
        let media = node.media_addr().await?;
        let urls = node.node().await?.turn_urls;
        let addr = |scheme: &str| {
            let mut urls = urls.iter();
            let rest = urls.find_map(|url| url.strip_prefix(scheme));
            let rest = rest.with_context(|| format!("no {scheme} in {urls:?}"))?;
            anyhow::Ok(rest.split('?').next().unwrap_or(rest).to_owned())
        };
        Ok(Self {
            relay: addr("turn:")?.parse()?,
            tls: addr("turns:")?.parse()?,
            authority,
            node,
            media,
            peer,
        })
    }

    /// A client in network `number`.
    pub(super) fn caller(&self, number: u8) -> anyhow::Result<TurnCaller> {
        TurnCaller::new(self.relay.into(), Ipv4Addr::new(127, 0, number, 1))
    }

    /// A client in network `number` with an allocation.
    pub(super) fn allocated(&self, number: u8) -> anyhow::Result<TurnCaller> {
        let mut caller = self.caller(number)?;
        let answer = caller.allocate()?;
        ensure!(answer.relayed().is_some(), "refused: {:?}", answer.code());
        Ok(caller)
    }

    /// Checks that a client in network `number` gets an allocation, and releases it, because a user
    /// may have 64.
    pub(super) fn serves(&self, number: u8) -> anyhow::Result<()> {
        let end = |writer: &mut Writer<'_>| {
            writer.number(kinds::LIFETIME, 0);
        };
        let ended = self.allocated(number)?.ask(Method::Refresh, end)?;
        ensure!(ended.is_success(), "refused: {:?}", ended.code());
        Ok(())
    }

    /// Checks that unauthenticated requests still get answers.
    pub(super) fn still_answers(&self) -> anyhow::Result<()> {
        self.allocated(200).map(drop).context("it is dead")
    }

    pub(super) fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 2_048];
        let (length, _) = self.peer.recv_from(&mut buffer).ok()?;
        Some(buffer[..length].to_vec())
    }
}
