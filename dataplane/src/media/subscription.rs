//! One subscriber's view of one track: the forwarded layer, the wanted layer, and the verdict for each packet.
//!
//! Video starts and changes layers at keyframes only; audio starts at once. The layer itself is chosen
//! by [`super::layer_allocation`], the outgoing numbers are made by [`crate::send::rewriter`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::layer_allocation::Wish;
use super::packet::MediaPacket;
use super::track::TrackFormats;
use crate::key::{LayerIndex, LayerSet, TrackKey};
use crate::media::codec::MediaKind;
use crate::report::Sample;

/// A subscription and what flows through it.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The track that the session subscribes to.
    pub track: TrackKey,
    /// Audio or video, as the track.
    pub kind: MediaKind,
    /// Parameters of the subscription.
    pub wish: Wish,
    /// Its lip sync group; kept apart, because sending does not need it.
    pub group: Option<Box<SyncGroup>>,
    /// The m-line it plays on, as an index into the session's slots, once offered.
    pub slot: Option<usize>,
    /// Its index among the track's subscribers on this shard.
    pub place: Option<usize>,
    /// The layers its shard counts for it.
    pub counted: LayerSet,
    /// For each codec of the publisher, the subscriber's negotiated one; set with the answer.
    pub codecs: Option<Vec<Option<SubscriberCodec>>>,
    /// The layer that the allocator chose; `None` is paused.
    target: Option<LayerIndex>,
    /// The forwarded layer; `None` before the first keyframe and while paused.
    current: Option<LayerIndex>,
    /// The epoch of its numbers.
    epoch: u32,
    /// Index of the publisher's codec that its m-line offers first; set when the publisher sent a codec that the subscriber
    /// had not negotiated.
    pub offered_first: Option<u8>,
    /// Number of offers made because the publisher changed its codec.
    pub reoffers: u8,
    /// True: the subscriber was told that it negotiated no codec of the publisher.
    is_undecodable: bool,
    /// Something lost in front of the subscriber needs a keyframe of the layer that flows.
    refresh: bool,
    waits: Waits,
}

/// Since when its subscriber waits for what, to be measured.
#[derive(Debug, Clone, Copy, Default)]
struct Waits {
    /// Start of the wait for the first frame.
    flow: Option<Instant>,
    /// Start of the wait for a keyframe of the forwarded layer.
    picture: Option<Instant>,
    /// True when the first packet was forwarded since the last check.
    has_begun: bool,
}

/// Lip sync group of a track; tracks of one publisher with the same group play in sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncGroup {
    /// Media stream id of `a=msid` (RFC 8830): browsers play tracks of one stream in sync.
    pub stream: Box<str>,
    /// CNAME (RFC 3550 section 6.5.1): tracks of one CNAME share a clock.
    pub cname: Box<str>,
}

/// A subscription as the control plane asks for it.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The track to subscribe to.
    pub track: TrackKey,
    /// Audio or video, as the track.
    pub kind: MediaKind,
    /// Pause, maximum height and priority of the subscription.
    pub wish: Wish,
    /// Lip sync group; `None`: the track plays by itself.
    pub group: Option<SyncGroup>,
    /// Formats that the publisher may send, if known.
    pub formats: Option<Arc<TrackFormats>>,
}

/// Payload types a subscriber negotiated for a codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriberCodec {
    /// Payload type of the codec itself.
    pub pt: u8,
    /// Payload type of RFC 2198 redundancy.
    pub red: Option<u8>,
    /// Payload type of retransmissions (RFC 4588).
    pub resend: Option<u8>,
}

/// Encoding of a packet for a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// Payload type of the packet.
    pub pt: u8,
    /// Only the primary block of its redundancy.
    pub unwrap_red: bool,
    /// The payload type of the blocks of its redundancy, where that is sent.
    pub inner: Option<u8>,
    /// Payload type of its retransmission.
    pub resend: Option<u8>,
}

/// Verdict for a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It continues the forwarded layer.
    Forward,
    /// It is the first packet of another layer, or of new sequence numbers.
    Switch,
    /// It is not of the forwarded layer.
    Skip,
}

impl Subscription {
    /// A subscription that flows as soon as it is negotiated and its layer allows.
    pub fn new(wanted: Wanted) -> Self {
        let Wanted {
            track,
            kind,
            wish,
            group,
            formats: _,
        } = wanted;
        let target = (!wish.paused && kind.is_audio()).then_some(LayerIndex(0));
        Self {
            track,
            kind,
            wish,
            group: group.map(Box::new),
            slot: None,
            place: None,
            counted: LayerSet::NONE,
            codecs: None,
            target,
            current: None,
            epoch: 0,
            offered_first: None,
            reoffers: 0,
            is_undecodable: false,
            refresh: false,
            waits: Waits::default(),
        }
    }

    /// The publisher sends from `now` on, so the first frame is awaited.
    pub fn may_flow(&mut self, now: Instant) {
        if self.codecs.is_some() && self.current.is_none() {
            self.waits.flow.get_or_insert(now);
        }
    }

    /// The times that the subscriber waited until `now`, when `packet` was sent: for the first frame, for a keyframe.
    pub fn waited(&mut self, packet: &MediaPacket, now: Instant) -> [Option<Sample>; 2] {
        let since = |at: Instant| now.saturating_duration_since(at);
        let has_begun = std::mem::take(&mut self.waits.has_begun);
        // If the first packet can be shown at once, the subscriber did not wait.
        let flow = has_begun.then(|| self.waits.flow.take().map_or(Duration::ZERO, since));
        let picture = match packet.keyframe {
            true => self.waits.picture.take().map(since),
            false => None,
        };
        [flow.map(Sample::FirstFrame), picture.map(Sample::Freeze)]
    }

    /// The layer that flows.
    pub fn current(&self) -> Option<LayerIndex> {
        self.current
    }

    /// The layers that the subscription needs: the forwarded one and the awaited one.
    pub fn layers(&self) -> LayerSet {
        let layers = self.target.into_iter().chain(self.current);
        if self.codecs.is_some() {
            layers.collect()
        } else {
            LayerSet::NONE
        }
    }

    /// The layer of which a keyframe is needed.
    pub fn waits_for(&self) -> Option<LayerIndex> {
        let rising = self.target.filter(|_| self.target != self.current);
        let layer = rising.or(self.current.filter(|_| self.refresh))?;
        (self.kind.is_video() && self.codecs.is_some()).then_some(layer)
    }

    /// The subscriber lost something it can not do without.
    pub fn needs_keyframe(&mut self, now: Instant) {
        self.refresh = true;
        if self.current.is_some() {
            self.waits.picture.get_or_insert(now);
        }
    }

    /// Sets what the allocator gave. True when that changed.
    pub fn aim(&mut self, target: Option<LayerIndex>) -> bool {
        let changed = self.target != target;
        self.target = target;
        if target.is_none() {
            self.current = None;
            self.waits = Waits::default();
        }
        changed
    }

    /// The subscriber negotiated no codec of the publisher. True when the subscriber must be told.
    pub fn cannot_be_decoded(&mut self) -> bool {
        !std::mem::replace(&mut self.is_undecodable, true)
    }

    /// Clears the state, so that the subscriber is told again when the next offer does not help.
    pub fn reset_undecodable(&mut self) {
        self.is_undecodable = false;
    }

    /// The track went away and may come back under the same name; what flowed has ended.
    pub fn unpublished(&mut self) {
        self.current = None;
        self.codecs = None;
        self.waits = Waits::default();
    }

    /// Encoding of `packet` for the subscriber; `None` when it negotiated no codec for it.
    pub fn encoding(&self, packet: &MediaPacket) -> Option<Encoding> {
        let codec = self
            .codecs
            .as_ref()?
            .get(usize::from(packet.codec))
            .copied()
            .flatten()?;
        match (&packet.primary, codec.red) {
            (Some(_), Some(red)) => Some(Encoding {
                pt: red,
                inner: Some(codec.pt),
                unwrap_red: false,
                resend: None, // a retransmission would be taken for the codec itself
            }),
            (primary, _) => Some(Encoding {
                pt: codec.pt,
                inner: None,
                unwrap_red: primary.is_some(),
                resend: codec.resend,
            }),
        }
    }

    /// Verdict for `packet` of the track.
    pub fn judge(&mut self, packet: &MediaPacket) -> Verdict {
        let starts = self.kind.is_audio() || packet.keyframe;
        if self.current == Some(packet.layer) {
            if self.epoch == packet.epoch {
                self.refresh &= !packet.keyframe;
                return Verdict::Forward;
            }
            let is_later = packet.epoch.wrapping_sub(self.epoch) as i32 > 0;
            return match is_later && starts {
                true => self.switch(packet),
                false => Verdict::Skip,
            };
        }
        if self.target == Some(packet.layer) && starts && self.codecs.is_some() {
            return self.switch(packet);
        }
        if self.current.is_none() && self.target == Some(packet.layer) {
            self.waits.flow.get_or_insert(packet.arrived);
        }
        Verdict::Skip
    }

    fn switch(&mut self, packet: &MediaPacket) -> Verdict {
        self.waits.has_begun = self.current.is_none();
        (self.current, self.epoch) = (Some(packet.layer), packet.epoch);
        self.is_undecodable = false;
        self.refresh = false;
        Verdict::Switch
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::media::extensions::CarriedExtensions;

    /// A packet of `layer` with sequence number `seq`; the rest is of no matter.
    pub(crate) fn packet(layer: u8, seq: u64, keyframe: bool) -> MediaPacket {
        MediaPacket {
            track: TrackKey(1),
            layer: LayerIndex(layer),
            codec: 0,
            primary: None,
            epoch: 0,
            seq,
            time: seq as u32 * 3_000,
            marker: true,
            keyframe,
            vp8: None,
            audio_level: None,
            orientation: None,
            extensions: CarriedExtensions::default(),
            sender_report: None,
            payload: Arc::from([0_u8; 4]),
            arrived: Instant::now(),
        }
    }

    fn video() -> Subscription {
        let mut subscription = of(MediaKind::Video);
        subscription.codecs = Some(Vec::new());
        subscription
    }

    fn of(kind: MediaKind) -> Subscription {
        Subscription::new(Wanted {
            track: TrackKey(1),
            kind,
            wish: Wish::default(),
            group: None,
            formats: None,
        })
    }

    #[test]
    fn video_starts_and_switches_at_keyframes_only() {
        let mut subscription = video();
        subscription.aim(Some(LayerIndex(0)));
        assert_eq!(subscription.waits_for(), Some(LayerIndex(0)));
        // (packet, verdict, current layer after it)
        let story = [
            (packet(0, 1, false), Verdict::Skip, None),
            (packet(1, 1, true), Verdict::Skip, None),
            (packet(0, 2, true), Verdict::Switch, Some(0)),
            (packet(0, 3, false), Verdict::Forward, Some(0)),
        ];
        for (packet, verdict, current) in &story {
            assert_eq!(subscription.judge(packet), *verdict);
            assert_eq!(subscription.current(), current.map(LayerIndex));
        }
        assert_eq!(subscription.waits_for(), None);
        subscription.aim(Some(LayerIndex(2)));
        assert_eq!(
            subscription.layers(),
            [0, 2].map(LayerIndex).into_iter().collect()
        );
        assert_eq!(subscription.judge(&packet(2, 9, false)), Verdict::Skip);
        assert_eq!(
            subscription.judge(&packet(0, 4, false)),
            Verdict::Forward,
            "the old layer flows on"
        );
        assert_eq!(subscription.judge(&packet(2, 10, true)), Verdict::Switch);
        assert_eq!(subscription.judge(&packet(0, 5, false)), Verdict::Skip);
    }

    #[test]
    fn paused_stops_at_once_and_needs_a_keyframe_to_go_on() {
        let mut subscription = video();
        subscription.aim(Some(LayerIndex(0)));
        subscription.judge(&packet(0, 1, true));
        subscription.aim(None);
        assert!(subscription.layers().is_empty());
        assert_eq!(subscription.judge(&packet(0, 2, false)), Verdict::Skip);
        subscription.aim(Some(LayerIndex(0)));
        assert_eq!(subscription.judge(&packet(0, 3, false)), Verdict::Skip);
        assert_eq!(subscription.judge(&packet(0, 4, true)), Verdict::Switch);
    }

    #[test]
    fn audio_starts_with_any_packet_once_negotiated() {
        let mut audio = of(MediaKind::Audio);
        assert_eq!(
            audio.judge(&packet(0, 1, false)),
            Verdict::Skip,
            "not negotiated"
        );
        audio.codecs = Some(Vec::new());
        assert_eq!(audio.waits_for(), None);
        assert_eq!(audio.judge(&packet(0, 2, false)), Verdict::Switch);
        assert_eq!(audio.judge(&packet(0, 3, false)), Verdict::Forward);
    }

    #[test]
    fn redundancy_is_passed_on_or_taken_off() {
        let codec = |red: Option<u8>| SubscriberCodec {
            pt: 111,
            red,
            resend: None,
        };
        let mut audio = of(MediaKind::Audio);
        let plain = packet(0, 1, false);
        let redundant = MediaPacket {
            primary: Some(Arc::from([1_u8])),
            ..packet(0, 2, false)
        };
        assert_eq!(audio.encoding(&plain), None, "not negotiated");
        // (what the subscriber has, packet, payload type and whether to unwrap)
        for (red, packet, expected) in [
            (Some(63), &plain, Some((111, false))),
            (Some(63), &redundant, Some((63, false))),
            (None, &plain, Some((111, false))),
            (None, &redundant, Some((111, true))),
        ] {
            audio.codecs = Some(vec![Some(codec(red))]);
            let expected = expected.map(|(pt, unwrap_red)| Encoding {
                pt,
                inner: (pt == 63).then_some(111),
                unwrap_red,
                resend: None,
            });
            assert_eq!(audio.encoding(packet), expected);
        }
        audio.codecs = Some(vec![None]);
        assert_eq!(audio.encoding(&plain), None, "the codec was refused");
    }

    #[test]
    fn new_numbers_of_the_publisher_flow_from_a_keyframe_on_and_old_ones_no_more() {
        let of_epoch = |epoch, seq, keyframe| MediaPacket {
            epoch,
            ..packet(0, seq, keyframe)
        };
        let mut subscription = video();
        subscription.aim(Some(LayerIndex(0)));
        // (packet, verdict)
        let story = [
            (of_epoch(u32::MAX, 30_000, true), Verdict::Switch),
            (of_epoch(u32::MAX, 30_001, false), Verdict::Forward),
            (of_epoch(0, 17_000, false), Verdict::Skip),
            (of_epoch(u32::MAX, 30_002, false), Verdict::Forward),
            (of_epoch(0, 17_001, true), Verdict::Switch),
            (of_epoch(u32::MAX, 30_003, true), Verdict::Skip),
            (of_epoch(0, 17_002, false), Verdict::Forward),
        ];
        for (packet, verdict) in &story {
            assert_eq!(subscription.judge(packet), *verdict, "{}", packet.seq);
        }
        let mut audio = of(MediaKind::Audio);
        audio.codecs = Some(Vec::new());
        assert_eq!(audio.judge(&of_epoch(0, 5, false)), Verdict::Switch);
        assert_eq!(
            audio.judge(&of_epoch(1, 2, false)),
            Verdict::Switch,
            "at once"
        );
    }

    #[test]
    fn a_refresh_is_wanted_until_the_next_keyframe() {
        let mut subscription = video();
        subscription.aim(Some(LayerIndex(0)));
        subscription.judge(&packet(0, 1, true));
        subscription.needs_keyframe(Instant::now());
        assert_eq!(subscription.waits_for(), Some(LayerIndex(0)));
        subscription.judge(&packet(0, 2, false));
        assert_eq!(subscription.waits_for(), Some(LayerIndex(0)));
        subscription.judge(&packet(0, 3, true));
        assert_eq!(subscription.waits_for(), None);
    }
}
