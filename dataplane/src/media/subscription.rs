//! One subscriber's view of one track: the forwarded layer, the layer to switch to, and the decision for each packet.
//!
//! Video starts and changes layers at keyframes only; audio starts at once. [`super::layer_allocation`] chooses the
//! layer, [`crate::send::rewriter`] assigns the outgoing numbers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use spillway_mutants::{Mutant, is_planted};

use super::layer_allocation::SubscriptionParams;
use super::packet::MediaPacket;
use super::track::TrackFormats;
use crate::key::{LayerIndex, LayerSet, TrackKey};
use crate::media::codec::MediaKind;
use crate::report::Sample;

/// State of one subscription.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The track that the session subscribes to.
    pub track: TrackKey,
    /// Audio or video, as the track.
    pub kind: MediaKind,
    /// Parameters of the subscription.
    pub params: SubscriptionParams,
    /// Lip sync group of the track; boxed, because sending does not need it.
    pub group: Option<Box<SyncGroup>>,
    /// The m-line of the subscription, as an index into the session's slots; `None` before it is offered.
    pub slot: Option<usize>,
    /// Index of the subscription among the track's subscribers on this shard; `None` while it is not connected.
    pub place: Option<usize>,
    /// The layers that the track's demand includes for this subscription.
    pub counted: LayerSet,
    /// For each codec of the publisher, the payload types that the subscriber negotiated for it. `None` before the
    /// answer.
    pub codecs: Option<Vec<Option<SubscriberCodec>>>,
    /// The layer that the allocator chose; `None` while paused.
    target: Option<LayerIndex>,
    /// The forwarded layer; `None` before the first keyframe and while paused.
    current: Option<LayerIndex>,
    /// Epoch of the forwarded sequence numbers.
    epoch: u32,
    /// Index of the publisher's codec that the m-line offers first; set when the publisher sent a codec that the
    /// subscriber had not negotiated.
    pub offered_first: Option<u8>,
    /// Number of offers made because the publisher changed its codec.
    pub reoffers: u8,
    /// True after it was reported that the subscriber negotiated no codec of the publisher.
    is_undecodable: bool,
    /// True when a loss before the subscriber requires a keyframe of the forwarded layer.
    refresh: bool,
    waits: Waits,
}

/// Start times of waits, for the metrics of waiting times.
#[derive(Debug, Clone, Copy, Default)]
struct Waits {
    /// Start of the wait for the first packet; `None` when not waiting.
    flow: Option<Instant>,
    /// Start of the wait for a keyframe of the forwarded layer; `None` when not waiting.
    picture: Option<Instant>,
    /// True when the first packet was forwarded and its waiting time is not reported yet.
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

/// A subscription as requested by the control plane.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The track to subscribe to.
    pub track: TrackKey,
    /// Audio or video, as the track.
    pub kind: MediaKind,
    /// Pause, maximum height and priority of the subscription.
    pub params: SubscriptionParams,
    /// Lip sync group; `None`: the track plays by itself.
    pub group: Option<SyncGroup>,
    /// Formats that the publisher may send, if known.
    pub formats: Option<Arc<TrackFormats>>,
}

/// Payload types that a subscriber negotiated for one codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriberCodec {
    /// Payload type of the codec itself.
    pub pt: u8,
    /// Payload type of RFC 2198 redundancy, if negotiated.
    pub red: Option<u8>,
    /// Payload type of retransmissions (RFC 4588), if negotiated.
    pub resend: Option<u8>,
}

/// How a packet is encoded for one subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// Payload type of the packet.
    pub pt: u8,
    /// True if only the newest block of an RFC 2198 payload is sent.
    pub unwrap_red: bool,
    /// Payload type of the blocks of an RFC 2198 payload, if it is sent as such.
    pub inner: Option<u8>,
    /// Payload type of retransmissions of the packet; `None` if these are not sent as RTX.
    pub resend: Option<u8>,
}

/// What to do with a packet of the track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Forward: the packet continues the forwarded layer.
    Forward,
    /// Forward as the first packet of another layer or epoch.
    Switch,
    /// Do not forward: the packet belongs to another layer.
    Skip,
}

impl Subscription {
    /// A subscription that forwards media as soon as it is negotiated and a layer is chosen.
    pub fn new(wanted: Wanted) -> Self {
        let Wanted {
            track,
            kind,
            params,
            group,
            formats: _,
        } = wanted;
        let target = (!params.paused && kind.is_audio()).then_some(LayerIndex(0));
        Self {
            track,
            kind,
            params,
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

    /// The publisher sends from `now` on: starts the wait for the first frame.
    pub fn start_waiting(&mut self, now: Instant) {
        if self.codecs.is_some() && self.current.is_none() {
            self.waits.flow.get_or_insert(now);
        }
    }

    /// Times that the subscriber waited until `packet` was sent at `now`: for the first frame, and for a keyframe.
    pub fn waited(&mut self, packet: &MediaPacket, now: Instant) -> [Option<Sample>; 2] {
        let since = |at: Instant| now.saturating_duration_since(at);
        let has_begun = std::mem::take(&mut self.waits.has_begun);
        // If the first packet can be decoded at once, the subscriber did not wait.
        let flow = has_begun.then(|| self.waits.flow.take().map_or(Duration::ZERO, since));
        let picture = match packet.keyframe {
            true => self.waits.picture.take().map(since),
            false => None,
        };
        [flow.map(Sample::FirstFrame), picture.map(Sample::Freeze)]
    }

    /// The forwarded layer; `None` before the first keyframe and while paused.
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

    /// The layer of which a keyframe is needed, if any.
    pub fn waits_for(&self) -> Option<LayerIndex> {
        let rising = self.target.filter(|_| self.target != self.current);
        let layer = rising.or(self.current.filter(|_| self.refresh))?;
        (self.kind.is_video() && self.codecs.is_some()).then_some(layer)
    }

    /// The subscriber lost a packet and needs a keyframe.
    pub fn needs_keyframe(&mut self, now: Instant) {
        self.refresh = true;
        if self.current.is_some() {
            self.waits.picture.get_or_insert(now);
        }
    }

    /// Sets the layer that the allocator chose. True when it changed.
    pub fn set_target(&mut self, target: Option<LayerIndex>) -> bool {
        let changed = self.target != target;
        self.target = target;
        if target.is_none() {
            self.current = None;
            self.waits = Waits::default();
        }
        changed
    }

    /// Records that the subscriber negotiated no codec of the publisher. True if this was not reported before.
    pub fn cannot_be_decoded(&mut self) -> bool {
        !std::mem::replace(&mut self.is_undecodable, true)
    }

    /// Reports a missing codec again if the next offer does not add it.
    pub fn reset_undecodable(&mut self) {
        self.is_undecodable = false;
    }

    /// The track has ended; it may be published again under the same key.
    pub fn unpublished(&mut self) {
        if !is_planted(Mutant::RepublishedTrackContinues) {
            self.current = None;
        }
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
                resend: None, // an RTX packet would be decoded as the codec itself
            }),
            (primary, _) => Some(Encoding {
                pt: codec.pt,
                inner: None,
                unwrap_red: primary.is_some(),
                resend: codec.resend,
            }),
        }
    }

    /// Decides about `packet` of the track, and updates the forwarded layer.
    pub fn decide(&mut self, packet: &MediaPacket) -> Verdict {
        let starts =
            self.kind.is_audio() || packet.keyframe || is_planted(Mutant::SwitchWithoutKeyframe);
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

    /// A packet of `layer` with sequence number `seq` and arbitrary other values.
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
            params: SubscriptionParams::default(),
            group: None,
            formats: None,
        })
    }

    #[test]
    fn video_starts_and_switches_at_keyframes_only() {
        let mut subscription = video();
        subscription.set_target(Some(LayerIndex(0)));
        assert_eq!(subscription.waits_for(), Some(LayerIndex(0)));
        // (packet, verdict, current layer after it)
        let story = [
            (packet(0, 1, false), Verdict::Skip, None),
            (packet(1, 1, true), Verdict::Skip, None),
            (packet(0, 2, true), Verdict::Switch, Some(0)),
            (packet(0, 3, false), Verdict::Forward, Some(0)),
        ];
        for (packet, verdict, current) in &story {
            assert_eq!(subscription.decide(packet), *verdict);
            assert_eq!(subscription.current(), current.map(LayerIndex));
        }
        assert_eq!(subscription.waits_for(), None);
        subscription.set_target(Some(LayerIndex(2)));
        assert_eq!(
            subscription.layers(),
            [0, 2].map(LayerIndex).into_iter().collect()
        );
        assert_eq!(subscription.decide(&packet(2, 9, false)), Verdict::Skip);
        assert_eq!(
            subscription.decide(&packet(0, 4, false)),
            Verdict::Forward,
            "the old layer flows on"
        );
        assert_eq!(subscription.decide(&packet(2, 10, true)), Verdict::Switch);
        assert_eq!(subscription.decide(&packet(0, 5, false)), Verdict::Skip);
    }

    #[test]
    fn paused_stops_at_once_and_needs_a_keyframe_to_go_on() {
        let mut subscription = video();
        subscription.set_target(Some(LayerIndex(0)));
        subscription.decide(&packet(0, 1, true));
        subscription.set_target(None);
        assert!(subscription.layers().is_empty());
        assert_eq!(subscription.decide(&packet(0, 2, false)), Verdict::Skip);
        subscription.set_target(Some(LayerIndex(0)));
        assert_eq!(subscription.decide(&packet(0, 3, false)), Verdict::Skip);
        assert_eq!(subscription.decide(&packet(0, 4, true)), Verdict::Switch);
    }

    #[test]
    fn audio_starts_with_any_packet_once_negotiated() {
        let mut audio = of(MediaKind::Audio);
        assert_eq!(
            audio.decide(&packet(0, 1, false)),
            Verdict::Skip,
            "not negotiated"
        );
        audio.codecs = Some(Vec::new());
        assert_eq!(audio.waits_for(), None);
        assert_eq!(audio.decide(&packet(0, 2, false)), Verdict::Switch);
        assert_eq!(audio.decide(&packet(0, 3, false)), Verdict::Forward);
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
        subscription.set_target(Some(LayerIndex(0)));
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
            assert_eq!(subscription.decide(packet), *verdict, "{}", packet.seq);
        }
        let mut audio = of(MediaKind::Audio);
        audio.codecs = Some(Vec::new());
        assert_eq!(audio.decide(&of_epoch(0, 5, false)), Verdict::Switch);
        assert_eq!(
            audio.decide(&of_epoch(1, 2, false)),
            Verdict::Switch,
            "at once"
        );
    }

    #[test]
    fn a_refresh_is_wanted_until_the_next_keyframe() {
        let mut subscription = video();
        subscription.set_target(Some(LayerIndex(0)));
        subscription.decide(&packet(0, 1, true));
        subscription.needs_keyframe(Instant::now());
        assert_eq!(subscription.waits_for(), Some(LayerIndex(0)));
        subscription.decide(&packet(0, 2, false));
        assert_eq!(subscription.waits_for(), Some(LayerIndex(0)));
        subscription.decide(&packet(0, 3, true));
        assert_eq!(subscription.waits_for(), None);
    }
}
