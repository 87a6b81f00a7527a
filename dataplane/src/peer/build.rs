//! Factory of sessions, with the settings that all sessions of a node share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::Rtc;
use str0m::config::CryptoProvider;

use super::checks::Checks;
use super::paths::Paths;
use super::publish::Publisher;
use super::rtc::{RtcSetup, ice_creds};
use super::sdp;
use super::session::{Peer, Role};
use super::subscribe::Subscriber;
use crate::dtls;
use crate::ice::credentials::{IceKey, Ufrag};
use crate::io::entropy::Entropy;
use crate::key::SessionKey;
use crate::srtp::AeadChoice;

/// Makes sessions with the settings of the node.
#[derive(Clone)]
pub struct PeerFactory {
    setup: RtcSetup,
    /// Candidate lines for our SDP with the addresses for ICE over TCP (RFC 6544); empty if ICE over TCP is off.
    tcp_candidates: Arc<str>,
}

/// Report interval of the session layer for subscribers: its reports are not sent, so it makes none.
const NEVER: Duration = Duration::from_secs(24 * 3_600);

impl PeerFactory {
    /// A factory for a node with the addresses `candidates`. One certificate serves all sessions: creating one costs
    /// more than a handshake, and clients pin its fingerprint through signaling anyway. With `ice_tcp`, our SDP also
    /// has candidates for TCP.
    pub fn new(
        ice_key: IceKey,
        candidates: Vec<SocketAddr>,
        ice_tcp: bool,
        aead: AeadChoice,
    ) -> anyhow::Result<Self> {
        Self::with_crypto(ice_key, candidates, ice_tcp, dtls::provider(aead))
    }

    /// As [`new`](Self::new), with the DTLS of `crypto`, which must come from [`dtls::tapped`].
    pub fn with_crypto(
        ice_key: IceKey,
        candidates: Vec<SocketAddr>,
        ice_tcp: bool,
        crypto: CryptoProvider,
    ) -> anyhow::Result<Self> {
        let cert = crypto
            .dtls_provider
            .generate_certificate()
            .ok_or_else(|| anyhow::anyhow!("the crypto provider makes no certificates"))?;
        let over_tcp: &[SocketAddr] = if ice_tcp { &candidates } else { &[] };
        Ok(Self {
            tcp_candidates: sdp::candidates::tcp_candidates(over_tcp).into(),
            setup: RtcSetup {
                ice_key,
                crypto: Arc::new(crypto),
                cert,
                candidates,
            },
        })
    }

    /// A new publish session.
    pub fn publisher(&self, session: SessionKey, entropy: &mut Entropy, now: Instant) -> Peer {
        let credentials = ice_creds(self.setup.ice_key.credentials(entropy));
        let rtc = self.setup.config(credentials).build(now);
        let publisher = Publisher::new(self.setup.clone());
        self.peer(
            session,
            rtc,
            Role::Publish(Box::new(publisher)),
            entropy,
            now,
        )
    }

    /// A new subscribe session.
    pub fn subscriber(&self, session: SessionKey, entropy: &mut Entropy, now: Instant) -> Peer {
        let credentials = ice_creds(self.setup.ice_key.credentials(entropy));
        let config = self
            .setup
            .config(credentials)
            .set_rtcp_report_interval_audio(NEVER)
            .set_rtcp_report_interval_video(NEVER);
        let role = Role::Subscribe(Box::new(Subscriber::new(
            Arc::clone(&self.tcp_candidates),
            entropy.fork(),
        )));
        self.peer(session, config.build(now), role, entropy, now)
    }

    fn peer(
        &self,
        session: SessionKey,
        mut rtc: Rtc,
        role: Role,
        entropy: &mut Entropy,
        now: Instant,
    ) -> Peer {
        self.setup.add_candidates(&mut rtc);
        let ufrag = Ufrag(rtc.direct_api().local_ice_credentials().ufrag.into());
        Peer {
            session,
            role,
            paths: Paths::default(),
            checks: Box::new(Checks::new(
                self.setup.ice_key.clone(),
                ufrag,
                entropy.fork(),
            )),
            rtc: Box::new(rtc),
            tcp_candidates: Arc::clone(&self.tcp_candidates),
            handshake: dtls::Handshake::take_created().unwrap_or_default(),
            connected: false,
            keyed: false,
            ended: false,
            deadline: now,
        }
    }
}
