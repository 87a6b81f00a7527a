//! Starts participants: a bounded number of handshakes at a time, so that none times out.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::Candidate;
use str0m::media::MediaKind;

use super::farm::{Farm, SIGNALING_PERIOD};
use super::request::{Index, RequestKind};
use super::session::Session;
use super::shape::Shape;
use super::tally::Received;

/// Maximum number of simultaneous handshakes; more would time out.
const MAX_PENDING: usize = 64;
/// Maximum time without a completed handshake.
const PROGRESS_LIMIT: Duration = Duration::from_secs(20);

impl Farm {
    /// Adds publishers, before any subscriber, and waits until they are connected.
    pub fn add_publishers(&mut self, count: usize) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.subscribers() == 0,
            "publishers come before subscribers"
        );
        let all = self.sessions.len() + count;
        self.publishers = all;
        self.connect_all(all, Self::start_publisher)
    }

    /// Adds subscribers and waits until they are connected.
    pub fn add_subscribers(&mut self, count: usize) -> anyhow::Result<()> {
        let all = self.sessions.len() + count;
        let limit = self.addresses.capacity();
        anyhow::ensure!(
            all <= limit,
            "{all} participants are more than the {limit} addresses"
        );
        self.connect_all(all, Self::start_subscriber)
    }

    fn connect_all(
        &mut self,
        all: usize,
        start: fn(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut progress = (Instant::now(), self.sessions.len(), self.pending);
        while self.sessions.len() < all || self.pending > 0 {
            while self.sessions.len() < all && self.pending < MAX_PENDING {
                self.pending += 1;
                start(self)?;
            }
            self.turn(Instant::now() + SIGNALING_PERIOD)?;
            if (self.sessions.len(), self.pending) != (progress.1, progress.2) {
                progress = (Instant::now(), self.sessions.len(), self.pending);
            }
            anyhow::ensure!(
                progress.0.elapsed() < PROGRESS_LIMIT,
                "{} of {all} participants are connected, and for {PROGRESS_LIMIT:?} no other got so far{}",
                self.sessions.len() - self.pending,
                self.own.first_reason(),
            );
            let lost = &self.own.lost_sessions;
            anyhow::ensure!(
                lost.is_empty(),
                "a participant was lost{}",
                self.own.first_reason()
            );
        }
        Ok(())
    }

    fn start_publisher(&mut self) -> anyhow::Result<()> {
        let (index, now, load) = (self.sessions.len(), Instant::now(), self.load);
        let candidate = self.candidate(index)?;
        let is_audio = load.is_audio(index);
        let kind = if is_audio {
            MediaKind::Audio
        } else {
            MediaKind::Video
        };
        let mut seed = index as u64 * 8;
        let factor = u64::from(if index == load.calls {
            load.overdrive
        } else {
            1
        });
        let bps = load.bitrate_bps * factor;
        let (session, offer, track) =
            self.maker
                .publisher(now, candidate, kind, load.layers && !is_audio, |part| {
                    seed += 1;
                    match is_audio {
                        true => Shape::audio(now, seed),
                        false => Shape::video(bps / part, load.burst, now, seed),
                    }
                })?;
        self.add(session);
        self.signaling
            .send_request(index, RequestKind::Publish { offer, track });
        Ok(())
    }

    fn start_subscriber(&mut self) -> anyhow::Result<()> {
        let (index, now) = (self.sessions.len(), Instant::now());
        let number = index - self.publishers;
        let candidate = self.candidate(index)?;
        let sampled = number < self.load.calls || number.is_multiple_of(self.load.sample);
        let session = self.maker.subscriber(now, candidate, sampled);
        self.add(session);
        let kind = RequestKind::Subscribe {
            watches: self.watched(number).collect(),
            audio: self.load.is_audio(number),
        };
        self.signaling.send_request(index, kind);
        Ok(())
    }

    fn candidate(&self, index: Index) -> anyhow::Result<Candidate> {
        let addr = SocketAddr::from((self.addresses.of(index), self.port));
        Ok(Candidate::host(addr, "udp")?)
    }

    fn add(&mut self, session: Session) {
        self.sessions.push(session);
        self.received.push(Received::default());
    }
}
