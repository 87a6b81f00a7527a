//! Header extensions forwarded from the publisher to its subscribers: a table of packets in and packets out.

use std::time::Duration;

use super::rig::{Client, Rig, Values};
use crate::key::SessionKey;
use crate::media::extensions::ExtensionKind::{
    self, AbsoluteCaptureTime, DependencyDescriptor, LayersAllocation, PlayoutDelay,
};
use crate::media::extensions::set_frame_number;

/// A dependency descriptor of `bytes` with frame number `number`.
fn descriptor(number: u16, bytes: usize) -> Vec<u8> {
    let mut descriptor = vec![0x80; bytes];
    set_frame_number(&mut descriptor, number);
    descriptor
}

fn values(all: &[(ExtensionKind, &[u8])]) -> Values {
    let all = all.iter().map(|(kind, value)| (*kind, value.to_vec()));
    Values(all.collect())
}

/// Values that subscriber `index` received with each packet, in the order of kinds.
fn received(rig: &mut Rig, index: usize) -> Vec<Values> {
    let packets = std::mem::take(&mut rig.subscribers[index].received);
    let of = |packet: &str0m::rtp::RtpPacket| {
        let values = packet.header.ext_vals.user_values.get::<Values>();
        let mut values = values.cloned().unwrap_or_default();
        values.0.sort_by_key(|(kind, _)| *kind as u8);
        values
    };
    packets.iter().map(of).collect()
}

fn without_mixed(answer: String) -> String {
    answer.replace("a=extmap-allow-mixed\r\n", "")
}

fn without_all(answer: String) -> String {
    let lines = answer.split_inclusive("\r\n");
    let is_of = |line: &&str| {
        ExtensionKind::ALL
            .iter()
            .any(|kind| line.contains(kind.uri()))
    };
    lines.filter(|line| !is_of(line)).collect()
}

#[test]
fn each_subscriber_gets_what_it_negotiated_of_what_was_sent() {
    let mut rig = Rig::start(1);
    for (session, edits_answer) in [
        (300, without_mixed as fn(String) -> String),
        (301, without_all),
    ] {
        let mut client = Client::new();
        client.edits_answer = edits_answer;
        rig.subscribe(SessionKey(session), client);
    }
    rig.until("all to receive", |rig| {
        rig.send(1, true, 500);
        rig.subscribers
            .iter()
            .all(|client| !client.received.is_empty())
    });
    rig.run_for(Duration::from_millis(50));
    let short = descriptor(7, 3);
    let (long, longest) = (descriptor(8, 100), descriptor(9, 180));
    let time: &[u8] = &[1, 2, 3, 4, 5, 6, 7, 8];
    let delay: &[u8] = &[0x12, 0x34, 0x56];
    type Sent<'a> = &'a [(ExtensionKind, &'a [u8])];
    type Kinds<'a> = &'a [ExtensionKind];
    // Sent extensions; extensions that a receiver of all sizes gets; extensions that a receiver of at most 16 bytes
    // gets.
    let rows: [(Sent<'_>, Kinds<'_>, Kinds<'_>); 6] = [
        (&[], &[], &[]),
        (
            &[(AbsoluteCaptureTime, time), (PlayoutDelay, delay)],
            &[AbsoluteCaptureTime, PlayoutDelay],
            &[AbsoluteCaptureTime, PlayoutDelay],
        ),
        (
            &[(DependencyDescriptor, &short), (LayersAllocation, &[0x01])],
            &[DependencyDescriptor, LayersAllocation],
            &[DependencyDescriptor, LayersAllocation],
        ),
        (
            &[(PlayoutDelay, delay), (DependencyDescriptor, &long)],
            &[PlayoutDelay, DependencyDescriptor],
            &[PlayoutDelay],
        ),
        (
            &[
                (LayersAllocation, &[0x02; 40]),
                (DependencyDescriptor, &longest),
            ],
            &[DependencyDescriptor],
            &[],
        ),
        (&[(PlayoutDelay, delay)], &[PlayoutDelay], &[PlayoutDelay]),
    ];
    for (sent, all, without_long) in rows {
        for index in 0..3 {
            received(&mut rig, index);
        }
        rig.publisher.extensions = values(sent);
        rig.send(2, false, 600);
        rig.run_for(Duration::from_millis(30));
        for (index, kinds) in [all, without_long, &[]].into_iter().enumerate() {
            let expected = sent.iter().filter(|(kind, _)| kinds.contains(kind));
            let mut expected: Vec<_> = expected.copied().collect();
            expected.sort_by_key(|(kind, _)| *kind as u8);
            let got = received(&mut rig, index);
            assert_eq!(
                got,
                vec![values(&expected); 2],
                "subscriber {index} of {sent:?}"
            );
        }
    }
}

#[test]
fn frame_numbers_go_on_over_a_switch_and_their_gaps_stay_gaps() {
    let mut rig = Rig::start(1);
    let mut numbers = Vec::new();
    let mut frame = |rig: &mut Rig, number: u16, keyframe: bool| {
        rig.publisher.extensions = values(&[(DependencyDescriptor, &descriptor(number, 20))]);
        rig.send(1, keyframe, 600);
        rig.run_for(Duration::from_millis(20));
        for Values(values) in received(rig, 0) {
            let (_, value) = &values[0];
            numbers.push(u16::from_be_bytes([value[1], value[2]]));
            assert_eq!(
                value[3..],
                descriptor(number, 20)[3..],
                "the rest is as it was"
            );
        }
    };
    for number in [65_533, 65_534, 1] {
        frame(&mut rig, number, false);
    }
    // Another SSRC starts at other numbers, then a third one.
    rig.publisher.restart(5_000, 70_000);
    frame(&mut rig, 40_000, true);
    frame(&mut rig, 40_002, false);
    rig.publisher.restart(900, 90_000);
    frame(&mut rig, 3, true);
    frame(&mut rig, 4, false);
    assert_eq!(numbers, [65_533, 65_534, 1, 2, 4, 5, 6]);
}

#[test]
fn what_is_sent_again_has_the_extensions_it_had() {
    let mut rig = Rig::start(2);
    rig.subscribers[1].loses_every = 4;
    for number in 0..40_u16 {
        rig.publisher.extensions = values(&[
            (PlayoutDelay, &[1, 2, number as u8]),
            (DependencyDescriptor, &descriptor(number, 30)),
        ]);
        rig.send(2, false, 700);
        rig.run_for(Duration::from_millis(20));
    }
    rig.subscribers[1].loses_every = 0;
    rig.run_for(Duration::from_millis(400));
    assert!(rig.shard.report.resent > 5, "{}", rig.shard.report.resent);
    let complete = received(&mut rig, 0);
    let mut repaired = received(&mut rig, 1);
    assert_eq!(complete.len(), 80);
    let number = |Values(values): &Values| values[1].1.clone();
    repaired.sort_by_key(number);
    repaired.dedup();
    let mut expected = complete;
    expected.dedup();
    assert_eq!(repaired, expected);
}
