//! The estimator on simulated paths.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use spillway_wire::rtcp::{TransportHeader, write_transport_feedback};

use super::Simulation;
use super::path::{PATH, Path};
use super::source::{GREEDY, LAYERS, LOW_LAYER, Source};
use crate::MIN_BPS;

fn assert_within(what: &str, value: u64, range: std::ops::RangeInclusive<u64>) {
    assert!(
        range.contains(&value),
        "{what} {value} is outside {range:?}"
    );
}

#[test]
fn feedback_is_read_as_far_as_packets_were_sent() {
    use spillway_wire::rtcp::{Packet, TransportHeader, packets, write_transport_feedback};

    use crate::{Estimator, FeedbackError};

    let start = Instant::now();
    let mut estimator = Estimator::new(1_000_000, start);
    for number in 0..3_000_u32 {
        estimator.sent(
            1_200,
            start + Duration::from_micros(u64::from(number) * 500),
            false,
        );
    }
    let now = start + Duration::from_secs(2);
    let mut report = |base_seq: u16, count: usize| {
        let head = TransportHeader {
            sender_ssrc: 1,
            media_ssrc: 2,
            base_seq,
            reference_time: 0,
            feedback_count: 0,
        };
        let mut bytes = [0; 64];
        let length = write_transport_feedback(&head, &vec![None; count], &mut bytes).unwrap();
        let Some(Ok(Packet::TransportFeedback(feedback))) = packets(&bytes[..length]).next() else {
            panic!("what was written is no feedback");
        };
        estimator.feedback(&feedback, now)
    };
    assert_eq!(report(0, 65_535), Err(FeedbackError::TooLong(65_535)));
    let never_sent = |base_seq, count| Err(FeedbackError::NeverSent { base_seq, count });
    assert_eq!(report(2_990, 11), never_sent(2_990, 11));
    assert_eq!(report(60_000, 5), never_sent(60_000, 5));
    let read = (0..1_000).filter(|_| report(0, 3_000) == Ok(())).count();
    assert_eq!(read, 2, "4,096 statuses at once, 2,048 in each of these");
}

#[test]
fn a_free_path_is_found_within_two_seconds() {
    for source in [GREEDY, LAYERS] {
        let mut simulation = Simulation::new(300_000, PATH, source);
        simulation.run(2.0);
        assert_within(
            "estimate",
            simulation.estimate(),
            source.desired_bps..=6_000_000,
        );
        let (lowest, _) = simulation.run(30.0);
        assert!(lowest >= source.desired_bps, "fell to {lowest}");
    }
}

#[test]
fn a_bottleneck_is_filled_without_standing_in_its_queue_and_left_when_it_is_lifted() {
    for initial_bps in [100_000, 300_000, 3_000_000] {
        for feedback_us in [50_000, 100_000] {
            let narrow = Path {
                bps: 1_000_000,
                feedback_us,
                ..PATH
            };
            let mut simulation = Simulation::new(initial_bps, narrow, GREEDY);
            simulation.run(6.0);
            simulation.queue_ms();
            let (lowest, highest) = simulation.run(20.0);
            assert_within("lowest", lowest, 700_000..=1_000_000);
            assert_within("highest", highest, 700_000..=1_080_000);
            assert_within("queue", simulation.queue_ms() as u64, 0..=150);
            simulation.path.bps = 5_000_000;
            simulation.run(10.0);
            assert_within("lifted", simulation.estimate(), 3_000_000..=5_200_000);
            simulation.path.bps = 1_000_000;
            simulation.run(4.0);
            simulation.queue_ms();
            let (lowest, _) = simulation.run(10.0);
            assert_within("narrow again", lowest, 600_000..=1_000_000);
            assert_within("queue", simulation.queue_ms() as u64, 0..=150);
        }
    }
}

#[test]
fn a_late_receiver_is_no_queue() {
    for late_us in [40_000, 120_000, 300_000] {
        for source in [GREEDY, LAYERS] {
            let late = Path {
                late_us,
                jitter_us: 5_000,
                ..PATH
            };
            let mut simulation = Simulation::new(300_000, late, source);
            simulation.run(12.0);
            let found = simulation.estimate();
            let (lowest, _) = simulation.run(30.0);
            assert_within("found", found, 2_000_000..=8_000_000);
            assert!(
                lowest * 10 >= found * 7,
                "{late_us}: {found} fell to {lowest}"
            );
        }
    }
}

#[test]
fn a_queue_that_only_stands_is_no_room_to_grow() {
    let steady = Source {
        unsteady_percent: 0,
        ..LOW_LAYER
    };
    let mut simulation = Simulation::new(300_000, PATH, steady);
    simulation.run(5.0);
    assert!(simulation.estimate() > 400_000);
    simulation.path.bps = 100_000;
    simulation.run(0.3);
    simulation.path.bps = 300_000;
    simulation.run(3.0);
    simulation.queue_ms();
    let (_, highest) = simulation.run(6.5);
    assert!(simulation.queue_ms() > 150);
    assert!(highest < 300_000, "{highest}");
}

#[test]
fn a_path_that_became_longer_is_found_to_have_no_queue() {
    for source in [GREEDY, LAYERS] {
        let mut simulation = Simulation::new(300_000, PATH, source);
        simulation.run(5.0);
        simulation.path.delay_us += 150_000;
        let (lowest, _) = simulation.run(12.0);
        assert!(lowest * 5 > source.desired_bps * 2, "fell to {lowest}");
        assert!(simulation.estimate() >= source.desired_bps);
    }
}

#[test]
fn what_is_not_sent_proves_nothing() {
    let mut simulation = Simulation::new(300_000, PATH, LOW_LAYER);
    let (_, highest) = simulation.run(60.0);
    assert_within("without targets", highest, 400_000..=560_000);
    assert_eq!(simulation.padding_bytes, 0);
    assert!(simulation.wakes <= 1, "{} wakes", simulation.wakes);
    simulation.source.desired_bps = 2_000_000;
    simulation.run(3.0);
    assert_within("probed", simulation.estimate(), 2_000_000..=2_500_000);
    assert_within("padding", simulation.padding_bytes, 1_000..=40_000);
    let (lowest, _) = simulation.run(60.0);
    assert!(
        lowest >= 2_000_000,
        "fell to {lowest} while little was sent"
    );
}

#[test]
fn below_what_is_desired_a_probe_every_few_seconds_looks_for_more() {
    let narrow = Path {
        bps: 1_000_000,
        ..PATH
    };
    let mut simulation = Simulation::new(300_000, narrow, LAYERS);
    simulation.run(10.0);
    assert_within("estimate", simulation.estimate(), 600_000..=1_050_000);
    let (padding_bytes, wakes) = (simulation.padding_bytes, simulation.wakes);
    simulation.run(30.0);
    let probes = simulation.padding_bytes - padding_bytes;
    assert_within("padding", probes, 20_000..=80_000);
    assert!(
        simulation.wakes - wakes < 200,
        "{}",
        simulation.wakes - wakes
    );
}

#[test]
fn sustaining_raises_what_is_sent_until_it_is_proven() {
    let mut simulation = Simulation::new(300_000, PATH, LOW_LAYER);
    simulation.source.sustain_bps = 700_000;
    simulation.run(20.0);
    assert_within("estimate", simulation.estimate(), 700_000..=800_000);
    let (padding_bytes, wakes) = (simulation.padding_bytes, simulation.wakes);
    assert!(padding_bytes > 50_000, "{padding_bytes}");
    assert!(wakes < 20 * 42, "{wakes}");
    simulation.run(10.0);
    assert_eq!(simulation.padding_bytes, padding_bytes, "it is proven");
}

#[test]
fn few_losses_cost_little_and_many_cost_much() {
    let lossy = |loss_percent| {
        let path = Path {
            loss_percent,
            bps: 4_000_000,
            ..PATH
        };
        let mut simulation = Simulation::new(300_000, path, GREEDY);
        simulation.run(15.0);
        let found = simulation.estimate();
        let (lowest, _) = simulation.run(30.0);
        (found, lowest)
    };
    let (clean, _) = lossy(0);
    let (found, lowest) = lossy(2);
    assert!(found * 100 >= clean * 85, "{found} of {clean}");
    assert!(lowest * 100 >= clean * 85, "{lowest} of {clean}");
    let (_, lowest) = lossy(20);
    assert!(lowest * 2 < clean, "{lowest} of {clean}");
}

#[test]
fn lost_feedback_changes_little() {
    let path = Path {
        bps: 2_000_000,
        feedback_loss_percent: 20,
        ..PATH
    };
    let mut simulation = Simulation::new(300_000, path, GREEDY);
    simulation.run(8.0);
    let (lowest, highest) = simulation.run(20.0);
    assert_within("lowest", lowest, 1_300_000..=2_000_000);
    assert_within("highest", highest, 1_300_000..=2_200_000);
}

#[test]
fn repeated_reordered_and_lying_feedback_is_ignored() {
    let mut honest = Simulation::new(300_000, PATH, LAYERS);
    let mut attacked = Simulation::new(300_000, PATH, LAYERS);
    let mut random = fastrand::Rng::with_seed(3);
    let mut old = VecDeque::new();
    for _ in 0..200 {
        honest.run(0.05);
        attacked.run(0.05);
        old.extend(attacked.feedback.iter().map(|(_, bytes)| bytes.clone()));
        // Repeated and late feedback, and feedback about packets that were not sent.
        for _ in 0..3 {
            if let Some(bytes) = old.get(random.usize(0..old.len().max(1))).cloned() {
                let sent_already = attacked.feedback.iter().all(|(_, flying)| *flying != bytes);
                if sent_already {
                    attacked.give_feedback(&bytes);
                }
                let mut lying = bytes;
                let seq = attacked.next_report.wrapping_add(random.u16(8_000..50_000));
                lying[12..14].copy_from_slice(&seq.to_be_bytes());
                lying[16..19].fill_with(|| random.u8(..));
                attacked.give_feedback(&lying);
            }
        }
        assert_eq!(attacked.estimate(), honest.estimate());
    }
    assert!(attacked.estimate() >= 2_300_000);
}

#[test]
fn no_feedback_about_real_packets_does_harm_beyond_the_bounds() {
    let mut simulation = Simulation::new(300_000, PATH, LAYERS);
    let mut random = fastrand::Rng::with_seed(5);
    let mut bytes = vec![0; 4_000];
    for _ in 0..2_000 {
        simulation.run(0.01);
        let head = TransportHeader {
            sender_ssrc: 1,
            media_ssrc: 2,
            base_seq: simulation.next_report.wrapping_sub(random.u16(0..200)),
            reference_time: random.u32(0..1 << 24),
            feedback_count: random.u8(..),
        };
        let status = |random: &mut fastrand::Rng| random.bool().then(|| i32::from(random.i16(..)));
        let deltas: Vec<_> = (0..random.usize(0..300))
            .map(|_| status(&mut random))
            .collect();
        let length = write_transport_feedback(&head, &deltas, &mut bytes).unwrap();
        simulation.give_feedback(&bytes[..length]);
        let estimate = simulation.estimate();
        assert!(estimate == 0 || (MIN_BPS..=1_000_000_000).contains(&estimate));
        let deadline = simulation.estimator.deadline();
        assert!(deadline.is_none_or(|at| at < simulation.now() + Duration::from_secs(10)));
    }
}

#[test]
fn silence_makes_it_fall_slowly_and_ends() {
    let mut simulation = Simulation::new(300_000, PATH, LAYERS);
    simulation.run(5.0);
    let before = simulation.estimate();
    simulation.path.feedback_loss_percent = 100;
    simulation.run(1.9);
    assert_eq!(simulation.estimate(), before);
    simulation.run(3.0);
    assert_within(
        "after five seconds",
        simulation.estimate(),
        before * 4 / 10..=before * 7 / 10,
    );
    simulation.run(60.0);
    assert_eq!(simulation.estimate(), MIN_BPS);
    simulation.path.feedback_loss_percent = 0;
    simulation.run(10.0);
    assert!(
        simulation.estimate() >= 2_300_000,
        "{}",
        simulation.estimate()
    );
}

#[test]
fn notable_changes_are_reported() {
    let mut simulation = Simulation::new(300_000, PATH, LAYERS);
    let mut changes = 0;
    for _ in 0..100 {
        simulation.run(0.05);
        changes += u32::from(simulation.estimator.take_changed());
        assert!(!simulation.estimator.take_changed());
    }
    assert!(
        (3..=20).contains(&changes),
        "{changes} times in five seconds"
    );
}

#[test]
fn nothing_is_due_when_nothing_flows() {
    let silent = Source {
        layers_bps: &[],
        ..LAYERS
    };
    let mut simulation = Simulation::new(300_000, PATH, silent);
    simulation.run(10.0);
    assert_eq!((simulation.wakes, simulation.sent_bytes), (0, 0));
    assert_eq!(simulation.estimator.estimate_bps(), None);
    assert_eq!(simulation.estimator.rtt_us, None);
    simulation.source = LAYERS;
    simulation.run(5.0);
    simulation.source = Source {
        layers_bps: &[],
        desired_bps: 0,
        ..LAYERS
    };
    simulation.run(5.0);
    assert_eq!(simulation.estimator.deadline(), None);
    let rtt = simulation.estimator.rtt_us.unwrap();
    assert!((50_000..=131_000).contains(&rtt), "{rtt} us");
}

#[test]
fn a_receiver_that_never_answers_is_probed_once() {
    let mute = Path {
        feedback_loss_percent: 100,
        ..PATH
    };
    let mut simulation = Simulation::new(300_000, mute, LAYERS);
    simulation.run(60.0);
    assert_eq!(simulation.estimator.estimate_bps(), None);
    assert_within("padding", simulation.padding_bytes, 1_000..=6_000);
    assert!(simulation.wakes < 50, "{} wakes", simulation.wakes);
}
