//! Properties of outgoing numbers, for packets of several tracks and layers that arrive in any order, and for switches
//! at keyframes at any time.

mod story; // what happens on an m-line, and the numbers that it leads to

use std::collections::HashSet;

use proptest::prelude::*;

use story::{CLOCK, Outcome, story};

use super::*;
use crate::properties::config;

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn numbers_are_used_once_and_keep_the_order_of_the_publisher(story in story()) {
        let Outcome { given, refused, .. } = story.play();
        let mut used = HashSet::new();
        prop_assert!(given.iter().all(|given| used.insert(given.numbers.seq)), "a number is used twice");
        let mut newest = None;
        for (at, one) in given.iter().enumerate() {
            let first = given[..=at].iter().find(|other| other.run == one.run).unwrap();
            if std::ptr::eq(first, one) {
                let next = newest.map_or(u64::from(story.first_seq), |newest| newest + 1);
                prop_assert_eq!(one.numbers.seq, next, "a switch leaves no gap");
            }
            let distance = one.packet.seq - first.packet.seq;
            prop_assert_eq!(one.numbers.seq - first.numbers.seq, distance, "gaps are those of the publisher");
            newest = newest.max(Some(one.numbers.seq));
        }
        for (packet, before) in refused {
            let run: Vec<_> = given[..before].iter().filter(|one| one.run == given[before - 1].run).collect();
            let is_older = packet.seq < run[0].packet.seq;
            let is_repeated = run.iter().any(|one| one.packet.seq == packet.seq);
            let highest = run.iter().map(|one| one.packet.seq).max().unwrap();
            let is_forgotten = highest.saturating_sub(packet.seq) >= 128;
            prop_assert!(is_older || is_repeated || is_forgotten, "{} is dropped for no reason", packet.seq);
        }
    }

    #[test]
    fn timestamps_never_step_back_and_frames_stay_whole(story in story()) {
        let mut given = story.play().given;
        given.sort_by_key(|one| one.numbers.seq);
        for pair in given.windows(2) {
            let [before, after] = pair else { unreachable!() };
            let step = after.numbers.time.wrapping_sub(before.numbers.time) as i32;
            let is_same_frame = before.run == after.run && before.packet.time == after.packet.time;
            prop_assert!(step > 0 || is_same_frame && step == 0, "{} after {}", after.numbers.seq, before.numbers.seq);
        }
    }

    #[test]
    fn pictures_and_frames_are_counted_on_at_a_switch(story in story()) {
        let given = story.play().given;
        for (at, one) in given.iter().enumerate() {
            let first = given[..=at].iter().find(|other| other.run == one.run).unwrap();
            let after = |number: u16, base: u16| number.wrapping_sub(base);
            let (Some(picture), Some(first_picture)) = (picture_id(&one.packet), picture_id(&first.packet)) else {
                unreachable!()
            };
            let expected = after(picture, first_picture) & PICTURE_ID_MASK;
            let found = after(one.numbers.picture_id, first.numbers.picture_id) & PICTURE_ID_MASK;
            prop_assert_eq!(found, expected);
            let frame = |packet: &MediaPacket| packet.extensions.frame_number().unwrap();
            let expected = after(frame(&one.packet), frame(&first.packet));
            prop_assert_eq!(after(one.numbers.frame_number, first.numbers.frame_number), expected);
            let newest = given[..at].iter().max_by_key(|one| one.numbers.seq);
            if let Some(newest) = newest.filter(|_| std::ptr::eq(first, one)) {
                let next = newest.numbers.picture_id.wrapping_add(1) & PICTURE_ID_MASK;
                prop_assert_eq!(one.numbers.picture_id, next);
                prop_assert_eq!(one.numbers.tl0_pic_idx, newest.numbers.tl0_pic_idx.wrapping_add(1));
                prop_assert_eq!(one.numbers.frame_number, newest.numbers.frame_number.wrapping_add(1));
            }
        }
    }

    #[test]
    fn what_was_sent_is_found_with_the_same_numbers(story in story()) {
        let Outcome { given, rewriter, .. } = story.play();
        let Some(last) = given.last() else { return Ok(()) };
        for one in given.iter().filter(|one| one.run + PAST_SOURCES >= last.run) {
            let sent = rewriter.sent(one.numbers.seq as u16).unwrap();
            let packet = &one.packet;
            let found = (sent.track, sent.layer, sent.epoch, sent.seq);
            prop_assert_eq!(found, (packet.track, packet.layer, packet.epoch, packet.seq));
            prop_assert_eq!(sent.numbers(packet), one.numbers);
        }
    }

    #[test]
    fn a_report_has_the_clock_of_the_last_packet(story in story(), later_ms in 0..20_000_u64) {
        let Outcome { given, rewriter, .. } = story.play();
        let Some(newest) = given.iter().max_by_key(|one| one.numbers.seq) else { return Ok(()) };
        let later = Duration::from_millis(later_ms);
        let Some((_, time)) = rewriter.clock(newest.packet.arrived + later, CLOCK) else { return Ok(()) };
        prop_assert!(later <= MAX_SILENCE);
        let step = time.wrapping_sub(newest.numbers.time);
        prop_assert!(step.abs_diff(later_ms as u32 * (CLOCK / 1_000)) <= 1);
    }
}

fn picture_id(packet: &MediaPacket) -> Option<u16> {
    packet.vp8.as_ref()?.picture_id()
}
