//! Publishers that send frames of several tracks and layers, a network that delays, repeats and loses packets, and an
//! m-line that plays one track after another.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use proptest::collection::vec;
use proptest::prelude::*;
use spillway_wire::vp8::Descriptor;

use crate::key::{LayerIndex, TrackKey};
use crate::limits::MAX_LAYERS;
use crate::media::codec::MediaKind;
use crate::media::extensions::{CarriedExtensions, ExtensionKind};
use crate::media::layer_allocation::SubscriptionParams;
use crate::media::packet::MediaPacket;
use crate::media::subscription::tests::packet;
use crate::media::subscription::{Subscription, Verdict, Wanted};
use crate::send::rewriter::{PICTURE_ID_MASK, Rewriter, Rewritten};

pub(super) const CLOCK: u32 = 90_000;

/// What happens on an m-line.
#[derive(Debug, Clone)]
enum Step {
    Frame(Frame),
    /// Another layer is chosen, or none.
    Choose(Option<u8>),
    /// The publisher's numbers of a layer start again.
    Restart {
        layer: u8,
        seq: u16,
        time: u32,
    },
    /// The m-line plays another track.
    Play(u64),
}

/// A frame that the publisher sends.
#[derive(Debug, Clone)]
struct Frame {
    track: u64,
    layer: u8,
    keyframe: bool,
    ticks: u32,
    pause_ms: u64,
    /// Wall clock of a sender report, in milliseconds after any start.
    report_ms: Option<u32>,
    packets: Vec<Fate>,
}

/// What the network does with a packet.
#[derive(Debug, Clone)]
struct Fate {
    /// Number of later steps that the packet arrives after.
    delay: usize,
    /// Times that it arrives.
    copies: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Story {
    pub(super) first_seq: u16,
    /// Sequence number, timestamp, picture id and TL0PICIDX that each layer starts with.
    start: (u16, u32, u16, u8),
    steps: Vec<Step>,
}

pub(super) struct Given {
    pub(super) packet: MediaPacket,
    pub(super) numbers: Rewritten,
    /// Number of switches before.
    pub(super) run: usize,
}

pub(super) struct Outcome {
    pub(super) rewriter: Rewriter,
    pub(super) given: Vec<Given>,
    /// Forwarded packets without a number, and the number of packets given before.
    pub(super) refused: Vec<(MediaPacket, usize)>,
}

/// Numbers of one layer of a publisher.
#[derive(Clone, Copy)]
struct Layer {
    epoch: u32,
    seq: u64,
    time: u32,
    picture_id: u16,
    tl0_pic_idx: u8,
    frame_number: u16,
}

enum Event {
    Packet(MediaPacket, u64),
    Choose(Option<u8>),
    Play(u64),
}

impl Story {
    pub(super) fn play(&self) -> Outcome {
        let mut rewriter = Rewriter::new(self.first_seq);
        let (mut given, mut refused, mut run) = (Vec::new(), Vec::new(), 0);
        let (mut line, mut now) = (subscription(0), Instant::now());
        for event in self.events() {
            match event {
                Event::Choose(layer) => _ = line.set_target(layer.map(LayerIndex)),
                Event::Play(track) => line = subscription(track),
                Event::Packet(mut packet, pause_ms) => {
                    now += Duration::from_millis(pause_ms);
                    packet.arrived = now;
                    if packet.track != line.track {
                        continue;
                    }
                    match line.decide(&packet) {
                        Verdict::Skip => continue,
                        Verdict::Forward => {}
                        Verdict::Switch => {
                            run += 1;
                            rewriter.switch(&packet, CLOCK);
                        }
                    }
                    match rewriter.rewrite(&packet) {
                        Some(numbers) => given.push(Given {
                            packet,
                            numbers,
                            run,
                        }),
                        None => refused.push((packet, given.len())),
                    }
                }
            }
        }
        Outcome {
            rewriter,
            given,
            refused,
        }
    }

    /// Everything in the order in which it arrives.
    fn events(&self) -> Vec<Event> {
        let (seq, time, picture_id, tl0_pic_idx) = self.start;
        let start = Layer {
            epoch: 0,
            seq: u64::from(seq),
            time,
            picture_id: picture_id & PICTURE_ID_MASK,
            tl0_pic_idx,
            frame_number: picture_id,
        };
        let mut layers = [[start; MAX_LAYERS]; 2];
        let mut events = Vec::new();
        for (at, step) in self.steps.iter().enumerate() {
            match step {
                Step::Choose(layer) => events.push((at, Event::Choose(*layer))),
                Step::Play(track) => events.push((at, Event::Play(*track))),
                Step::Restart { layer, seq, time } => {
                    for layers in &mut layers {
                        let layer = &mut layers[usize::from(*layer)];
                        (layer.epoch, layer.seq, layer.time) =
                            (layer.epoch + 1, u64::from(*seq), *time);
                    }
                }
                Step::Frame(frame) => {
                    let layer = &mut layers[frame.track as usize][usize::from(frame.layer)];
                    layer.start_frame(frame);
                    for (index, fate) in frame.packets.iter().enumerate() {
                        let packet = layer.packet(frame, index == 0);
                        for _ in 0..fate.copies {
                            events.push((
                                at + fate.delay,
                                Event::Packet(packet.clone(), frame.pause_ms),
                            ));
                        }
                    }
                }
            }
        }
        events.sort_by_key(|(at, _)| *at);
        events.into_iter().map(|(_, event)| event).collect()
    }
}

impl Layer {
    fn start_frame(&mut self, frame: &Frame) {
        self.time = self.time.wrapping_add(frame.ticks);
        self.picture_id = self.picture_id.wrapping_add(1) & PICTURE_ID_MASK;
        self.tl0_pic_idx = self.tl0_pic_idx.wrapping_add(1);
        self.frame_number = self.frame_number.wrapping_add(1);
    }

    fn packet(&mut self, frame: &Frame, is_first: bool) -> MediaPacket {
        self.seq += 1;
        let [high, low] = self.picture_id.to_be_bytes();
        let payload = [0x90, 0xc0, 0x80 | high, low, self.tl0_pic_idx, 0x00];
        let [high, low] = self.frame_number.to_be_bytes();
        let descriptor = [0x80, high, low];
        let carried = (ExtensionKind::DependencyDescriptor, &descriptor[..]);
        let wall = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(u64::from(ms));
        MediaPacket {
            track: TrackKey(frame.track),
            epoch: self.epoch,
            time: self.time,
            vp8: Descriptor::parse(&payload),
            extensions: CarriedExtensions::new([carried].into_iter()),
            sender_report: frame.report_ms.map(|ms| (wall(ms), self.time)),
            payload: Arc::from(payload),
            ..packet(frame.layer, self.seq, frame.keyframe && is_first)
        }
    }
}

fn subscription(track: u64) -> Subscription {
    let mut subscription = Subscription::new(Wanted {
        track: TrackKey(track),
        kind: MediaKind::Video,
        params: SubscriptionParams::default(),
        group: None,
        formats: None,
    });
    subscription.codecs = Some(Vec::new());
    subscription.set_target(Some(LayerIndex(0)));
    subscription
}

pub(super) fn story() -> impl Strategy<Value = Story> {
    let layer = || 0..MAX_LAYERS as u8;
    let delay = prop_oneof![6 => Just(0_usize), 3 => 0..8_usize, 1 => 0..150_usize];
    let copies = prop_oneof![8 => Just(1_usize), 1 => Just(0), 1 => Just(2)];
    let fate = (delay, copies).prop_map(|(delay, copies)| Fate { delay, copies });
    let time = (
        1..20_000_u32,
        0..200_u64,
        prop::option::weighted(0.2, 0..4_000_u32),
    );
    let picture = (prop::bool::weighted(0.3), vec(fate, 1..4));
    let frame = (prop::bool::weighted(0.1), layer(), time, picture).prop_map(
        |(is_other, layer, (ticks, pause_ms, report_ms), (keyframe, packets))| {
            Step::Frame(Frame {
                track: u64::from(is_other),
                layer,
                keyframe,
                ticks,
                pause_ms,
                report_ms,
                packets,
            })
        },
    );
    let choose = prop::option::weighted(0.9, layer()).prop_map(Step::Choose);
    let restart = (layer(), any::<u16>(), any::<u32>());
    let restart = restart.prop_map(|(layer, seq, time)| Step::Restart { layer, seq, time });
    let step =
        prop_oneof![20 => frame, 3 => choose, 1 => restart, 1 => (0..2_u64).prop_map(Step::Play)];
    let numbers = (any::<u16>(), any::<u32>(), any::<u16>(), any::<u8>());
    (any::<u16>(), numbers, vec(step, 1..160)).prop_map(|(first_seq, start, steps)| Story {
        first_seq,
        start,
        steps,
    })
}
