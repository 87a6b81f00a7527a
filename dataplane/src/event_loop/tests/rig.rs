//! Test rig: one shard with one publisher of video and some subscribers.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpOffer};
use str0m::format::{Codec, FormatParams};
use str0m::media::{Direction, Frequency, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues, RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output as ClientOutput, Rtc, RtcConfig};

use crate::event_loop::run;
use crate::event_loop::tick::BusyMeter;
use crate::ice::candidates::Candidates;
use crate::ice::credentials::IceKey;
use crate::io::engine::{Engine, EngineKind, EngineStart};
use crate::io::entropy::Entropy;
use crate::io::{clock, udp};
use crate::key::{SessionIndex, SessionKey, ShardId, TrackKey};
use crate::media::codec::MediaKind;
use crate::media::extensions::ExtensionKind;
use crate::media::layer_allocation::SubscriptionParams;
use crate::media::subscription::Wanted;
use crate::media::track::TrackSpec;
use crate::mesh::mailbox::Mesh;
use crate::mesh::message::{ShardEvent, ToControl};
use crate::path::Sockets;
use crate::path::arrive::Overflows;
use crate::peer::build::PeerFactory;
use crate::peer::command::{Command, CommandReply};
use crate::peer::output::{Output, PeerEvent};
use crate::peer::session::Peer;
use crate::shard::state::{Ice, Setup, Shard};
use crate::srtp::AeadChoice;
use crate::stream::{Streams, TlsOptions};
use crate::turn::Now;

use super::relayed;
use super::relayed::RelayedPath;

pub(super) const TRACK: TrackKey = TrackKey(7);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Minimum number of steps of all clients in any simulated time.
const MIN_STEPS: usize = 4;

thread_local! {
    static AHEAD: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Current time of the shard and its clients; may be ahead of the host's clock.
pub(super) fn now() -> Instant {
    Instant::now() + AHEAD.get()
}

/// Monotonic and wall clock at `now`.
fn at(now: Instant) -> Now {
    Now {
        instant: now,
        unix_s: clock::unix_s(),
    }
}

/// The shard, and all clients connected to it.
pub(super) struct Rig {
    pub(super) shard: Shard,
    io: Sockets,
    busy: BusyMeter,
    factory: PeerFactory,
    pub(super) publisher: Client,
    pub(super) subscribers: Vec<Client>,
    turn: SocketAddr,
    /// Events that the control plane received.
    pub(super) events: Vec<ShardEvent>,
}

/// The client of a session: its session layer and its socket.
pub(super) struct Client {
    pub(super) rtc: Rtc,
    pub(super) socket: UdpSocket,
    addr: SocketAddr,
    relayed_path: Option<RelayedPath>,
    /// Index of the session on the shard.
    pub(super) index: SessionIndex,
    pub(super) connected: bool,
    pub(super) received: Vec<RtpPacket>,
    /// Received RTP datagrams, encrypted.
    pub(super) datagrams: Vec<Vec<u8>>,
    /// Drops every n-th received media datagram; 0: none.
    pub(super) loses_every: usize,
    media: usize,
    sends_on: Option<Mid>,
    /// Sequence number of the next packet.
    pub(super) seq: u64,
    /// Offset from sequence numbers to timestamps.
    pub(super) time_offset: u32,
    /// Header extensions of sent packets.
    pub(super) extensions: Values,
    /// Edits the SDP answer before it is sent.
    pub(super) edits_answer: fn(String) -> String,
    /// True if the SDP answer contains RTX.
    pub(super) takes_rtx: bool,
    /// True if all sent datagrams are dropped.
    pub(super) is_mute: bool,
    /// True if sent connectivity checks are dropped.
    pub(super) sends_no_checks: bool,
    /// Number of next sent RTP datagrams to drop.
    pub(super) loses_next: usize,
    /// Number of received keyframe requests.
    pub(super) keyframe_requests: usize,
}

impl Rig {
    /// A rig in which all clients are connected and media has flowed.
    pub(super) fn start(subscribers: usize) -> Self {
        Self::start_with(EngineKind::Mmsg, subscribers)
    }

    /// As [`start`](Self::start), with this I/O engine.
    pub(super) fn start_with(kind: EngineKind, subscribers: usize) -> Self {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (port, turn_port, sockets) = udp::for_tests(4 << 20);
        let candidates = Candidates::new(&[loopback], port);
        let ice_key = IceKey::generate(&mut Entropy::System);
        let factory = PeerFactory::new(
            ice_key.clone(),
            candidates.as_slice().to_vec(),
            false,
            AeadChoice::Auto,
        )
        .unwrap();
        let mesh = Mesh::new(1).unwrap();
        let streams = Streams::new(Vec::new(), TlsOptions::default()).unwrap();
        let ice = Ice {
            key: ice_key,
            candidates,
        };
        let setup = Setup {
            id: ShardId(0),
            mesh,
            ice,
            streams,
            entropy: Entropy::System,
        };
        let mut shard = Shard::new(setup, now());
        let media = candidates_of(&shard);
        shard.egress.turn = Some(Box::new(relayed::turn(media, turn_port)));
        let names = (SessionKey(1), TRACK);
        let publisher = Client::publish(&mut shard, &factory, names, |offer| offer);
        let mut rig = Self {
            shard,
            io: Sockets {
                engine: Engine::start(&EngineStart { kind, egress: None }, &sockets).unwrap(),
                overflows: Overflows::default(),
                socket_index: sockets.socket_index(),
            },
            busy: BusyMeter::new(now()),
            factory,
            publisher,
            subscribers: Vec::new(),
            turn: SocketAddr::new(loopback, turn_port),
            events: Vec::new(),
        };
        rig.until("the publisher to connect", |rig| rig.publisher.connected);
        for number in 0..subscribers as u64 {
            rig.subscribe(SessionKey(100 + number), Client::new());
        }
        rig.until("all to connect", |rig| {
            rig.subscribers.iter().all(|client| client.connected)
        });
        rig.until("media to flow", |rig| {
            rig.send(1, true, 1_000);
            rig.subscribers
                .iter()
                .all(|client| !client.received.is_empty())
        });
        rig.run_for(Duration::from_millis(50));
        for client in &mut rig.subscribers {
            client.received.clear();
        }
        rig
    }

    /// Adds `client` as a subscriber.
    pub(super) fn subscribe(&mut self, session: SessionKey, client: Client) {
        self.subscribe_to((session, TRACK), client);
    }

    /// Adds `client` as a subscriber of this track.
    pub(super) fn subscribe_to(&mut self, names: (SessionKey, TrackKey), client: Client) {
        let client = Client::subscribe(&mut self.shard, &self.factory, names, client);
        self.subscribers.push(client);
    }

    /// Adds another call of two participants in which media has flowed. Returns the publisher and the subscriber.
    pub(super) fn call(&mut self) -> (Client, Client) {
        let track = TrackKey(8);
        let names = (SessionKey(2), track);
        let mut sender = Client::publish(&mut self.shard, &self.factory, names, |offer| offer);
        self.until("the call's sender to connect", |_| {
            sender.drive(now());
            sender.connected
        });
        let names = (SessionKey(3), track);
        let mut receiver = Client::subscribe(&mut self.shard, &self.factory, names, Client::new());
        self.until("the call's receiver to connect", |_| {
            receiver.drive(now());
            receiver.connected
        });
        self.until("media of the call to flow", |_| {
            sender.send_frame(&[1_000], true);
            receiver.drive(now());
            !receiver.received.is_empty()
        });
        self.run_for(Duration::from_millis(50));
        receiver.drive(now());
        receiver.received.clear();
        (sender, receiver)
    }

    /// Adds a publisher whose offer `edited` has changed.
    pub(super) fn publish(
        &mut self,
        names: (SessionKey, TrackKey),
        edited: impl FnOnce(String) -> String,
    ) -> Client {
        Client::publish(&mut self.shard, &self.factory, names, edited)
    }

    /// A client that sends all datagrams through the TURN server.
    pub(super) fn relayed(&mut self) -> Client {
        let socket = Client::socket();
        let relayed_path = RelayedPath::open(&socket, self);
        Client::with(socket, Some(relayed_path))
    }

    /// Address of the media port.
    pub(super) fn media(&self) -> SocketAddr {
        candidates_of(&self.shard)
    }

    /// Address of the TURN port.
    pub(super) fn turn_addr(&self) -> SocketAddr {
        self.turn
    }

    /// Runs the shard until `time` has passed.
    pub(super) fn run_for(&mut self, time: Duration) {
        let end = now() + time;
        let mut steps = 0;
        // If the host is slow, the clients must still get their steps.
        while now() < end || steps < MIN_STEPS {
            self.step();
            steps += 1;
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Advances the time of the shard and the clients by `time`, in steps in which ICE does not time out.
    pub(super) fn skip(&mut self, time: Duration) {
        const STEP: Duration = Duration::from_secs(2);
        let until = now() + time;
        while now() < until {
            AHEAD.set(AHEAD.get() + STEP);
            self.step();
            self.step(); // requests of the first step are answered in the second
        }
    }

    /// The publisher sends a frame of `packets` packets with `bytes` each.
    pub(super) fn send(&mut self, packets: usize, keyframe: bool, bytes: usize) {
        self.send_frame(&vec![bytes; packets], keyframe);
    }

    /// The publisher sends a frame of packets with these sizes.
    pub(super) fn send_sizes(&mut self, sizes: &[usize]) {
        self.send_frame(sizes, false);
    }

    fn send_frame(&mut self, sizes: &[usize], keyframe: bool) {
        self.publisher.send_frame(sizes, keyframe);
    }

    /// One turn of the shard's loop. True when more work is waiting.
    pub(super) fn pass(&mut self) -> bool {
        run::turn(&mut self.shard, &mut self.io, &mut self.busy, at(now()))
    }

    /// Runs the shard's loop until it would sleep, without the clients.
    pub(super) fn turn(&mut self) {
        let now = now();
        let shard = &mut self.shard;
        while run::turn(shard, &mut self.io, &mut self.busy, at(now)) {}
        while let Some(letter) = shard.outbox.mesh().take_control() {
            if let ToControl::Event(event) = letter {
                self.events.push(event);
            }
        }
    }

    /// All clients take one step.
    pub(super) fn step(&mut self) {
        self.turn();
        let now = now();
        self.publisher.drive(now);
        for client in &mut self.subscribers {
            client.drive(now);
        }
    }

    pub(super) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let give_up = now() + CONNECT_WITHIN;
        while !done(self) {
            assert!(now() < give_up, "waited in vain for {what}");
            self.step();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Client {
    pub(super) fn new() -> Self {
        Self::with(Self::socket(), None)
    }

    /// A client that supports only `codec`.
    pub(super) fn speaking(codec: Codec) -> Self {
        let mut client = Self::new();
        let mut config = config();
        let (clock, format) = (Frequency::NINETY_KHZ, FormatParams::default());
        let codecs = config.codec_config();
        codecs.add_config(96.into(), Some(97.into()), codec, clock, None, format);
        client.rtc = config.build(now());
        let candidate = Candidate::host(client.addr, "udp").unwrap();
        client.rtc.add_local_candidate(candidate);
        client
    }

    fn socket() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    fn with(socket: UdpSocket, relayed_path: Option<RelayedPath>) -> Self {
        let own = socket.local_addr().unwrap();
        let addr = relayed_path.as_ref().map_or(own, RelayedPath::relayed);
        let mut rtc = config()
            .enable_opus(true, false)
            .enable_vp8(true)
            .build(now());
        rtc.add_local_candidate(Candidate::host(addr, "udp").unwrap());
        Self {
            rtc,
            socket,
            addr,
            relayed_path,
            index: SessionIndex(usize::MAX),
            connected: false,
            received: Vec::new(),
            datagrams: Vec::new(),
            loses_every: 0,
            media: 0,
            sends_on: None,
            seq: 0,
            time_offset: 0,
            extensions: Values::default(),
            edits_answer: |answer| answer,
            takes_rtx: true,
            is_mute: false,
            sends_no_checks: false,
            loses_next: 0,
            keyframe_requests: 0,
        }
    }

    fn publish(
        shard: &mut Shard,
        factory: &PeerFactory,
        (session, track): (SessionKey, TrackKey),
        edited: impl FnOnce(String) -> String,
    ) -> Self {
        let (now, mut client) = (now(), Self::new());
        let mut api = client.rtc.sdp_api();
        let mid = api.add_media(
            MediaKind::Video.into(),
            Direction::SendOnly,
            None,
            None,
            None,
        );
        let (offer, pending) = api.apply().unwrap();
        let mut peer = factory.publisher(session, &mut Entropy::System, now);
        let spec = TrackSpec {
            key: track,
            id: "camera".into(),
            mid: mid.to_string(),
            kind: MediaKind::Video,
            layers: Vec::new(),
        };
        let offer = edited(to_us(&offer.to_sdp_string()));
        let tracks = vec![spec];
        let mut out = Output::default();
        let reply = peer.apply(Command::Publish { offer, tracks }, now, &mut out);
        let CommandReply::Answer(answer) = reply.unwrap() else {
            panic!("an offer is answered");
        };
        let answer = SdpAnswer::from_sdp_string(&to_client(&answer.sdp)).unwrap();
        client.rtc.sdp_api().accept_answer(pending, answer).unwrap();
        client.index = shard.adopt(peer, now);
        client.sends_on = Some(mid);
        client
    }

    fn subscribe(
        shard: &mut Shard,
        factory: &PeerFactory,
        (session, track): (SessionKey, TrackKey),
        mut client: Self,
    ) -> Self {
        let now = now();
        let mut peer = factory.subscriber(session, &mut Entropy::System, now);
        let put = vec![wanted(track)];
        let (revision, offer) = offer_of(
            &mut peer,
            Command::Subscribe {
                put,
                remove: vec![],
            },
        );
        let offer = SdpOffer::from_sdp_string(&to_client(&offer)).unwrap();
        let answer = client.rtc.sdp_api().accept_offer(offer).unwrap();
        let mut sdp = to_us(&answer.to_sdp_string());
        if !client.takes_rtx {
            sdp = without_rtx(&sdp);
        }
        let sdp = (client.edits_answer)(sdp);
        let mut out = Output::default();
        peer.apply(Command::Answer { revision, sdp }, now, &mut out)
            .unwrap();
        client.index = shard.adopt(peer, now);
        client
    }

    /// Moves the client to another source address.
    pub(super) fn move_to(&mut self, addr: &str) {
        self.socket = UdpSocket::bind(addr).unwrap();
        self.socket.set_nonblocking(true).unwrap();
        self.addr = self.socket.local_addr().unwrap();
        self.rtc
            .add_local_candidate(Candidate::host(self.addr, "udp").unwrap());
    }

    /// mid and payload type that the client sends with.
    pub(super) fn sends_on_pt(&mut self) -> (String, u8) {
        let params = self.rtc.codec_config().params();
        let video = params.iter().find(|params| params.spec().codec.is_video());
        let mid = self.sends_on.expect("only the publisher sends");
        (mid.to_string(), *video.unwrap().pt())
    }

    /// Restarts the stream with another SSRC and other numbers.
    pub(super) fn restart(&mut self, seq: u64, time_offset: u32) {
        let mid = self.sends_on.expect("only the publisher sends");
        let mut api = self.rtc.direct_api();
        let before = api.stream_tx_by_mid(mid, None).map(|stream| stream.ssrc());
        api.remove_stream_tx(before.expect("it sends"));
        let (ssrc, rtx) = (api.new_ssrc(), api.new_ssrc());
        api.declare_stream_tx(ssrc, Some(rtx), mid, None);
        (self.seq, self.time_offset) = (seq, time_offset);
    }

    /// Address of the client as the shard sees it.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// TURN allocation of the client, if it is relayed.
    pub(super) fn relayed_path(&self) -> Option<&RelayedPath> {
        self.relayed_path.as_ref()
    }

    /// Handles received datagrams, and sends due ones.
    pub(super) fn drive(&mut self, now: Instant) {
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        self.drain();
        let mut buffer = [0; 2_048];
        while let Ok((length, source)) = self.socket.recv_from(&mut buffer) {
            let (bytes, source) = match &mut self.relayed_path {
                None => (&buffer[..length], source),
                Some(relayed_path) => match relayed_path.unwrap(&buffer[..length], source) {
                    Some(unwrapped) => unwrapped,
                    None => continue,
                },
            };
            if (128..192).contains(&bytes[0]) && self.is_lost() {
                continue;
            }
            if is_rtp(bytes) {
                self.datagrams.push(bytes.to_vec());
            }
            let receive = Receive::new(Protocol::Udp, source, self.addr, bytes).unwrap();
            self.rtc.handle_input(Input::Receive(now, receive)).unwrap();
            self.drain();
        }
    }

    fn is_lost(&mut self) -> bool {
        self.media += 1;
        self.loses_every != 0 && self.media.is_multiple_of(self.loses_every)
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output().unwrap() {
                ClientOutput::Timeout(_) => return,
                ClientOutput::Transmit(transmit) => {
                    // RFC 7983: a first byte of 0 to 3 is STUN; [0, 1] is a Binding request.
                    let is_check = transmit.contents[..2] == [0, 1];
                    if self.is_mute || self.sends_no_checks && is_check {
                        continue;
                    }
                    if self.loses_next > 0 && is_rtp(&transmit.contents) {
                        self.loses_next -= 1;
                        continue;
                    }
                    let (bytes, to) = match &mut self.relayed_path {
                        None => (transmit.contents.to_vec(), transmit.destination),
                        Some(relayed_path) => {
                            relayed_path.wrap(&transmit.contents, transmit.destination)
                        }
                    };
                    let _ = self.socket.send_to(&bytes, to);
                }
                ClientOutput::Event(Event::Connected) => self.connected = true,
                ClientOutput::Event(Event::RtpPacket(packet)) => self.received.push(packet),
                ClientOutput::Event(Event::KeyframeRequest(_)) => self.keyframe_requests += 1,
                ClientOutput::Event(_) => {}
            }
        }
    }

    /// Sends a frame of packets with these sizes.
    pub(super) fn send_frame(&mut self, sizes: &[usize], keyframe: bool) {
        let now = now();
        let time = ((self.seq * 3_000) as u32).wrapping_add(self.time_offset);
        for (part, bytes) in sizes.iter().enumerate() {
            let mut payload = vec![0x5a; *bytes];
            let begins = if part == 0 { 0x90 } else { 0x80 };
            let id = 0x8000 | (self.seq as u16 & 0x7fff);
            let [high, low] = id.to_be_bytes();
            payload[..5].copy_from_slice(&[begins, 0x80, high, low, u8::from(!keyframe)]);
            let is_last = part + 1 == sizes.len();
            self.write(payload, (self.seq, time, is_last), now);
            self.seq += 1;
        }
        self.drive(now);
    }

    fn write(&mut self, payload: Vec<u8>, (seq, time, marker): (u64, u32, bool), now: Instant) {
        let params = self.rtc.codec_config().params();
        let video = params.iter().find(|params| params.spec().codec.is_video());
        let pt: Pt = video.unwrap().pt();
        let mid = self.sends_on.expect("only the publisher sends");
        let mut api = self.rtc.direct_api();
        let stream = api.stream_tx_by_mid(mid, None).unwrap();
        let packet = RtpWrite::new(pt, seq.into(), time, now, payload);
        let mut values = ExtensionValues::default();
        values.user_values.set(self.extensions.clone());
        let packet = packet.marker(marker).nackable(true).ext_vals(values);
        stream.write_rtp(packet);
    }
}

/// Values of forwarded header extensions, as clients send and receive them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Values(pub(super) Vec<(ExtensionKind, Vec<u8>)>);

/// Serializer of one extension for a client's session layer.
#[derive(Debug)]
struct Carried(ExtensionKind);

impl Carried {
    fn of<'a>(&self, values: &'a ExtensionValues) -> &'a [u8] {
        let all = values.user_values.get::<Values>();
        let found = all.and_then(|all| all.0.iter().find(|(kind, _)| *kind == self.0));
        found.map_or(&[], |(_, value)| value)
    }
}

impl ExtensionSerializer for Carried {
    fn write_to(&self, room: &mut [u8], values: &ExtensionValues) -> usize {
        let value = self.of(values);
        room[..value.len()].copy_from_slice(value);
        value.len()
    }

    fn parse_value(&self, value: &[u8], values: &mut ExtensionValues) -> bool {
        let mut all = values
            .user_values
            .get::<Values>()
            .cloned()
            .unwrap_or_default();
        all.0.push((self.0, value.to_vec()));
        values.user_values.set(all);
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
        self.of(values).len() > 16
    }
}

/// URI of an extension in a client's SDP: a client's session layer knows the real URIs of some, and would handle their
/// values itself.
fn alias(kind: ExtensionKind) -> String {
    format!("urn:x-test:{}", kind as u8)
}

/// Rewrites a client's `sdp` for us, with the real URIs.
fn to_us(sdp: &str) -> String {
    let kinds = ExtensionKind::ALL.into_iter();
    kinds.fold(sdp.to_owned(), |sdp, kind| {
        sdp.replace(&alias(kind), kind.uri())
    })
}

/// Rewrites our `sdp` for a client.
fn to_client(sdp: &str) -> String {
    let kinds = ExtensionKind::ALL.into_iter();
    kinds.fold(sdp.to_owned(), |sdp, kind| {
        sdp.replace(kind.uri(), &alias(kind))
    })
}

/// True for RTP, false for RTCP (RFC 5761 section 4).
fn is_rtp(datagram: &[u8]) -> bool {
    (128..192).contains(&datagram[0]) && !(64..96).contains(&(datagram[1] & 0x7f))
}

/// `sdp` without the payload types of RTX.
fn without_rtx(sdp: &str) -> String {
    let rtx = |line: &str| {
        let (pt, codec) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
        codec.starts_with("rtx/").then(|| pt.to_owned())
    };
    let gone: Vec<String> = sdp.lines().filter_map(rtx).collect();
    let names = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"];
    let is_about = |line: &str, pt: &str| {
        let mut values = names.iter().filter_map(|name| line.strip_prefix(name));
        values.any(|value| value.split(' ').next() == Some(pt))
    };
    let mut out = String::new();
    for line in sdp.lines() {
        if gone.iter().any(|pt| is_about(line, pt)) {
            continue;
        }
        let is_gone = |field: &&str| line.starts_with("m=") && gone.iter().any(|pt| pt == field);
        let kept: Vec<&str> = line.split(' ').filter(|field| !is_gone(field)).collect();
        out.push_str(&kept.join(" "));
        out.push_str("\r\n");
    }
    out
}

/// Session layer configuration of a client, without codecs.
fn config() -> RtcConfig {
    let crypto = std::sync::Arc::new(str0m::crypto::from_feature_flags());
    let mut config = RtcConfig::new()
        .set_crypto_provider(crypto)
        .set_rtp_mode(true)
        .clear_codecs();
    // The identifiers differ from ours.
    for (id, kind) in [14, 12, 9, 6].into_iter().zip(ExtensionKind::ALL) {
        let extension = Extension::with_serializer(&alias(kind), Carried(kind));
        config = config.set_extension(id, extension);
    }
    config
}

/// A subscription to the video of `track`.
pub(super) fn wanted(track: TrackKey) -> Wanted {
    Wanted {
        track,
        kind: MediaKind::Video,
        params: SubscriptionParams::default(),
        group: None,
        formats: None,
    }
}

fn candidates_of(shard: &Shard) -> SocketAddr {
    shard.ice.candidates.as_slice()[0]
}

/// The offer that a subscribe session sends after `command`.
fn offer_of(peer: &mut Peer, command: Command) -> (u64, String) {
    let mut out = Output::default();
    peer.apply(command, now(), &mut out).unwrap();
    let offer = out.events.into_iter().find_map(|event| match event {
        PeerEvent::Offer(offer) => Some((offer.revision, offer.sdp)),
        _ => None,
    });
    offer.expect("a new subscription is offered")
}
