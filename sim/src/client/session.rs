//! A publish or subscribe session of a client: SDP and datagrams go in, SDP and datagrams come out.

use std::net::SocketAddr;

use super::sdp::{self, OfferedLine, Remote};
use super::sink::Sink;
use super::source::Source;
use super::transport::{Incoming, Transport};
use crate::clock::Time;
use crate::network::Datagram;
use crate::rng::Seed;

/// One session of a client.
pub struct Session {
    /// Name of the session in the control plane.
    pub id: String,
    /// ICE, the handshake and SRTP.
    pub transport: Transport,
    /// Media that is sent or received.
    pub media: Media,
}

/// Media of a session.
pub enum Media {
    /// The client sends its own media.
    Publish {
        /// The m-lines of the offer.
        lines: Vec<OfferedLine>,
        /// Media of each m-line.
        sources: Vec<Source>,
    },
    /// The client receives media of others.
    Subscribe(Sink),
}

impl Session {
    /// A session that publishes `lines`; `tracks` are their numbers.
    pub fn publish(
        id: &str,
        local: SocketAddr,
        lines: Vec<OfferedLine>,
        tracks: &[u32],
        seed: Seed,
    ) -> Self {
        let source = |(mid, (line, track)): (usize, (&OfferedLine, &u32))| {
            let rng = seed.stream(&format!("source {id} {mid}"));
            Source::new(*track, &mid.to_string(), line, rng)
        };
        let sources = lines.iter().zip(tracks).enumerate().map(source).collect();
        Self {
            id: id.to_owned(),
            transport: Transport::new(local, seed.stream(&format!("transport {id}"))),
            media: Media::Publish { lines, sources },
        }
    }

    /// A session that receives.
    pub fn subscribe(id: &str, local: SocketAddr, seed: Seed) -> Self {
        let ssrc = seed.number(&format!("feedback {id}")) as u32;
        Self {
            id: id.to_owned(),
            transport: Transport::new(local, seed.stream(&format!("transport {id}"))),
            media: Media::Subscribe(Sink::new(ssrc)),
        }
    }

    /// The offer of a session that publishes.
    pub fn offer(&self) -> Option<String> {
        match &self.media {
            Media::Publish { lines, .. } => Some(sdp::offer(&self.transport.identity, lines)),
            Media::Subscribe(_) => None,
        }
    }

    /// Stops or starts the media of the m-line `mid` of a session that publishes.
    pub fn set_muted(&mut self, mid: usize, is_muted: bool) {
        if let Media::Publish { sources, .. } = &mut self.media
            && let Some(source) = sources.get_mut(mid)
        {
            source.is_muted = is_muted;
        }
    }

    /// Handles the answer to our offer.
    pub fn answered(&mut self, answer: &str, now: Time) {
        let remote = Remote::read(answer);
        if let Media::Publish { sources, .. } = &mut self.media {
            for source in sources {
                source.set_remote(&remote);
            }
        }
        self.transport.set_remote(&remote, now);
    }

    /// Handles an offer of the other side. Returns our answer.
    pub fn offered(&mut self, offer: &str, now: Time) -> String {
        let remote = Remote::read(offer);
        if let Media::Subscribe(sink) = &mut self.media {
            sink.set_remote(&remote);
        }
        let answer = sdp::answer(&self.transport.identity, offer);
        self.transport.set_remote(&remote, now);
        answer
    }

    /// Handles a datagram of the node.
    pub fn receive(&mut self, bytes: &[u8], now: Time) {
        let incoming = self.transport.receive(bytes, now);
        match (&mut self.media, incoming) {
            (Media::Publish { sources, .. }, Some(Incoming::Rtcp(compound))) => {
                for source in sources {
                    source.feedback(&compound, &mut self.transport);
                }
            }
            (Media::Subscribe(sink), Some(Incoming::Rtp(rtp))) => sink.receive(&rtp, now),
            (Media::Subscribe(sink), Some(Incoming::Rtcp(compound))) => {
                sink.reports(&compound, now);
            }
            (Media::Publish { .. }, Some(Incoming::Rtp(_))) | (_, None) => {}
        }
    }

    /// Time of the next [`handle_timeout`](Self::handle_timeout); `None` while the session waits for SDP.
    pub fn deadline(&self) -> Option<Time> {
        let transport = self.transport.deadline();
        if !self.transport.is_connected() {
            return transport;
        }
        let media = match &self.media {
            Media::Publish { sources, .. } => sources.iter().map(Source::deadline).min(),
            Media::Subscribe(sink) => Some(sink.deadline()),
        };
        transport.into_iter().chain(media).min()
    }

    /// Handles timers that are due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.transport.handle_timeout(now);
        if !self.transport.is_connected() {
            return;
        }
        match &mut self.media {
            Media::Publish { sources, .. } => {
                for source in sources {
                    source.handle_timeout(&mut self.transport, now);
                }
            }
            Media::Subscribe(sink) => {
                if sink.deadline() <= now {
                    sink.handle_timeout(&mut self.transport, now);
                }
            }
        }
    }

    /// The next datagram to send.
    pub fn poll(&mut self) -> Option<Datagram> {
        self.transport.poll()
    }
}
