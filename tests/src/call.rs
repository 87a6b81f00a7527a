//! Clients with real sessions, created through the control API of a data plane.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::Context;
use spillway_bench::link::Link;
use spillway_bench::media::Source;
use spillway_wire::dataplane as proto;
use str0m::media::{Direction, MediaKind, Mid, Rid, Simulcast, SimulcastLayer};
use str0m::rtp::{ExtensionValues, RtpWrite};
use tokio_stream::StreamExt;
use tonic::Streaming;

use crate::clock::TimeLimit;
use crate::node::Node;

/// A publisher that sends synthetic media.
pub struct Publisher {
    /// Name of the publisher's session.
    pub name: String,
    /// Peer connection to the data plane.
    pub link: Link,
    streams: Vec<Stream>,
    /// SDP of this client's offer.
    pub offer: String,
    /// SDP of the data plane's answer.
    pub answer: String,
    epoch: Instant,
    seq: HashMap<(Mid, Option<Rid>), u64>,
}

struct Stream {
    mid: Mid,
    rid: Option<Rid>,
    kind: MediaKind,
    source: Source,
}

/// A subscriber that records the received packets.
pub struct Subscriber {
    /// Name of the subscriber's session.
    pub name: String,
    /// Peer connection to the data plane.
    pub link: Link,
    events: Streaming<proto::Event>,
    track_by_mid: HashMap<String, String>,
    /// Received packets by track.
    pub received: BTreeMap<String, Vec<Arrival>>,
    /// Layer changes that the data plane reported: track, rid, active.
    pub layers: Vec<(String, String, bool)>,
    /// SDP of the latest offer of the data plane.
    pub offer: String,
    /// SDP of the client's answer to it.
    pub answer: String,
    /// SSRC of the latest packet.
    pub last_ssrc: Option<u32>,
}

/// A received packet, with the fields that tests check.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Counter that the publisher wrote into the packet.
    pub counter: u32,
    /// Index of the simulcast layer; 0 without simulcast.
    pub layer: u8,
    /// Extended sequence number of the subscriber's stream.
    pub seq: u64,
    /// RTP timestamp of the packet.
    pub time: u32,
    /// VP8 picture id, for video.
    pub picture_id: Option<u16>,
    /// Time when the packet arrived.
    pub at: Instant,
}

/// Layers of a simulcast track: rid and height, lowest first.
pub const LAYERS: [(&str, u32); 3] = [("q", 180), ("h", 360), ("f", 720)];
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

impl Publisher {
    /// Publishes one audio and one video track, `NAME-audio` and `NAME-video`.
    pub async fn start(node: &mut Node, name: &str, simulcast: bool) -> anyhow::Result<Self> {
        Self::start_on(node, name, simulcast, Link::new(Instant::now())).await
    }

    /// [`Publisher::start`] on an existing peer connection.
    pub async fn start_on(
        node: &mut Node,
        name: &str,
        simulcast: bool,
        mut link: Link,
    ) -> anyhow::Result<Self> {
        let now = Instant::now();
        let mut api = link.rtc.sdp_api();
        let audio = api.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
        let layers = simulcast.then(|| {
            let mut layers = Simulcast::new();
            LAYERS
                .iter()
                .for_each(|(rid, _)| layers.add_send_layer(SimulcastLayer::new(rid)));
            layers
        });
        let video = api.add_media(MediaKind::Video, Direction::SendOnly, None, None, layers);
        let (offer, pending) = api.apply().context("nothing to offer")?;
        let offer = offer.to_sdp_string();
        let tracks = tracks(name, audio, video, simulcast);
        let request = put_publish(name, &offer, tracks);
        let answer = node
            .client
            .put_publish(request)
            .await?
            .into_inner()
            .answer_sdp;
        link.accept_answer(pending, &answer).await?;
        let stream = |mid, rid, kind| Stream {
            mid,
            rid,
            kind,
            source: Source::new(kind, now),
        };
        let mut streams = vec![stream(audio, None, MediaKind::Audio)];
        match simulcast {
            true => streams.extend(
                LAYERS
                    .iter()
                    .map(|(rid, _)| stream(video, Some(Rid::from(*rid)), MediaKind::Video)),
            ),
            false => streams.push(stream(video, None, MediaKind::Video)),
        }
        let (name, seq) = (name.to_owned(), HashMap::new());
        Ok(Self {
            name,
            link,
            streams,
            offer,
            answer,
            epoch: now,
            seq,
        })
    }

    /// Sends media that is due, and runs the session.
    pub async fn step(&mut self, now: Instant) -> anyhow::Result<()> {
        self.link.receive().await?;
        for mid in std::mem::take(&mut self.link.keyframes_wanted) {
            let streams = self.streams.iter_mut().filter(|stream| stream.mid == mid);
            streams.for_each(|stream| stream.source.request_keyframe());
        }
        if self.link.connected {
            self.send_due(now)?;
        }
        self.link.tick(now).await
    }

    /// Mid and sent payload type of each m-line, audio first.
    pub fn mids(&self) -> Vec<(String, u8)> {
        let of = |stream: &Stream| {
            let payload_type = self.link.payload_type(stream.kind)?;
            Some((stream.mid.to_string(), *payload_type))
        };
        self.streams.iter().filter_map(of).collect()
    }

    /// Number of packets sent so far of `NAME-audio` or `NAME-video`, all layers.
    pub fn sent(&self, kind: MediaKind) -> u32 {
        let streams = self.streams.iter().filter(|stream| stream.kind == kind);
        streams.map(|stream| stream.source.counter()).sum()
    }

    fn send_due(&mut self, now: Instant) -> anyhow::Result<()> {
        for (index, stream) in self.streams.iter_mut().enumerate() {
            let Some(pt) = self.link.payload_type(stream.kind) else {
                continue;
            };
            let layer = u8::try_from(index.saturating_sub(1)).expect("a handful of streams");
            for mut packet in stream.source.due(now, self.epoch) {
                packet.payload.push(layer); // last byte of the payload: index of the layer
                let seq = self.seq.entry((stream.mid, stream.rid)).or_insert(100);
                *seq += 1;
                let mut api = self.link.rtc.direct_api();
                let tx = api
                    .stream_tx_by_mid(stream.mid, stream.rid)
                    .context("no such stream")?;
                let ext_vals = ExtensionValues {
                    audio_level: stream.kind.is_audio().then_some(-20),
                    voice_activity: stream.kind.is_audio().then_some(true),
                    ..ExtensionValues::default()
                };
                let write = RtpWrite::new(pt, (*seq).into(), packet.time, now, packet.payload)
                    .marker(packet.marker)
                    .nackable(stream.kind.is_video())
                    .ext_vals(ext_vals);
                tx.write_rtp(write);
            }
        }
        Ok(())
    }
}

impl Subscriber {
    /// Starts a session that subscribes to `tracks`.
    pub async fn start(
        node: &mut Node,
        name: &str,
        tracks: &[(&str, proto::Kind)],
    ) -> anyhow::Result<Self> {
        Self::start_on(node, name, tracks, Link::new(Instant::now())).await
    }

    /// [`Subscriber::start`] on an existing peer connection.
    pub async fn start_on(
        node: &mut Node,
        name: &str,
        tracks: &[(&str, proto::Kind)],
        link: Link,
    ) -> anyhow::Result<Self> {
        let events = node
            .client
            .watch_events(proto::WatchEventsRequest {})
            .await?
            .into_inner();
        let request = proto::PutSubscribeRequest {
            session: name.into(),
            annotation: vec![],
            owner: String::new(),
        };
        node.client.put_subscribe(request).await?;
        let mut subscriber = Self {
            name: name.into(),
            link,
            events,
            track_by_mid: HashMap::new(),
            received: BTreeMap::new(),
            layers: Vec::new(),
            offer: String::new(),
            answer: String::new(),
            last_ssrc: None,
        };
        subscriber.put(node, tracks, proto::Wish::default()).await?;
        Ok(subscriber)
    }

    /// Adds or changes subscriptions.
    pub async fn put(
        &mut self,
        node: &mut Node,
        tracks: &[(&str, proto::Kind)],
        wish: proto::Wish,
    ) -> anyhow::Result<()> {
        let put = tracks.iter().map(|(track, kind)| proto::TrackWish {
            track: (*track).into(),
            kind: (*kind).into(),
            wish: Some(wish),
            group: None,
        });
        let request = proto::PutSubscriptionsRequest {
            session: self.name.clone(),
            put: put.collect(),
            remove: vec![],
        };
        node.client.put_subscriptions(request).await?;
        Ok(())
    }

    /// Answers offers, receives media, and runs the session.
    pub async fn step(&mut self, node: &mut Node, now: Instant) -> anyhow::Result<()> {
        while let Some(event) = self.next_event().await? {
            self.on_event(node, event).await?;
        }
        self.link.receive().await?;
        self.link.tick(now).await?;
        self.count()
    }

    /// Like [`step`](Self::step), but without calls to the control API.
    pub async fn step_alone(&mut self, now: Instant) -> anyhow::Result<()> {
        self.link.receive().await?;
        self.link.tick(now).await?;
        self.count()
    }

    /// Received packets of `track`.
    pub fn arrivals(&self, track: &str) -> &[Arrival] {
        self.received.get(track).map_or(&[], Vec::as_slice)
    }

    async fn next_event(&mut self) -> anyhow::Result<Option<proto::event::Event>> {
        let wait = Duration::from_micros(1);
        match tokio::time::timeout(wait, self.events.next()).await {
            Ok(Some(event)) => Ok(event?.event),
            Ok(None) => anyhow::bail!("the event stream ended"),
            Err(_nothing_yet) => Ok(None),
        }
    }

    async fn on_event(
        &mut self,
        node: &mut Node,
        event: proto::event::Event,
    ) -> anyhow::Result<()> {
        match event {
            proto::event::Event::Offer(offer) if offer.session == self.name => {
                let mids = offer.mids.into_iter().map(|pair| (pair.mid, pair.track));
                self.track_by_mid = mids.collect();
                let answer_sdp = self.link.accept_offer(&offer.sdp).await?;
                (self.offer, self.answer) = (offer.sdp, answer_sdp.clone());
                let session = self.name.clone();
                let request = proto::PutAnswerRequest {
                    session,
                    revision: offer.revision,
                    answer_sdp,
                };
                node.client.put_answer(request).await?;
            }
            proto::event::Event::Layer(layer) if layer.session == self.name => {
                self.layers.push((layer.track, layer.rid, layer.active));
            }
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self) -> anyhow::Result<()> {
        for (mid, stamp, packet) in self.link.take_received() {
            // Packets of a subscription that has just ended may arrive.
            let Some(track) = self.track_by_mid.get(&*mid) else {
                continue;
            };
            self.last_ssrc = Some(*packet.header.ssrc);
            let is_video = packet.payload.first() != Some(&b'S');
            let arrival = Arrival {
                counter: stamp.counter,
                layer: packet.payload.last().copied().unwrap_or(0),
                seq: *packet.seq_no,
                time: packet.header.timestamp,
                picture_id: is_video
                    .then(|| u16::from_be_bytes([packet.payload[2] & 0x7f, packet.payload[3]])),
                at: packet.timestamp,
            };
            self.received
                .entry(track.clone())
                .or_default()
                .push(arrival);
        }
        Ok(())
    }
}

/// Steps all clients for `time`.
pub async fn run(
    node: &mut Node,
    publishers: &mut [Publisher],
    subscribers: &mut [Subscriber],
    time: Duration,
) -> anyhow::Result<()> {
    run_until(node, publishers, subscribers, time, |_| false)
        .await
        .map(drop)
}

/// Steps all clients until `done` is true, at most for `time`. Returns whether it became true.
pub async fn run_until(
    node: &mut Node,
    publishers: &mut [Publisher],
    subscribers: &mut [Subscriber],
    time: Duration,
    done: impl Fn(&[Subscriber]) -> bool,
) -> anyhow::Result<bool> {
    let limit_left = TimeLimit::new(time);
    while !limit_left.is_over() {
        if done(subscribers) {
            return Ok(true);
        }
        let now = Instant::now();
        for publisher in publishers.iter_mut() {
            publisher.step(now).await?;
        }
        for subscriber in subscribers.iter_mut() {
            subscriber.step(node, now).await?;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(done(subscribers))
}

/// Steps until every subscriber has received packets of each of its `tracks`.
pub async fn connect(
    node: &mut Node,
    publishers: &mut [Publisher],
    subscribers: &mut [Subscriber],
    tracks: usize,
) -> anyhow::Result<()> {
    let all = |subscribers: &[Subscriber]| subscribers.iter().all(|s| s.received.len() >= tracks);
    let done = run_until(node, publishers, subscribers, CONNECT_LIMIT, all).await?;
    anyhow::ensure!(done, "media did not flow within {CONNECT_LIMIT:?}");
    Ok(())
}

/// A request to publish.
pub fn put_publish(name: &str, offer: &str, tracks: Vec<proto::Track>) -> proto::PutPublishRequest {
    proto::PutPublishRequest {
        session: name.into(),
        offer_sdp: offer.into(),
        tracks,
        annotation: b"opaque".to_vec(),
        owner: String::new(),
    }
}

/// The tracks that a [`Publisher`] declares.
pub fn tracks(name: &str, audio: Mid, video: Mid, simulcast: bool) -> Vec<proto::Track> {
    let layers = LAYERS.iter().map(|(rid, height)| proto::Layer {
        rid: (*rid).into(),
        height: *height,
    });
    let track = |suffix: &str, mid: Mid, kind: proto::Kind, layers| proto::Track {
        track: format!("{name}-{suffix}"),
        mid: mid.to_string(),
        kind: kind.into(),
        layers,
        annotation: vec![],
        muted: false,
    };
    vec![
        track("audio", audio, proto::Kind::Audio, vec![]),
        track(
            "video",
            video,
            proto::Kind::Video,
            if simulcast { layers.collect() } else { vec![] },
        ),
    ]
}
