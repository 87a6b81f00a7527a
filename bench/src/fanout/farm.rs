//! Thousands of participants on one thread and one socket.
//!
//! A turn of its loop sends due packets of publishers, receives a batch of datagrams, runs the peer connections with
//! due timers, and waits when there was nothing to do. Media is counted from its header and discarded, except for a
//! sample; only STUN, DTLS and feedback reach every peer connection. [`super::measure`] defines the measuring windows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use str0m::net::{Protocol, Receive};
use str0m::{Event, Input, Output};

use super::own::Own;
use super::request::{Index, RequestKind, ServerEvent};
use super::session::{Maker, Role, Session};
use super::shape::FRAMES_PER_SECOND;
use super::signaling::{Server, Signaling};
use super::tally::{Datagram, Received, Sample};
use crate::net::addresses::Addresses;
use crate::net::detour::Detour;
use crate::net::socket::{FarmSocket, Traffic};

/// Properties of the load.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// True: audio instead of video.
    pub audio: bool,
    /// True: video with simulcast layers.
    pub layers: bool,
    /// Bitrate of the highest layer, bits per second.
    pub bitrate_bps: u64,
    /// The first publisher sends at this multiple of the bitrate.
    pub overdrive: u32,
    /// Maximum duration of a pacer's bursts; `None`: frames are sent at once.
    pub burst: Option<Duration>,
    /// Publishers that each subscriber watches.
    pub watch: usize,
    /// One of this many subscribers decrypts its media.
    pub sample: usize,
    /// Number of additional audio calls of two: the first publishers and the first subscribers are their speakers and
    /// listeners.
    pub calls: usize,
}

impl Load {
    /// One video layer per subscriber; bursts of at most `burst_ms` (0: whole frames).
    pub fn video(bitrate_bps: u64, burst_ms: u64) -> Self {
        Self {
            audio: false,
            layers: false,
            bitrate_bps,
            overdrive: 1,
            burst: (burst_ms > 0).then(|| Duration::from_millis(burst_ms)),
            watch: 1,
            sample: USUAL_SAMPLE,
            calls: 0,
        }
    }

    /// True if publisher or subscriber `number` has audio instead of video.
    pub fn is_audio(&self, number: usize) -> bool {
        self.audio || number < self.calls
    }
}

/// Default: one of this many subscribers decrypts its media.
const USUAL_SAMPLE: usize = 50;

/// The participants and their measurements.
pub struct Farm {
    pub(super) load: Load,
    pub(super) addresses: Addresses,
    pub(super) port: u16,
    socket: FarmSocket,
    detour: Option<Detour>,
    pub(super) signaling: Signaling,
    pub(super) maker: Maker,
    pub(super) sessions: Vec<Session>,
    /// Counters, stored apart from the sessions, so that counting touches little memory.
    pub(super) received: Vec<Received>,
    rtx: u128,
    wakes: BinaryHeap<Reverse<(Instant, Index)>>,
    sends: BinaryHeap<Reverse<(Instant, Index, usize)>>,
    inbox: Vec<Inbound>,
    pub(super) publishers: usize,
    /// Number of sessions that were requested but are not connected yet.
    pub(super) pending: usize,
    /// Measurements of the decrypted sample.
    pub sample: Sample,
    /// Measurements of the listeners of calls.
    pub sample_of_calls: Sample,
    /// Usage of the load generator itself.
    pub own: Own,
}

/// A datagram for a peer connection.
struct Inbound {
    index: Index,
    source: SocketAddrV4,
    at: Duration,
    bytes: Vec<u8>,
}

/// Interval at which events of the server are read.
pub(super) const SIGNALING_PERIOD: Duration = Duration::from_millis(2);
/// Maximum number of peer connections whose timers run in one turn.
const WAKES_PER_TURN: usize = 256;
impl Farm {
    /// A farm without sessions.
    pub fn new(server: Server, addresses: Addresses, load: Load) -> anyhow::Result<Self> {
        let socket = FarmSocket::bind(0, Traffic::Media)?;
        Ok(Self {
            load,
            addresses,
            port: socket.port()?,
            socket,
            detour: None,
            signaling: Signaling::start(server)?,
            maker: Maker::new()?,
            sessions: Vec::new(),
            received: Vec::new(),
            rtx: 0,
            wakes: BinaryHeap::new(),
            sends: BinaryHeap::new(),
            inbox: Vec::new(),
            publishers: 0,
            pending: 0,
            sample: Sample::new(),
            sample_of_calls: Sample::new(),
            own: Own::new(),
        })
    }

    /// Participants added from now on use a TURN relay. `open` makes their allocations.
    pub fn go_through(
        &mut self,
        detour: Detour,
        open: impl FnOnce(&mut FarmSocket, Addresses) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        open(&mut self.socket, self.addresses)?;
        self.detour = Some(detour);
        Ok(())
    }

    /// Properties of the load.
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// Number of subscribers in the farm.
    pub fn subscribers(&self) -> usize {
        self.sessions.len() - self.publishers
    }

    /// Runs all sessions until `until`.
    pub fn run(&mut self, until: Instant) -> anyhow::Result<()> {
        while Instant::now() < until {
            self.turn(until)?;
        }
        Ok(())
    }

    /// The first `active` publishers begin to send, spread over the time of a frame.
    pub fn start_media(&mut self, active: usize) {
        let now = Instant::now();
        let period = Duration::from_secs(1) / FRAMES_PER_SECOND;
        self.sends.clear();
        for index in 0..active {
            let Role::Publisher(publisher) = &mut self.sessions[index].role else {
                continue;
            };
            let phase = period.mul_f64(index as f64 / active as f64);
            for (stream, state) in publisher.streams.iter_mut().enumerate() {
                state.shape.resume(now + phase);
                self.sends
                    .push(Reverse((state.shape.next(), index, stream)));
            }
        }
    }

    /// Publishers stop sending media.
    pub fn stop_media(&mut self) {
        self.sends.clear();
    }

    /// Packets that `publisher` sent since the start, in all layers.
    pub fn made(&self, publisher: Index) -> u64 {
        match &self.sessions[publisher].role {
            Role::Publisher(publisher) => publisher
                .streams
                .iter()
                .map(|stream| u64::from(stream.packets))
                .sum(),
            Role::Subscriber { .. } => 0,
        }
    }

    /// Received packets of all subscribers, in their order.
    pub fn received(&self) -> &[Received] {
        &self.received[self.publishers..]
    }

    /// Sets all counters to zero.
    pub fn restart_counting(&mut self) {
        self.received.iter_mut().for_each(Received::restart);
        self.sample = Sample::new();
        self.sample_of_calls = Sample::new();
        self.own = Own {
            lost_sessions: std::mem::take(&mut self.own.lost_sessions),
            ..Own::new()
        };
    }

    /// Datagrams lost since the start because our receive buffer was full.
    pub fn overflowed(&self) -> u32 {
        self.socket.overflowed()
    }

    /// The publishers that subscriber `number` watches.
    pub fn watched(&self, number: usize) -> impl Iterator<Item = Index> + use<> {
        let (publishers, calls) = (self.publishers, self.load.calls);
        let watch = if number < calls { 1 } else { self.load.watch };
        (0..watch).map(move |more| match number.checked_sub(calls) {
            None => number,
            Some(viewer) => calls + (viewer + more) % (publishers - calls),
        })
    }

    /// One turn; waits for work at most until `until`.
    pub(super) fn turn(&mut self, until: Instant) -> anyhow::Result<()> {
        self.publish_due()?;
        let bursts = self.receive()?;
        self.wake_due()?;
        self.handle_server_events()?;
        if bursts > 0 {
            return Ok(());
        }
        let mut next = until.min(Instant::now() + SIGNALING_PERIOD.max(self.idle_limit()));
        next = self
            .sends
            .peek()
            .map_or(next, |Reverse((at, ..))| next.min(*at));
        next = self
            .wakes
            .peek()
            .map_or(next, |Reverse((at, _))| next.min(*at));
        let now = Instant::now();
        if next > now {
            self.socket.readable(next - now)?;
            self.own.waited += now.elapsed();
        }
        Ok(())
    }

    /// Maximum time to wait in one turn: longer while no session waits for an event of the server.
    fn idle_limit(&self) -> Duration {
        if self.pending > 0 {
            SIGNALING_PERIOD
        } else {
            10 * SIGNALING_PERIOD
        }
    }

    fn publish_due(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        while let Some(Reverse((due, index, stream))) = self.sends.peek().copied()
            && due <= now
        {
            self.sends.pop();
            let sent_at = Instant::now();
            self.own
                .late_us
                .saturating_record((sent_at - due).as_micros() as u64);
            let session = &mut self.sessions[index];
            session.publish(stream, sent_at, wall()?)?;
            self.drive(index, Input::Timeout(sent_at), Duration::ZERO);
            if let Role::Publisher(publisher) = &self.sessions[index].role {
                let next = publisher.streams[stream].shape.next();
                self.sends.push(Reverse((next, index, stream)));
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> anyhow::Result<usize> {
        let (addresses, rtx, detour) = (self.addresses, self.rtx, self.detour);
        let (sessions, received, inbox) = (&self.sessions, &mut self.received, &mut self.inbox);
        let bursts = self.socket.receive(|burst| {
            let Some(index) = addresses.index(burst.destination) else {
                return;
            };
            let (Some(session), Some(received)) = (sessions.get(index), received.get_mut(index))
            else {
                return;
            };
            for datagram in burst.datagrams() {
                let Some((source, datagram)) = Detour::unpack(detour, burst.source, datagram)
                else {
                    continue;
                };
                let wanted = match Datagram::of(datagram) {
                    Datagram::Rtp(header) => {
                        received.note(header, datagram.len(), rtx);
                        session.is_sampled()
                    }
                    Datagram::Rtcp => session.is_sampled(),
                    Datagram::Other => true,
                };
                if wanted {
                    inbox.push(Inbound {
                        index,
                        source,
                        at: burst.at,
                        bytes: datagram.to_vec(),
                    });
                }
            }
        })?;
        let now = Instant::now();
        let mut inbox = std::mem::take(&mut self.inbox);
        for inbound in inbox.drain(..) {
            let own = SocketAddr::from((self.addresses.of(inbound.index), self.port));
            // The session layer ignores datagrams of unknown protocols.
            if let Ok(receive) =
                Receive::new(Protocol::Udp, inbound.source.into(), own, &inbound.bytes)
            {
                self.drive(inbound.index, Input::Receive(now, receive), inbound.at);
            }
        }
        self.inbox = inbox;
        Ok(bursts)
    }

    fn wake_due(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        for _ in 0..WAKES_PER_TURN {
            let Some(Reverse((at, index))) = self.wakes.peek().copied() else {
                break;
            };
            if at > now {
                break;
            }
            self.wakes.pop();
            let session = &mut self.sessions[index];
            if session.queued != Some(at) {
                continue; // a nearer deadline replaced it
            }
            session.queued = None;
            if session.deadline <= now {
                self.drive(index, Input::Timeout(now), Duration::ZERO);
            } else {
                self.queue(index);
            }
        }
        Ok(())
    }

    fn handle_server_events(&mut self) -> anyhow::Result<()> {
        while let Some(next_event) = self.signaling.next_event() {
            match next_event {
                ServerEvent::Answered { index, sdp } => {
                    self.sessions[index].accept_answer(&sdp)?;
                    self.drive(index, Input::Timeout(Instant::now()), Duration::ZERO);
                }
                ServerEvent::Offered {
                    index,
                    revision,
                    sdp,
                } => {
                    let sdp = self.sessions[index].accept_offer(&sdp)?;
                    self.rtx |= self.sessions[index].rtx_payload_types();
                    self.signaling
                        .send_request(index, RequestKind::Answer { revision, sdp });
                    self.drive(index, Input::Timeout(Instant::now()), Duration::ZERO);
                }
                ServerEvent::Failed {
                    index: Some(index),
                    why,
                } => self.own.lost(format!("participant {index}: {why}")),
                ServerEvent::Failed { index: None, why } => anyhow::bail!(why),
            }
        }
        Ok(())
    }

    /// Passes `input`, which arrived at `at`, to a peer connection, and handles its outputs.
    fn drive(&mut self, index: Index, input: Input<'_>, at: Duration) {
        if let Err(error) = self.try_drive(index, input, at) {
            self.own.lost(format!("participant {index}: {error:#}"));
            // The session has failed and does no more work.
            self.sessions[index].deadline = Instant::now() + Duration::from_secs(3_600);
        }
    }

    fn try_drive(&mut self, index: Index, input: Input<'_>, at: Duration) -> anyhow::Result<()> {
        let own = self.addresses.of(index);
        let listens = index.checked_sub(self.publishers);
        let is_of_call = listens.is_some_and(|number| number < self.load.calls);
        let session = &mut self.sessions[index];
        session.rtc.handle_input(input)?;
        loop {
            match session.rtc.poll_output()? {
                Output::Timeout(deadline) => {
                    session.deadline = deadline;
                    break;
                }
                Output::Transmit(transmit) => {
                    if let SocketAddr::V4(to) = transmit.destination {
                        let contents = &*transmit.contents;
                        match &self.detour {
                            Some(detour) => detour.send(&self.socket, own, contents),
                            None => self.socket.send(own, to, contents),
                        }
                        .context("send")?;
                    }
                }
                Output::Event(Event::RtpPacket(packet)) => match is_of_call {
                    true => self.sample_of_calls.note(&packet.payload, at),
                    false => self.sample.note(&packet.payload, at),
                },
                Output::Event(Event::KeyframeRequest(request)) => session.keyframe_wanted(request),
                Output::Event(Event::Connected) if !session.connected => {
                    session.connected = true;
                    self.pending -= 1;
                }
                Output::Event(_) => {}
            }
        }
        self.queue(index);
        Ok(())
    }

    /// Adds the session's deadline to the heap, if it is earlier than the one in the heap.
    fn queue(&mut self, index: Index) {
        let session = &mut self.sessions[index];
        if session
            .queued
            .is_none_or(|queued| session.deadline < queued)
        {
            session.queued = Some(session.deadline);
            self.wakes.push(Reverse((session.deadline, index)));
        }
    }
}

impl Session {
    /// True if the session decrypts its media.
    fn is_sampled(&self) -> bool {
        match self.role {
            Role::Publisher(_) => true,
            Role::Subscriber { sampled } => sampled,
        }
    }
}

fn wall() -> anyhow::Result<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}
