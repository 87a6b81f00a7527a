//! Participants that reconnect by themselves and log all received messages.

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

/// What a participant was told, and what it received.
#[derive(Debug, Default, Clone)]
pub struct Diary {
    /// Participant id of the caller itself.
    pub participant: String,
    /// Of the history it follows.
    pub epoch: String,
    /// Where its log of that history begins.
    pub from: u64,
    /// Everything since, in order.
    pub events: Vec<Value>,
    /// Other participants in the room.
    pub others: BTreeSet<String>,
    /// Why its socket broke, and how long the host ran until it was back.
    pub returns: Vec<(String, Duration)>,
    /// Times a live socket was told to start over.
    pub resyncs: usize,
    /// Numbers that were skipped.
    pub gaps: usize,
    /// Number of joins as a new participant after the first one.
    pub rejoined: usize,
    /// By track: when a packet came last, and the longest time without one in which the host ran.
    pub heard: HashMap<String, (Instant, Duration)>,
}

impl Diary {
    /// Number of the last event it knows.
    pub fn offset(&self) -> u64 {
        self.from + self.events.len() as u64
    }
}

/// A participant in its own task: sends messages and records all events.
pub struct Caller {
    /// Identity of the caller in its token.
    pub identity: String,
    diary: Arc<Mutex<Diary>>,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

const START_LIMIT: Duration = Duration::from_secs(10);
/// A server may be down for a minute.
const RETURN_LIMIT: Duration = Duration::from_secs(90);
/// Between the things it says.
const SAY_EVERY: Duration = Duration::from_millis(500);

impl Caller {
    /// Joins `room` at `url`; resolves when it is in. `talks`: publishes audio and hears the others.
    pub async fn start(url: &str, room: &str, identity: &str, talks: bool) -> anyhow::Result<Self> {
        let (url, room) = (url.to_owned(), room.to_owned());
        let source = TokenSource::Key {
            key: KEY.0.into(),
            secret: KEY.1.into(),
        };
        let diary = Arc::new(Mutex::new(Diary::default()));
        let mut life = Life {
            token: source.token(&room, identity)?,
            url,
            diary: Arc::clone(&diary),
            media: talks.then(|| Media::new(Instant::now())),
            resume_key: String::new(),
            says_next: Instant::now(),
            said: 0,
        };
        let signal = life.join().await?;
        let task = tokio::spawn(async move { life.run(signal).await });
        Ok(Self {
            identity: identity.into(),
            diary,
            task,
        })
    }

    /// What it knows so far.
    pub fn diary(&self) -> Diary {
        lock(&self.diary).clone()
    }

    /// Whether it gave up, and why.
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
    diary: Arc<Mutex<Diary>>,
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

    fn hear(&mut self, diary: &mut Diary) {
        let now = Instant::now();
        for (mid, _, _) in self.subscribe.take_received() {
            let Some(track) = self.track_by_mid.get(&*mid) else {
                continue;
            };
            let (last, longest) = diary
                .heard
                .entry(track.clone())
                .or_insert((now, Duration::ZERO));
            if now - *last > *longest {
                *longest = (*longest).max(now - *last - clock::stood_still(*last, now));
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
            let diary = lock(&self.diary);
            if !diary.participant.is_empty() {
                join["resume"] = json!({
                    "participant": diary.participant, "epoch": diary.epoch,
                    "offset": diary.offset(), "key": self.resume_key,
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
        let mut diary = lock(&self.diary);
        let mode = text("mode");
        if mode == "new" && !diary.participant.is_empty() {
            diary.rejoined += 1;
        }
        if mode != "recovered" {
            diary.epoch = text("epoch");
            diary.from = joined["offset"].as_u64().unwrap_or_default();
            diary.events.clear();
            let others = joined["participants"].as_array().into_iter().flatten();
            diary.others = others
                .filter_map(|p| p["identity"].as_str().map(str::to_owned))
                .collect();
        }
        diary.participant = text("participant");
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
            lock(&self.diary)
                .returns
                .push((reason, clock::ran_since(since)));
        }
    }

    /// Media goes on while there is no socket.
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

    /// Ends when the socket does.
    async fn call(&mut self, signal: &mut Signal) -> anyhow::Result<()> {
        loop {
            let now = Instant::now();
            if now >= self.says_next {
                self.says_next = now + SAY_EVERY.mul_f64(0.5 + fastrand::f64());
                self.said += 1;
                let message = json!({"type": "message", "topic": "t", "payload": self.said});
                signal.send(message).await?;
            }
            let until = self.says_next.min(now + Duration::from_millis(20));
            tokio::select! {
                message = signal.receive() => {
                    let message = message?;
                    self.told(signal, &message).await?;
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
        media.hear(&mut lock(&self.diary));
        Ok(())
    }

    async fn told(&mut self, signal: &mut Signal, message: &Value) -> anyhow::Result<()> {
        match message["type"].as_str().unwrap_or_default() {
            "event" => self.event(message),
            "joined" => {
                self.joined(message);
                lock(&self.diary).resyncs += 1;
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
        let mut diary = lock(&self.diary);
        let offset = message["offset"].as_u64().unwrap_or_default();
        if offset <= diary.offset() {
            return;
        }
        diary.gaps += usize::from(offset != diary.offset() + 1);
        let event = message["event"].clone();
        let who = |value: &Value| value["identity"].as_str().unwrap_or_default().to_owned();
        match event["kind"].as_str() {
            Some("participant_joined") => {
                let name = who(&event["participant"]);
                diary.others.insert(name);
            }
            Some("participant_left") => {
                let name = who(&event);
                diary.others.remove(&name);
            }
            _ => {}
        }
        diary.events.push(event);
    }
}

fn lock(diary: &Mutex<Diary>) -> MutexGuard<'_, Diary> {
    diary.lock().expect("a panic elsewhere has failed the test")
}

/// Callers of one room with logs that differ where they overlap, or that do not see each other.
pub fn apart(room: &[&Caller]) -> Vec<String> {
    let diaries: Vec<Diary> = room.iter().map(|caller| caller.diary()).collect();
    let mut apart = Vec::new();
    let everybody: BTreeSet<&String> = room.iter().map(|caller| &caller.identity).collect();
    for (caller, diary) in room.iter().zip(&diaries) {
        let mut seen: BTreeSet<&String> = diary.others.iter().collect();
        seen.insert(&caller.identity);
        if seen != everybody {
            apart.push(format!("{} sees {:?}", caller.identity, diary.others));
        }
        let first = &diaries[0];
        if diary.epoch != first.epoch {
            apart.push(format!("{} follows another history", caller.identity));
            continue;
        }
        let from = diary.from.max(first.from);
        let to = diary.offset().min(first.offset());
        let part = |diary: &Diary| {
            let skip = usize::try_from(from - diary.from).unwrap_or(usize::MAX);
            let take = usize::try_from(to.saturating_sub(from)).unwrap_or(0);
            diary
                .events
                .iter()
                .skip(skip)
                .take(take)
                .cloned()
                .collect::<Vec<_>>()
        };
        if part(diary) != part(first) {
            apart.push(format!(
                "{} was told other events than {}",
                caller.identity, room[0].identity
            ));
        }
    }
    apart
}
