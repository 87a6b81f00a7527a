//! Tracks from and for other nodes, through a whole shard. The test polls outgoing messages and passes incoming ones
//! in.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::rig::{Client, Rig, TRACK, now};
use crate::drop_reason::DropReason;
use crate::ice::candidates::Candidates;
use crate::ice::credentials::IceKey;
use crate::io::entropy::Entropy;
use crate::key::{LayerIndex, LayerSet, LinkId, SessionKey, ShardId, TrackKey};
use crate::limits::{LINK_PACKETS, MAX_LINKS};
use crate::media::codec::MediaKind;
use crate::media::packet::MediaPacket;
use crate::media::subscription::tests::packet;
use crate::media::track::{TrackInfo, TrackSpec, TrackStatus};
use crate::mesh::mailbox::Mesh;
use crate::shard::state::{Ice, Setup, Shard};
use crate::stream::{Streams, TlsOptions};
use crate::tree::link::LinkMessage;

const TO: LinkId = LinkId(1);
const FROM: LinkId = LinkId(2);
const IMPORTED: TrackKey = TrackKey(70);
const PACKETS: usize = 4;

/// The set with only the lowest layer.
fn lowest() -> LayerSet {
    LayerSet::NONE.with(LayerIndex(0))
}

/// A rig with a track that is sent over link `TO`, and the first messages of the link.
fn exporting() -> (Rig, Arc<TrackInfo>) {
    let mut rig = Rig::start(1);
    rig.shard.open_link(TO).unwrap();
    let interest = LinkMessage::Interest(TRACK, lowest());
    rig.shard.on_link(TO, interest, now());
    let Some(LinkMessage::Track(info, _)) = rig.shard.poll_link(TO) else {
        panic!("who needs a track is told what it is");
    };
    (rig, info)
}

fn polled(rig: &mut Rig, link: LinkId) -> Vec<LinkMessage> {
    std::iter::from_fn(|| rig.shard.poll_link(link)).collect()
}

fn media(rig: &mut Rig, link: LinkId) -> Vec<MediaPacket> {
    let messages = polled(rig, link).into_iter();
    let media = messages.filter_map(|message| match message {
        LinkMessage::Media(packet) => Some(packet),
        _ => None,
    });
    media.collect()
}

/// `info` as a track of another node.
fn imported(info: &TrackInfo) -> Arc<TrackInfo> {
    let spec = TrackSpec {
        key: IMPORTED,
        ..info.spec.clone()
    };
    Arc::new(TrackInfo {
        spec,
        ..info.clone()
    })
}

/// The rig imports a track; one more client subscribes to it. Returns the index of the client.
fn importing(rig: &mut Rig, info: &TrackInfo) -> usize {
    rig.shard.open_link(FROM).unwrap();
    let track = LinkMessage::Track(imported(info), TrackStatus::default());
    rig.shard.on_link(FROM, track, now());
    rig.subscribe_to((SessionKey(300), IMPORTED), Client::new());
    let client = rig.subscribers.len() - 1;
    rig.until("the subscriber to connect", |rig| {
        rig.subscribers[client].connected
    });
    client
}

#[test]
fn a_track_goes_out_over_a_link_with_its_publishers_numbers_and_comes_in_over_another() {
    let (mut rig, info) = exporting();
    let client = importing(&mut rig, &info);
    rig.until("the demand to be told", |rig| {
        polled(rig, FROM).iter().any(|message| {
            matches!(message, LinkMessage::Interest(track, layers)
                if (*track, *layers) == (IMPORTED, lowest()))
        })
    });
    rig.until("a keyframe to be asked for", |rig| {
        polled(rig, FROM).iter().any(|message| {
            matches!(message, LinkMessage::Keyframe(track, LayerIndex(0)) if *track == IMPORTED)
        })
    });
    media(&mut rig, TO);
    rig.subscribers[0].received.clear();
    let (first, link_packets) = (rig.publisher.seq, rig.shard.report.link_packets);
    for frame in 0..5 {
        rig.send(PACKETS, frame == 0, 900);
        rig.run_for(Duration::from_millis(10));
    }
    let sent = media(&mut rig, TO);
    let seqs: Vec<u16> = sent.iter().map(|packet| packet.seq as u16).collect();
    let expected: Vec<u16> = (0..5 * PACKETS as u64)
        .map(|seq| (first + seq) as u16)
        .collect();
    assert_eq!(seqs, expected, "numbers are the publisher's");
    assert!(sent[0].keyframe && sent.iter().all(|packet| packet.track == TRACK));
    assert_eq!(
        rig.shard.report.link_packets - link_packets,
        sent.len() as u64
    );
    assert_eq!(
        rig.subscribers[0].received.len(),
        sent.len(),
        "nobody here loses any"
    );
    assert!(rig.subscribers[client].received.is_empty());
    for packet in sent {
        let track = IMPORTED;
        let packet = MediaPacket { track, ..packet };
        rig.shard.on_link(FROM, LinkMessage::Media(packet), now());
    }
    rig.run_for(Duration::from_millis(50));
    assert_eq!(rig.subscribers[client].received.len(), 5 * PACKETS);
    // The history of this shard answers the retransmission request; the other node gets no request.
    rig.shard.on_link(FROM, LinkMessage::Gone(IMPORTED), now());
    let entry = rig.shard.tracks.get_mut(IMPORTED).unwrap();
    assert!(entry.route.home().is_none() && entry.published.is_none());
}

#[test]
fn a_link_whose_carrier_stops_does_not_affect_local_subscribers() {
    let (mut rig, _) = exporting();
    let open = rig.shard.links.get_mut(TO).unwrap();
    for seq in 0..LINK_PACKETS as u64 {
        open.queue
            .push(LinkMessage::Media(packet(0, seq, false)))
            .unwrap();
    }
    rig.send(PACKETS, false, 900);
    rig.run_for(Duration::from_millis(30));
    assert_eq!(rig.subscribers[0].received.len(), PACKETS);
    assert_eq!(
        rig.shard.report.drops.of(DropReason::LinkFull),
        PACKETS as u64
    );
    assert_eq!(media(&mut rig, TO).len(), LINK_PACKETS);
    rig.send(PACKETS, false, 900);
    rig.run_for(Duration::from_millis(30));
    assert_eq!(media(&mut rig, TO).len(), PACKETS, "there is room again");
}

#[test]
fn a_keyframe_is_asked_of_the_publisher_for_a_link_and_interest_ends() {
    let (mut rig, _) = exporting();
    rig.run_for(Duration::from_millis(600)); // past the last request
    let before = rig.publisher.keyframe_requests;
    let request = LinkMessage::Keyframe(TRACK, LayerIndex(0));
    rig.shard.on_link(TO, request, now());
    rig.until("the publisher to be asked", |rig| {
        rig.publisher.keyframe_requests > before
    });
    rig.shard
        .on_link(TO, LinkMessage::Interest(TRACK, LayerSet::NONE), now());
    media(&mut rig, TO);
    rig.send(PACKETS, true, 900);
    rig.run_for(Duration::from_millis(30));
    assert!(media(&mut rig, TO).is_empty());
}

#[test]
fn what_another_node_makes_up_is_refused() {
    let (mut rig, info) = exporting();
    let nothing = LinkMessage::Interest(TrackKey(999), lowest());
    rig.shard.on_link(TO, nothing, now());
    assert!(matches!(
        rig.shard.poll_link(TO),
        Some(LinkMessage::Gone(TrackKey(999)))
    ));
    let no_such_layer = LayerIndex(7);
    for message in [
        LinkMessage::Keyframe(TRACK, no_such_layer),
        LinkMessage::Keyframe(TrackKey(999), LayerIndex(0)),
        LinkMessage::Interest(TRACK, LayerSet::NONE.with(no_such_layer)),
        LinkMessage::Status(TRACK, TrackStatus::default()),
        LinkMessage::Gone(TRACK),
    ] {
        rig.shard.on_link(TO, message, now());
    }
    let refused = |rig: &Rig| rig.shard.report.drops.of(DropReason::NoTrack);
    let before = refused(&rig);
    // A track that is published here; packets of that track, of an unknown track and of an unknown layer.
    importing(&mut rig, &info);
    let of = |track, layer| MediaPacket {
        track,
        ..packet(layer, 1, true)
    };
    for message in [
        LinkMessage::Track(info, TrackStatus::default()),
        LinkMessage::Media(of(TRACK, 0)),
        LinkMessage::Media(of(TrackKey(999), 0)),
        LinkMessage::Media(of(IMPORTED, 2)),
    ] {
        rig.shard.on_link(FROM, message, now());
    }
    assert_eq!(refused(&rig) - before, 4);
    rig.subscribers[0].received.clear();
    rig.send(PACKETS, true, 900);
    rig.run_for(Duration::from_millis(30));
    assert_eq!(rig.subscribers[0].received.len(), PACKETS, "it plays on");
}

#[test]
fn with_a_link_go_the_tracks_that_it_brought() {
    let (mut rig, info) = exporting();
    importing(&mut rig, &info);
    let tracks = rig.shard.report.tracks;
    rig.shard.close_link(FROM);
    assert_eq!(rig.shard.report.tracks, tracks - 1);
    assert!(rig.shard.poll_link(FROM).is_none());
    rig.shard.on_link(FROM, LinkMessage::Gone(IMPORTED), now());
    rig.shard.close_link(TO);
    rig.subscribers[0].received.clear();
    rig.send(PACKETS, false, 900);
    rig.run_for(Duration::from_millis(30));
    assert_eq!(rig.subscribers[0].received.len(), PACKETS);
    assert_eq!(rig.shard.report.drops.of(DropReason::LinkFull), 0);
    for link in 0..MAX_LINKS as u32 {
        rig.shard.open_link(LinkId(1_000 + link)).unwrap();
    }
    assert!(rig.shard.open_link(TO).is_err(), "there is a limit");
}

/// Shards of one node without sessions.
fn shards(count: u16) -> Vec<Shard> {
    let mesh = Mesh::new(usize::from(count)).unwrap();
    let ips = [Ipv4Addr::LOCALHOST.into()];
    let shards = (0..count).map(|id| {
        let setup = Setup {
            id: ShardId(id),
            mesh: Arc::clone(&mesh),
            ice: Ice {
                key: IceKey::generate(&mut Entropy::seeded(1)),
                candidates: Candidates::new(&ips, 7),
            },
            streams: Streams::new(Vec::new(), TlsOptions::default()).unwrap(),
            entropy: Entropy::seeded(id.into()),
        };
        Shard::new(setup, now())
    });
    shards.collect()
}

#[test]
fn an_import_has_one_home_that_all_shards_learn_of_and_forget() {
    let mut shards = shards(4);
    let info = Arc::new(TrackInfo {
        spec: TrackSpec {
            key: IMPORTED,
            id: "camera".into(),
            mid: "0".into(),
            kind: MediaKind::Video,
            layers: Vec::new(),
        },
        codecs: Vec::new(),
        is_stereo: false,
    });
    let said = |message: &dyn Fn() -> LinkMessage, shards: &mut Vec<Shard>| {
        for shard in &mut *shards {
            shard.open_link(FROM).unwrap();
            shard.on_link(FROM, message(), now());
        }
        for shard in shards {
            shard.read_mail(now());
        }
    };
    let track = || LinkMessage::Track(Arc::clone(&info), TrackStatus::default());
    said(&track, &mut shards);
    let taken = shards.iter().filter(|shard| shard.report.tracks == 1);
    let homes: Vec<ShardId> = taken.map(|shard| shard.id).collect();
    assert_eq!(homes.len(), 1);
    for shard in &mut shards {
        let entry = shard.tracks.get_mut(IMPORTED).unwrap();
        assert_eq!(entry.route.home(), Some(homes[0]));
    }
    said(&|| LinkMessage::Gone(IMPORTED), &mut shards);
    for shard in &mut shards {
        assert!(shard.tracks.get_mut(IMPORTED).is_none());
    }
}
