//! A publisher's sequence numbers restart: subscribers continue at the next keyframe, with continuous numbers.

use std::time::Duration;

use super::rig::{Client, Rig, now};
use crate::mesh::message::ShardEvent;

/// A change of a publisher's numbers.
struct Restart {
    name: &'static str,
    /// First sequence number of another SSRC; `None`: the same SSRC continues.
    seq: Option<u64>,
    /// Offset from sequence numbers to timestamps.
    time_offset: u32,
    pause: Duration,
}

const START_SEQ: u64 = 13_000;
const FRAME: Duration = Duration::from_millis(33);
const HOURS: Duration = Duration::from_secs(3_600);

/// What existing subscribers received.
#[derive(Debug)]
struct Seen {
    /// Longest time from the next keyframe to the first received packet.
    longest_gap: Duration,
    /// Packets sent since that keyframe that were not received, or not authenticated.
    missing: usize,
    /// Number of steps between received sequence numbers that are not continuous.
    steps: usize,
    asked: usize,
}

#[test]
fn subscribers_go_on_when_numbers_begin_anew() {
    let restart = |name, seq, time_offset, pause| Restart {
        name,
        seq,
        time_offset,
        pause,
    };
    let lower = 1_000_000_000_u32.wrapping_neg();
    let rows = [
        restart(
            "another SSRC, lower numbers",
            Some(1_000),
            lower,
            Duration::ZERO,
        ),
        restart(
            "another SSRC, higher numbers",
            Some(65_000),
            1_500_000_000,
            Duration::ZERO,
        ),
        restart(
            "another SSRC, numbers that wrap",
            Some(65_530),
            u32::MAX / 2,
            Duration::ZERO,
        ),
        restart("a gap of 20,000 in the same SSRC", None, 0, Duration::ZERO),
        restart("a pause of 7 hours", Some(2), 0, 7 * HOURS),
        restart("a pause of 7 hours in the same SSRC", None, 0, 7 * HOURS),
    ];
    let mut worst = Duration::ZERO;
    let mut missing = 0;
    for row in &rows {
        let seen = play(row);
        println!("{}: {seen:?}", row.name);
        assert!(
            seen.longest_gap < Duration::from_secs(1),
            "{}: {seen:?}",
            row.name
        );
        assert_eq!((seen.missing, seen.steps), (0, 0), "{}", row.name);
        assert!(
            seen.asked >= 1,
            "{}: the publisher is asked for a keyframe",
            row.name
        );
        worst = worst.max(seen.longest_gap);
        missing += seen.missing;
    }
    println!(
        "{{\"suite\":\"restart-numbers\",\"rows\":{},\"longest_gap_ms\":{},\"srtp_failures\":{missing}}}",
        rows.len(),
        worst.as_millis()
    );
}

fn play(row: &Restart) -> Seen {
    let mut rig = Rig::start(2);
    rig.publisher.restart(START_SEQ, 0);
    frames(&mut rig, 20, true);
    let before = rig.publisher.keyframe_requests;
    let last: Vec<u64> = rig
        .subscribers
        .iter()
        .map(|client| *numbers(client).last().unwrap())
        .collect();
    rig.subscribers
        .iter_mut()
        .for_each(|client| client.received.clear());
    rig.skip(row.pause);
    let ended = rig.events.iter().find_map(|event| match event {
        ShardEvent::Closed { reason, .. } => Some(reason),
        _ => None,
    });
    assert_eq!(ended, None, "{}", row.name);
    let ticks = (row.pause.as_secs() * 90_000) as u32; // wraps
    let offset = row.time_offset.wrapping_add(ticks);
    match row.seq {
        Some(seq) => rig.publisher.restart(seq, offset),
        None if row.pause.is_zero() => rig.publisher.seq += 20_000,
        None => rig.publisher.time_offset = offset,
    }
    // The keyframe that an encoder sends first is lost.
    frames(&mut rig, 5, false);
    rig.until("a keyframe to be asked for", |rig| {
        rig.publisher.keyframe_requests > before
    });
    let asked = rig.publisher.keyframe_requests - before;
    assert!(
        rig.subscribers
            .iter()
            .all(|client| client.received.is_empty())
    );
    let keyframe_at = now();
    rig.send(3, true, 1_000);
    rig.until("media to go on", |rig| {
        let mut clients = rig.subscribers.iter();
        clients.all(|client| client.received.len() >= 3)
    });
    let longest_gap = now() - keyframe_at;
    let sent = 3 + frames(&mut rig, 20, false);
    let mut seen = Seen {
        longest_gap,
        missing: 0,
        steps: 0,
        asked,
    };
    for (client, last) in rig.subscribers.iter().zip(last) {
        let numbers = numbers(client);
        seen.missing += sent - numbers.len();
        let expected = last + 1..;
        seen.steps += numbers
            .iter()
            .zip(expected)
            .filter(|(number, expected)| *number != expected)
            .count();
    }
    seen
}

/// Extended sequence numbers that `client` received, in order.
fn numbers(client: &Client) -> Vec<u64> {
    let mut numbers: Vec<u64> = client
        .received
        .iter()
        .map(|packet| *packet.seq_no)
        .collect();
    numbers.sort_unstable();
    numbers
}

/// Sends `count` frames of two packets, keyframes or not. Returns the number of packets.
fn frames(rig: &mut Rig, count: usize, keyframe: bool) -> usize {
    for number in 0..count {
        rig.send(2, keyframe && number == 0, 1_000);
        rig.run_for(FRAME / 8);
    }
    rig.run_for(FRAME);
    2 * count
}
