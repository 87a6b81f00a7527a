//! Starts the TURN servers from the configuration, one for each shard.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use anyhow::Context as _;

use super::bind::bind;
use super::streams::TlsListener;
use crate::config::{self, Config, TurnPeers};
use crate::ice::candidates::Candidates;
use crate::io::entropy::Entropy;
use crate::io::route::OwnWatch;
use crate::io::{clock, udp};
use crate::shard::turn_service::TurnService;
use crate::turn::{self, Limits, Ourselves, Peers, RelayAddresses, Server};

/// Parts that the TURN servers of all shards share.
pub(super) struct RelayStart<'a> {
    turn: &'a config::Turn,
    candidates: &'a Candidates,
    port: u16,
    sockets: Vec<udp::Pair>,
}

impl<'a> RelayStart<'a> {
    /// Binds the UDP and TCP sockets of TURN.
    pub(super) fn bind(
        config: &Config,
        turn: &'a config::Turn,
        candidates: &'a Candidates,
    ) -> anyhow::Result<Self> {
        let (port, sockets) = bind(config, "turn-port", turn.port)?;
        Ok(Self {
            turn,
            candidates,
            port,
            sockets,
        })
    }

    /// UDP port of the TURN servers.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// TURN URLs (RFC 7065), the preferred one first.
    pub(super) fn urls(&self, tls: Option<TlsListener>) -> Vec<String> {
        let named = self.turn.host.as_ref();
        let ip = self.candidates.as_slice()[0].ip();
        if let Some(kind) = &tls
            && named.or(kind.name.as_ref()).is_none_or(|host| is_ip(host))
        {
            let port = kind.port;
            tracing::warn!(
                port,
                "turn over tls: say turn-host, or have a name in the certificate; Firefox does not open it by \
                 an IP address"
            );
        }
        urls(named.map(String::as_str), ip, self.port, tls)
    }

    /// The TURN server and sockets of each shard.
    pub(super) fn turn_services(
        self,
    ) -> anyhow::Result<impl Iterator<Item = (TurnService, udp::Pair)>> {
        let count = u16::try_from(self.sockets.len()).expect("MAX_SHARDS fits");
        let nonce_secret = Entropy::System.bytes();
        // With other scopes only listed peers can be reached, so the host's addresses do not matter.
        let own = match self.turn.peers {
            TurnPeers::Public => Some(OwnWatch::start().context(
                "cannot read the host's addresses, which turn-peers public keeps clients from",
            )?),
            TurnPeers::Cluster(_) => None,
        };
        let turn_services: anyhow::Result<Vec<TurnService>> = (0..count)
            .map(|offset| {
                let config = self.config(offset, count, nonce_secret);
                let rng = fastrand::Rng::with_seed(u64::from_ne_bytes(Entropy::System.bytes()));
                let server = Server::new(config, clock::now(), rng);
                let server = server.context("turn cannot be set up")?;
                let mut turn = TurnService::new(server, self.port)?;
                if let Some(own) = &own {
                    turn.watch_host(own.watched());
                }
                Ok(turn)
            })
            .collect();
        Ok(turn_services?.into_iter().zip(self.sockets))
    }

    /// Ports of TURN over UDP and TCP, and over TLS if known.
    fn ports(&self) -> impl Iterator<Item = u16> + use<> {
        let tls = self.turn.tls.as_ref().map(|tls| tls.port);
        std::iter::once(self.port).chain(tls)
    }

    fn config(&self, offset: u16, shards: u16, nonce_secret: [u8; 32]) -> turn::Config {
        let turn = self.turn;
        let candidates = self.candidates.as_slice();
        let ips = || candidates.iter().map(SocketAddr::ip);
        let peers = match &turn.peers {
            TurnPeers::Public => Peers::Public,
            TurnPeers::Cluster(others) => {
                Peers::Cluster(candidates.iter().chain(others).copied().collect())
            }
        };
        turn::Config {
            realm: turn.realm.clone(),
            secrets: turn.secrets.clone(),
            secret_grace: turn.secret_grace,
            nonce_secret,
            relay: RelayAddresses {
                v4: ips().find_map(|ip| match ip {
                    IpAddr::V4(ip) => Some(ip),
                    IpAddr::V6(_) => None,
                }),
                v6: ips().find_map(|ip| match ip {
                    IpAddr::V6(ip) => Some(ip),
                    IpAddr::V4(_) => None,
                }),
                ports: turn.relay_ports.clone(),
                except: candidates
                    .iter()
                    .map(SocketAddr::port)
                    .chain(self.ports())
                    .collect(),
                step: NonZeroU16::new(shards).expect("there is a shard"),
                offset,
            },
            ourselves: Ourselves {
                listening: ips()
                    .flat_map(|ip| self.ports().map(move |port| SocketAddr::new(ip, port)))
                    .collect(),
                inside: candidates.to_vec(),
            },
            peers,
            denied: turn.denied.clone(),
            nat64: turn.nat64.clone(),
            limits: Limits::default(),
        }
    }
}

fn is_ip(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok()
}

/// `host` is the operator's setting for URLs. Without it, URLs contain the address; TLS URLs contain the name in the
/// certificate, because clients compare the two.
fn urls(host: Option<&str>, ip: IpAddr, port: u16, tls: Option<TlsListener>) -> Vec<String> {
    let address = match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let plain = ["udp", "tcp"].map(|transport| {
        let host = host.unwrap_or(&address);
        format!("turn:{host}:{port}?transport={transport}")
    });
    let tls = tls.map(|TlsListener { port, name }| {
        let host = host.or(name.as_deref()).unwrap_or(&address);
        format!("turns:{host}:{port}?transport=tcp")
    });
    plain.into_iter().chain(tls).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_reached_by_the_name_of_the_certificate() {
        let (v4, v6) = (
            IpAddr::from([192, 0, 2, 7]),
            IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
        );
        let kind = |name: Option<&str>| {
            Some(TlsListener {
                port: 443,
                name: name.map(str::to_owned),
            })
        };
        let plain = |host| {
            ["udp", "tcp"]
                .map(|transport| format!("turn:{host}:3478?transport={transport}"))
                .to_vec()
        };
        assert_eq!(urls(None, v6, 3478, None), plain("[2001:db8::1]"));
        let all = urls(None, v4, 3478, kind(Some("turn.example.com")));
        assert_eq!(all[..2], plain("192.0.2.7"));
        assert_eq!(all[2], "turns:turn.example.com:443?transport=tcp");
        assert_eq!(
            urls(None, v4, 3478, kind(None))[2],
            "turns:192.0.2.7:443?transport=tcp"
        );
        let all = urls(
            Some("rtc.example.com"),
            v4,
            3478,
            kind(Some("turn.example.com")),
        );
        assert_eq!(all[..2], plain("rtc.example.com"));
        assert_eq!(all[2], "turns:rtc.example.com:443?transport=tcp");
        assert!(is_ip("[::1]") && is_ip("192.0.2.7") && !is_ip("rtc.example.com"));
    }
}
