//! Configuration of the session layer (str0m) for all sessions of a node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use str0m::config::{CryptoProvider, DtlsCert};
use str0m::format::PayloadParams;
use str0m::{Candidate, IceCreds, Rtc, RtcConfig};

use super::codecs;
use crate::ice::credentials::{Credentials, IceKey};

/// Settings that the session layers of a node share.
#[derive(Clone)]
pub(super) struct RtcSetup {
    pub(super) ice_key: IceKey,
    pub(super) crypto: Arc<CryptoProvider>,
    pub(super) cert: DtlsCert,
    pub(super) candidates: Vec<SocketAddr>,
}

impl RtcSetup {
    /// Creates `rtc` again with additional `codecs`, before the client has received anything of it.
    pub(super) fn with_codecs(&self, rtc: &mut Rtc, codecs: &[PayloadParams], now: Instant) {
        let mut config = self.config(rtc.direct_api().local_ice_credentials());
        for params in codecs {
            let (pt, resend, spec) = (params.pt(), params.resend(), params.spec());
            config.codec_config().add_config(
                pt,
                resend,
                spec.codec,
                spec.clock_rate,
                spec.channels,
                spec.format,
            );
        }
        *rtc = config.build(now);
        self.add_candidates(rtc);
    }

    pub(super) fn config(&self, credentials: IceCreds) -> RtcConfig {
        let mut config = RtcConfig::new()
            .set_crypto_provider(Arc::clone(&self.crypto))
            .set_dtls_cert(self.cert.clone())
            .set_local_ice_credentials(credentials)
            .set_ice_lite(true)
            .set_rtp_mode(true);
        *config.codec_config() = codecs::SUPPORTED.clone();
        config
    }

    pub(super) fn add_candidates(&self, rtc: &mut Rtc) {
        for addr in &self.candidates {
            let candidate = Candidate::host(*addr, "udp").expect("a bound address is a candidate");
            rtc.add_local_candidate(candidate);
        }
    }
}

/// `credentials` as the session layer's type.
pub(super) fn ice_creds(credentials: Credentials) -> IceCreds {
    IceCreds {
        ufrag: credentials.ufrag,
        pass: credentials.pass,
    }
}
