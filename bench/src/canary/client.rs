//! One participant of the canary: joins, publishes synthetic audio and video, and subscribes to all other participants.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use str0m::change::SdpPendingOffer;
use str0m::media::{MediaKind, Mid, Pt};
use str0m::rtp::{ExtensionValues, RtpWrite};

use super::signal::Signal;
use crate::link::Link;
use crate::media::{Packet, Source};

/// A participant and its measurements.
pub struct Client {
    signal: Signal,
    publish: Link,
    subscribe: Link,
    pending: Option<SdpPendingOffer>,
    tracks: Vec<Published>,
    /// Received packets, by track id.
    pub watched: HashMap<String, Watched>,
    track_by_mid: HashMap<String, String>,
    epoch: Instant,
    /// Time from connecting to `joined`.
    pub join_time: Duration,
}

struct Published {
    mid: Mid,
    kind: MediaKind,
    source: Source,
    id: Option<String>,
}

/// Received packets of one track.
#[derive(Debug)]
pub struct Watched {
    /// Counters of the received packets.
    pub counters: HashSet<u32>,
    /// Counter of the first received packet.
    pub first: u32,
    /// Time when the first packet arrived.
    pub first_at: Instant,
    /// Time from the creation of a packet to its arrival, in µs.
    pub latency_us: Histogram<u64>,
}

/// Maximum latency in the histogram.
const MAX_LATENCY_US: u64 = 10_000_000;

impl Client {
    /// Joins with `token` and offers its tracks. `epoch` is the zero of send times, shared by all clients of a run.
    pub async fn join(url: &str, token: &str, epoch: Instant) -> anyhow::Result<Self> {
        let start = Instant::now();
        let mut signal = Signal::connect(url).await?;
        signal.send(json!({"type": "join", "token": token})).await?;
        let joined = signal.receive().await?;
        anyhow::ensure!(
            joined["type"] == "joined",
            "expected 'joined', got {joined}"
        );
        let join_time = start.elapsed();

        let mut publish = Link::new(start);
        let (offer, pending, audio, video) = publish.offer()?;
        let tracks = json!([
            {"mid": audio.to_string(), "kind": "audio", "source": "microphone"},
            {"mid": video.to_string(), "kind": "video", "source": "camera"},
        ]);
        let offer = offer.to_sdp_string();
        signal
            .send(json!({"type": "offer", "sdp": offer, "tracks": tracks}))
            .await?;
        let track = |mid, kind| Published {
            mid,
            kind,
            source: Source::new(kind, start),
            id: None,
        };
        Ok(Self {
            signal,
            publish,
            subscribe: Link::new(start),
            pending: Some(pending),
            tracks: vec![
                track(audio, MediaKind::Audio),
                track(video, MediaKind::Video),
            ],
            watched: HashMap::new(),
            track_by_mid: HashMap::new(),
            epoch,
            join_time,
        })
    }

    /// Number of packets sent so far, by track id.
    pub fn sent(&self) -> HashMap<String, u32> {
        let named = self
            .tracks
            .iter()
            .filter_map(|t| Some((t.id.clone()?, t.source.counter())));
        named.collect()
    }

    /// Runs until `until`. Sends media only if `sends` is true.
    pub async fn run(&mut self, until: Instant, sends: bool) -> anyhow::Result<()> {
        loop {
            let now = Instant::now();
            if now >= until {
                return Ok(());
            }
            if sends && self.publish.connected {
                self.send_due(now)?;
            }
            self.publish.tick(now).await?;
            self.subscribe.tick(now).await?;
            let deadline = self.wake_at(until, sends);
            tokio::select! {
                message = self.signal.receive() => self.on_message(message?).await?,
                () = self.publish.readable() => self.publish.receive().await?,
                () = self.subscribe.readable() => self.subscribe.receive().await?,
                () = tokio::time::sleep_until(deadline.into()) => {}
            }
            self.count_received();
            self.serve_keyframe_requests();
        }
    }

    /// Leaves the room and closes the socket.
    pub async fn leave(&mut self) -> anyhow::Result<()> {
        self.signal.send(json!({"type": "leave"})).await.map(drop)
    }

    fn wake_at(&self, until: Instant, sends: bool) -> Instant {
        let links = self.publish.deadline().min(self.subscribe.deadline());
        let media = self.tracks.iter().map(|track| track.source.next()).min();
        let media = media.filter(|_| sends && self.publish.connected);
        until.min(links).min(media.unwrap_or(until))
    }

    async fn on_message(&mut self, message: Value) -> anyhow::Result<()> {
        let sdp = || message["sdp"].as_str().context("a message without its sdp");
        match message["type"].as_str().unwrap_or_default() {
            "answer" => {
                let pending = self.pending.take().context("an answer to no offer")?;
                for (mid, id) in mids(&message) {
                    let track = self
                        .tracks
                        .iter_mut()
                        .find(|track| track.mid.to_string() == mid);
                    track
                        .with_context(|| format!("an answer for unknown mid {mid}"))?
                        .id = Some(id);
                }
                self.publish.accept_answer(pending, sdp()?).await
            }
            "offer" => {
                self.track_by_mid.extend(mids(&message));
                let answer = self.subscribe.accept_offer(sdp()?).await?;
                let revision = message["revision"].clone();
                let reply = json!({"type": "answer", "revision": revision, "sdp": answer});
                self.signal.send(reply).await.map(drop)
            }
            "media" if message["state"] == "lost" => anyhow::bail!("the media server died"),
            "closing" => anyhow::bail!("the server is closing: {}", message["reason"]),
            _ => Ok(()), // events, speakers, layers: not needed
        }
    }

    fn send_due(&mut self, now: Instant) -> anyhow::Result<()> {
        for index in 0..self.tracks.len() {
            let track = &mut self.tracks[index];
            let (mid, kind) = (track.mid, track.kind);
            let Some(pt) = self.publish.payload_type(kind) else {
                continue;
            };
            for packet in track.source.due(now, self.epoch) {
                write(&mut self.publish, (mid, kind, pt), packet, now)?;
            }
        }
        Ok(())
    }

    fn count_received(&mut self) {
        let now = Instant::now();
        for (mid, stamp, packet) in self.subscribe.take_received() {
            let Some(track) = self.track_by_mid.get(&*mid) else {
                continue;
            };
            let watched = self
                .watched
                .entry(track.clone())
                .or_insert_with(|| Watched {
                    counters: HashSet::new(),
                    first: stamp.counter,
                    first_at: now,
                    latency_us: Histogram::new_with_bounds(1, MAX_LATENCY_US, 3)
                        .expect("the bounds are valid"),
                });
            watched.counters.insert(stamp.counter);
            let late = packet
                .timestamp
                .duration_since(self.epoch)
                .saturating_sub(stamp.made);
            watched
                .latency_us
                .saturating_record(late.as_micros() as u64);
        }
    }

    fn serve_keyframe_requests(&mut self) {
        for mid in std::mem::take(&mut self.publish.keyframes_wanted) {
            if let Some(track) = self.tracks.iter_mut().find(|track| track.mid == mid) {
                track.source.request_keyframe();
            }
        }
    }
}

fn mids(message: &Value) -> HashMap<String, String> {
    let tracks = message["tracks"].as_array().into_iter().flatten();
    let pair = |track: &Value| {
        Some((
            track["mid"].as_str()?.into(),
            track["track"].as_str()?.into(),
        ))
    };
    tracks.filter_map(pair).collect()
}

fn write(
    link: &mut Link,
    (mid, kind, pt): (Mid, MediaKind, Pt),
    packet: Packet,
    now: Instant,
) -> anyhow::Result<()> {
    let mut api = link.rtc.direct_api();
    let stream = api
        .stream_tx_by_mid(mid, None)
        .context("the m-line was not negotiated")?;
    let seq = u64::from(packet.counter) + 1;
    let level = kind.is_audio().then_some(-30);
    let write = RtpWrite::new(pt, seq.into(), packet.time, now, packet.payload)
        .marker(packet.marker)
        .nackable(kind.is_video())
        .ext_vals(ExtensionValues {
            audio_level: level,
            voice_activity: level.map(|_| true),
            ..ExtensionValues::default()
        });
    stream.write_rtp(write);
    Ok(())
}
