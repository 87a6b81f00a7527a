//! Participants of a signaling server that reconnect by themselves, and log all received messages.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use spillway_bench::canary::signal::Signal;
use spillway_bench::canary::token::TokenSource;
use spillway_bench::link::Link;
use spillway_bench::media::Source;
use str0m::change::SdpPendingOffer;
use str0m::media::{MediaKind, Mid};
use str0m::rtp::{ExtensionValues, RtpWrite};

use crate::clock;
use crate::servers::KEY;

/// Log of one participant: received messages and media.
#[derive(Debug, Default, Clone)]
pub struct CallerLog {
    /// Participant id of the caller itself.
    pub participant: String,
    /// Epoch of the history that it follows.
    pub epoch: String,
    /// Offset before the first event in `events`.
    pub from: u64,
    /// All events since then, in order.
    pub events: Vec<Value>,
    /// Other participants in the room.
    pub others: BTreeSet<String>,
    /// Reason of each broken socket, and the time the host ran until the reconnect.
    pub returns: Vec<(String, Duration)>,
    /// Number of resyncs on an open socket.
    pub resyncs: usize,
    /// Offsets that were skipped.
    pub gaps: usize,
    /// Number of joins as a new participant after the first one.
    pub rejoined: usize,
    /// By track: time of the last packet, and the longest pause in which the host ran.
    pub heard: HashMap<String, (Instant, Duration)>,
}

impl CallerLog {
    /// Offset of the last event.
    pub fn offset(&self) -> u64 {
        self.from + self.events.len() as u64
    }
}

/// A participant in its own task: sends messages and records all events.
pub struct Caller {
    /// Identity of the caller in its token.
    pub identity: String,
    log: Arc<Mutex<CallerLog>>,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

const START_LIMIT: Duration = Duration::from_secs(10);
/// Time limit for reconnects: a server may be down for a minute.
const RETURN_LIMIT: Duration = Duration::from_secs(90);
/// Interval between its messages.
const MESSAGE_INTERVAL: Duration = Duration::from_millis(500);

impl Caller {
    /// Joins `room` at `url`; returns after `joined`. `talks`: publishes audio, and receives that
    /// of others.
    pub async fn start(url: &str, room: &str, identity: &str, talks: bool) -> anyhow::Result<Self> {
        let (url, room) = (url.to_owned(), room.to_owned());
        let source = TokenSource::Key {
            key: KEY.0.into(),
            secret: KEY.1.into(),
        };
        let log = Arc::new(Mutex::new(CallerLog::default()));
        let mut life = Life {
            token: source.token(&room, identity)?,
            url,
            log: Arc::clone(&log),
            media: talks.then(|| Media::new(Instant::now())),
            resume_key: String::new(),
            says_next: Instant::now(),
            said: 0,
        };
        let signal = life.join().await?;
        let task = tokio::spawn(async move { life.run(signal).await });
        Ok(Self {
            identity: identity.into(),
            log,
            task,
        })
    }

    /// A copy of the log.
    pub fn log(&self) -> CallerLog {
        lock(&self.log).clone()
    }

    /// The error with which the task ended, if it has ended.
    pub async fn failed(&mut self) -> Option<String> {
        if !self.task.is_finished() {
            return None;
        }
        match (&mut self.task).await {
            Ok(Ok(())) => Some("it ended".into()),
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(error) => Some(error.to_string()),
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Life {
    url: String,
    token: String,
    log: Arc<Mutex<CallerLog>>,
    media: Option<Media>,
    resume_key: String,
    says_next: Instant,
    said: u32,
}

struct Media {
    epoch: Instant,
    publish: Link,
    subscribe: Link,
    pending: Option<SdpPendingOffer>,
    audio: Option<Mid>,
    source: Source,
    track_by_mid: HashMap<String, String>,
}

impl Media {
    fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            publish: Link::new(now),
            subscribe: Link::new(now),
            pending: None,
            audio: None,
            source: Source::new(MediaKind::Audio, now),
            track_by_mid: HashMap::new(),
        }
    }

    async fn offer(&mut self, signal: &mut Signal) -> anyhow::Result<()> {
        let (offer, pending, audio, _) = self.publish.offer()?;
        (self.pending, self.audio) = (Some(pending), Some(audio));
        let tracks = json!([{"mid": audio.to_string(), "kind": "audio", "source": "microphone"}]);
        let message = json!({"type": "offer", "sdp": offer.to_sdp_string(), "tracks": tracks});
        signal.send(message).await.map(drop)
    }

    fn send_due(&mut self, now: Instant) -> anyhow::Result<()> {
        let (true, Some(mid)) = (self.publish.connected, self.audio) else {
            return Ok(());
        };
        let Some(pt) = self.publish.payload_type(MediaKind::Audio) else {
            return Ok(());
        };
        for packet in self.source.due(now, self.epoch) {
            let mut api = self.publish.rtc.direct_api();
            let stream = api.stream_tx_by_mid(mid, None).context("no stream")?;
            let seq = u64::from(packet.counter) + 1;
            let ext_vals = ExtensionValues {
                audio_level: Some(-30),
                ..ExtensionValues::default()
            };
            let write = RtpWrite::new(pt, seq.into(), packet.time, now, packet.payload);
            stream.write_rtp(write.marker(packet.marker).ext_vals(ext_vals));
        }
        Ok(())
    }

    fn receive_media(&mut self, log: &mut CallerLog) {
        let now = Instant::now();
        for (mid, _, _) in self.subscribe.take_received() {
            let Some(track) = self.track_by_mid.get(&*mid) else {
                continue;
            };
            let (last, longest) = log
                .heard
                .entry(track.clone())
                .or_insert((now, Duration::ZERO));
            if now - *last > *longest {
                *longest = (*longest).max(now - *last - clock::standstill(*last, now));
            }
            *last = now;
        }
    }
}

impl Life {
    async fn join(&mut self) -> anyhow::Result<Signal> {
        let mut signal = Signal::connect(&self.url).await?;
        let mut join =
            json!({"type": "join", "token": self.token, "auto_subscribe": self.media.is_some()});
        {
            let log = lock(&self.log);
            if !log.participant.is_empty() {
                join["resume"] = json!({
                    "participant": log.participant, "epoch": log.epoch,
                    "offset": log.offset(), "key": self.resume_key,
                });
            }
        }
        signal.send(join).await?;
        let joined = clock::timeout(START_LIMIT, signal.receive()).await??;
        anyhow::ensure!(
            joined["type"] == "joined",
            "expected 'joined', got {joined}"
        );
        let is_new = joined["mode"] == "new";
        self.joined(&joined);
        if let Some(media) = self.media.as_mut().filter(|_| is_new) {
            *media = Media::new(Instant::now());
            media.offer(&mut signal).await?;
        }
        Ok(signal)
    }

    fn joined(&mut self, joined: &Value) {
        let text = |name: &str| joined[name].as_str().unwrap_or_default().to_owned();
        self.resume_key = text("resume_key");
        let mut log = lock(&self.log);
        let mode = text("mode");
        if mode == "new" && !log.participant.is_empty() {
            log.rejoined += 1;
        }
        if mode != "recovered" {
            log.epoch = text("epoch");
            log.from = joined["offset"].as_u64().unwrap_or_default();
            log.events.clear();
            let others = joined["participants"].as_array().into_iter().flatten();
            log.others = others
                .filter_map(|p| p["identity"].as_str().map(str::to_owned))
                .collect();
        }
        log.participant = text("participant");
    }

    async fn run(mut self, mut signal: Signal) -> anyhow::Result<()> {
        loop {
            let broken = self.call(&mut signal).await;
            let (since, reason) = (Instant::now(), broken.err());
            signal = loop {
                let jitter = fastrand::u64(20..300);
                tokio::time::timeout(Duration::from_millis(jitter), self.media_alone())
                    .await
                    .ok();
                match self.join().await {
                    Ok(signal) => break signal,
                    Err(error) if clock::ran_since(since) > RETURN_LIMIT => {
                        return Err(error.context(format!("after {reason:?}")));
                    }
                    Err(_) => {}
                }
            };
            let reason = reason.map_or_else(String::new, |error| format!("{error:#}"));
            lock(&self.log)
                .returns
                .push((reason, clock::ran_since(since)));
        }
    }

    /// Continues media without a socket.
    async fn media_alone(&mut self) {
        loop {
            if self
                .media_step(Instant::now() + Duration::from_millis(20))
                .await
                .is_err()
            {
                return;
            }
        }
    }

    /// Runs until the socket closes.
    async fn call(&mut self, signal: &mut Signal) -> anyhow::Result<()> {
        loop {
            let now = Instant::now();
            if now >= self.says_next {
                self.says_next = now + MESSAGE_INTERVAL.mul_f64(0.5 + fastrand::f64());
                self.said += 1;
                let message = json!({"type": "message", "topic": "t", "payload": self.said});
                signal.send(message).await?;
            }
            let until = self.says_next.min(now + Duration::from_millis(20));
            tokio::select! {
                message = signal.receive() => {
                    let message = message?;
                    self.handle_message(signal, &message).await?;
                }
                stepped = self.media_step(until) => stepped?,
            }
        }
    }

    async fn media_step(&mut self, until: Instant) -> anyhow::Result<()> {
        let Some(media) = &mut self.media else {
            tokio::time::sleep_until(until.into()).await;
            return Ok(());
        };
        let now = Instant::now();
        media.send_due(now)?;
        media.publish.tick(now).await?;
        media.subscribe.tick(now).await?;
        let links = media.publish.deadline().min(media.subscribe.deadline());
        let deadline = until.min(links).min(media.source.next().max(now));
        tokio::select! {
            () = media.publish.readable() => media.publish.receive().await?,
            () = media.subscribe.readable() => media.subscribe.receive().await?,
            () = tokio::time::sleep_until(deadline.into()) => {}
        }
        media.receive_media(&mut lock(&self.log));
        Ok(())
    }

    async fn handle_message(&mut self, signal: &mut Signal, message: &Value) -> anyhow::Result<()> {
        match message["type"].as_str().unwrap_or_default() {
            "event" => self.event(message),
            "joined" => {
                self.joined(message);
                lock(&self.log).resyncs += 1;
            }
            "closing" => anyhow::bail!("closing: {}", message["reason"]),
            "answer" => {
                let sdp = message["sdp"].as_str().context("no sdp")?;
                if let Some(media) = &mut self.media
                    && let Some(pending) = media.pending.take()
                {
                    media.publish.accept_answer(pending, sdp).await?;
                }
            }
            "offer" => {
                let sdp = message["sdp"].as_str().context("no sdp")?;
                if let Some(media) = &mut self.media {
                    for track in message["tracks"].as_array().into_iter().flatten() {
                        let text = |name: &str| track[name].as_str().unwrap_or_default().to_owned();
                        media.track_by_mid.insert(text("mid"), text("track"));
                    }
                    let answer = media.subscribe.accept_offer(sdp).await?;
                    let revision = message["revision"].clone();
                    let reply = json!({"type": "answer", "revision": revision, "sdp": answer});
                    signal.send(reply).await?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn event(&mut self, message: &Value) {
        let mut log = lock(&self.log);
        let offset = message["offset"].as_u64().unwrap_or_default();
        if offset <= log.offset() {
            return;
        }
        log.gaps += usize::from(offset != log.offset() + 1);
        let event = message["event"].clone();
        let who = |value: &Value| value["identity"].as_str().unwrap_or_default().to_owned();
        match event["kind"].as_str() {
            Some("participant_joined") => {
                let name = who(&event["participant"]);
                log.others.insert(name);
            }
            Some("participant_left") => {
                let name = who(&event);
                log.others.remove(&name);
            }
            _ => {}
        }
        log.events.push(event);
    }
}

fn lock(log: &Mutex<CallerLog>) -> MutexGuard<'_, CallerLog> {
    log.lock().expect("a panic elsewhere has failed the test")
}

/// Differences between the logs of callers in one room, and callers that do not see each other.
pub fn apart(room: &[&Caller]) -> Vec<String> {
    let diaries: Vec<CallerLog> = room.iter().map(|caller| caller.log()).collect();
    let mut apart = Vec::new();
    let everybody: BTreeSet<&String> = room.iter().map(|caller| &caller.identity).collect();
    for (caller, log) in room.iter().zip(&diaries) {
        let mut seen: BTreeSet<&String> = log.others.iter().collect();
        seen.insert(&caller.identity);
        if seen != everybody {
            apart.push(format!("{} sees {:?}", caller.identity, log.others));
        }
        let first = &diaries[0];
        if log.epoch != first.epoch {
            apart.push(format!("{} follows another history", caller.identity));
            continue;
        }
        let from = log.from.max(first.from);
        let to = log.offset().min(first.offset());
        let part = |log: &CallerLog| {
            let skip = usize::try_from(from - log.from).unwrap_or(usize::MAX);
            let take = usize::try_from(to.saturating_sub(from)).unwrap_or(0);
            log.events
                .iter()
                .skip(skip)
                .take(take)
                .cloned()
                .collect::<Vec<_>>()
        };
        if part(log) != part(first) {
            apart.push(format!(
                "{} was told other events than {}",
                caller.identity, room[0].identity
            ));
        }
    }
    apart
}
