//! One participant: its peer connection, and its sent or received media.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::config::DtlsCert;
use str0m::crypto::CryptoProvider;
use str0m::format::Codec;
use str0m::media::{
    Direction, KeyframeRequest, MediaKind, Mid, Pt, Rid, Simulcast, SimulcastLayer,
};
use str0m::rtp::{ExtensionValues, RtpWrite};
use str0m::{Candidate, Rtc, RtcConfig};

use super::payload;
use super::request::Published;
use super::shape::{Piece, Shape};

/// Creates peer connections that share one certificate, because its key is the most expensive part of a session.
pub struct Maker {
    crypto: Arc<CryptoProvider>,
    certificate: DtlsCert,
}

/// One session of a participant.
pub struct Session {
    /// The peer connection of the session.
    pub rtc: Rtc,
    /// Time of the next wake-up of the peer connection.
    pub deadline: Instant,
    /// The deadline in the farm's heap.
    pub queued: Option<Instant>,
    /// True when the DTLS handshake is done.
    pub connected: bool,
    /// Role of the session.
    pub role: Role,
}

/// Role of a participant.
pub enum Role {
    /// The session sends media.
    Publisher(Publisher),
    /// The session receives media.
    Subscriber {
        /// True: its media is decrypted and checked.
        sampled: bool,
    },
}

/// Media that a publisher sends.
pub struct Publisher {
    pending: Option<SdpPendingOffer>,
    pt: Option<Pt>,
    /// One stream for each layer, lowest first.
    pub streams: Vec<Stream>,
}

/// One RTP stream to send.
pub struct Stream {
    mid: Mid,
    rid: Option<Rid>,
    /// Sizes and times of its packets.
    pub shape: Shape,
    /// Number of packets sent since the start.
    pub packets: u32,
    /// Extended sequence number; starts low, because receivers assume a rollover count of 0.
    seq: u64,
}

/// Simulcast layers: rid, height, and the part of the bitrate, lowest first.
const LAYERS: [(&str, u32, u64); 3] = [("q", 180, 4), ("h", 360, 2), ("f", 720, 1)];

impl Maker {
    /// Generates the certificate that all sessions share.
    pub fn new() -> anyhow::Result<Self> {
        let crypto = Arc::new(str0m::crypto::from_feature_flags());
        let certificate = crypto
            .dtls_provider
            .generate_certificate()
            .context("no certificate could be made")?;
        Ok(Self {
            crypto,
            certificate,
        })
    }

    fn rtc(&self, now: Instant, candidate: Candidate) -> Rtc {
        let mut rtc = RtcConfig::new()
            .set_crypto_provider(Arc::clone(&self.crypto))
            .set_dtls_cert(self.certificate.clone())
            .set_rtp_mode(true)
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(true)
            .build(now);
        rtc.add_local_candidate(candidate);
        rtc
    }

    /// A participant that receives.
    pub fn subscriber(&self, now: Instant, candidate: Candidate, sampled: bool) -> Session {
        Session::new(self.rtc(now, candidate), now, Role::Subscriber { sampled })
    }

    /// A participant that sends, and its offer. `shape` creates the stream for a fraction of the bitrate.
    pub fn publisher(
        &self,
        now: Instant,
        candidate: Candidate,
        kind: MediaKind,
        layers: bool,
        mut shape: impl FnMut(u64) -> Shape,
    ) -> anyhow::Result<(Session, String, Published)> {
        let mut rtc = self.rtc(now, candidate);
        let simulcast = layers.then(|| {
            let mut simulcast = Simulcast::new();
            LAYERS
                .iter()
                .for_each(|(rid, ..)| simulcast.add_send_layer(SimulcastLayer::new(rid)));
            simulcast
        });
        let mut api = rtc.sdp_api();
        let mid = api.add_media(kind, Direction::SendOnly, None, None, simulcast);
        let (offer, pending) = api.apply().context("a new m-line has to be offered")?;
        let mut stream = |rid, part| Stream {
            mid,
            rid,
            shape: shape(part),
            packets: 0,
            seq: 100,
        };
        let streams = match layers {
            true => LAYERS
                .iter()
                .map(|(rid, _, part)| stream(Some(Rid::from(*rid)), *part))
                .collect(),
            false => vec![stream(None, 1)],
        };
        let publisher = Publisher {
            pending: Some(pending),
            pt: None,
            streams,
        };
        let track = Published {
            mid: mid.to_string(),
            audio: kind.is_audio(),
            layers: LAYERS
                .iter()
                .filter(|_| layers)
                .map(|(rid, height, _)| (*rid, *height))
                .collect(),
        };
        let session = Session::new(rtc, now, Role::Publisher(publisher));
        Ok((session, offer.to_sdp_string(), track))
    }
}

impl Session {
    fn new(rtc: Rtc, now: Instant, role: Role) -> Self {
        Self {
            rtc,
            deadline: now,
            queued: None,
            connected: false,
            role,
        }
    }

    /// Handles the server's answer to our offer.
    pub fn accept_answer(&mut self, sdp: &str) -> anyhow::Result<()> {
        let Role::Publisher(publisher) = &mut self.role else {
            anyhow::bail!("an answer came for a participant that offered nothing");
        };
        let pending = publisher.pending.take().context("a second answer came")?;
        let answer = SdpAnswer::from_sdp_string(sdp)?;
        self.rtc.sdp_api().accept_answer(pending, answer)?;
        let mid = publisher.streams[0].mid;
        let media = self.rtc.media(mid).context("the m-line was refused")?;
        let codec = if media.kind().is_audio() {
            Codec::Opus
        } else {
            Codec::Vp8
        };
        let params = self
            .rtc
            .codec_config()
            .find(|params| params.spec().codec == codec);
        publisher.pt = params.map(str0m::format::PayloadParams::pt);
        Ok(())
    }

    /// Handles the server's offer. Returns our answer.
    pub fn accept_offer(&mut self, sdp: &str) -> anyhow::Result<String> {
        let offer = SdpOffer::from_sdp_string(sdp)?;
        Ok(self.rtc.sdp_api().accept_offer(offer)?.to_sdp_string())
    }

    /// Payload types of retransmissions, as bits.
    pub fn rtx_payload_types(&self) -> u128 {
        let resend = self
            .rtc
            .codec_config()
            .iter()
            .filter_map(|params| params.resend());
        resend.fold(0, |all, pt| all | 1 << (*pt & 0x7f))
    }

    /// Handles a keyframe request of the server.
    pub fn keyframe_wanted(&mut self, request: KeyframeRequest) {
        if let Role::Publisher(publisher) = &mut self.role {
            let streams = publisher.streams.iter_mut();
            streams
                .filter(|stream| stream.mid == request.mid && stream.rid == request.rid)
                .for_each(|stream| stream.shape.request_keyframe());
        }
    }

    /// Passes the packets of stream `stream` that are due at `now` to the peer connection. `wall` is the same time
    /// since the Unix epoch. Returns the number of packets.
    pub fn publish(
        &mut self,
        stream: usize,
        now: Instant,
        wall: Duration,
    ) -> anyhow::Result<usize> {
        let Role::Publisher(publisher) = &mut self.role else {
            return Ok(0);
        };
        let (stream, pt) = (&mut publisher.streams[stream], publisher.pt);
        let mut pieces = Vec::new();
        stream.shape.due(now, &mut pieces);
        let pt = pt.context("no codec was negotiated")?;
        for piece in &pieces {
            write(&mut self.rtc, stream, pt, piece, now, wall)?;
        }
        Ok(pieces.len())
    }
}

fn write(
    rtc: &mut Rtc,
    stream: &mut Stream,
    pt: Pt,
    piece: &Piece,
    now: Instant,
    wall: Duration,
) -> anyhow::Result<()> {
    let audio = matches!(stream.shape, Shape::Audio(_));
    let payload = match audio {
        true => payload::audio(piece, stream.packets, wall),
        false => payload::video(piece, stream.packets, wall),
    };
    stream.packets += 1;
    stream.seq += 1;
    let ext_vals = ExtensionValues {
        // Audio level of a speaker: louder and softer.
        audio_level: audio.then(|| -20 - (stream.packets % 40) as i8),
        voice_activity: audio.then_some(true),
        ..ExtensionValues::default()
    };
    let mut api = rtc.direct_api();
    let sender = api
        .stream_tx_by_mid(stream.mid, stream.rid)
        .context("the server took no such stream")?;
    let write = RtpWrite::new(pt, stream.seq.into(), piece.time, now, payload)
        .marker(piece.last)
        .nackable(!audio)
        .ext_vals(ext_vals);
    sender.write_rtp(write);
    Ok(())
}
