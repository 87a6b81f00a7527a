//! Properties of the retransmission allowance, for requests of any client at any times.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::properties::config;

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn a_client_gets_a_share_of_its_packets_again_and_no_more(steps in vec(step(), 1..300), rtt_ms in 0..2_000_u64) {
        let (start, mut now_ms) = (Instant::now(), 0);
        let (mut allowance, mut again) = (Allowance::default(), Allowance::default());
        let (mut earned, mut sent) = (BURST_BYTES, 0);
        let mut times: HashMap<u16, Vec<u64>> = HashMap::new();
        for step in steps {
            match step {
                Step::Send(bytes) => {
                    allowance.earn(bytes);
                    again.earn(bytes);
                    earned += bytes / PART;
                }
                Step::Wait(ms) => now_ms += ms,
                Step::Request(seq, bytes) => {
                    let at = RetransmitRequest {
                        now: start + Duration::from_millis(now_ms),
                        rtt: Duration::from_millis(rtt_ms),
                    };
                    let allowed = allowance.allow(seq, bytes, at);
                    prop_assert_eq!(again.allow(seq, bytes, at), allowed, "the same input has the same output");
                    if allowed {
                        sent += bytes;
                        times.entry(seq).or_default().push(now_ms);
                    }
                }
            }
            prop_assert!(sent <= earned, "{} of {} bytes", sent, earned);
            prop_assert!(allowance.bytes <= BURST_BYTES && allowance.latest.len() <= LATEST);
        }
        let wait_ms = Duration::from_millis(rtt_ms).max(REPEAT_AFTER).as_millis() as u64;
        for (seq, times) in times {
            prop_assert!(times.len() <= usize::from(MAX_REPEATS), "{} is sent {} times", seq, times.len());
            for (count, pair) in times.windows(2).enumerate() {
                prop_assert!(pair[1] - pair[0] >= wait_ms << count, "{} at {:?}", seq, times);
            }
        }
    }

    #[test]
    fn repeated_requests_leave_room_for_first_ones(requests in vec((0..4_u16, 0..400_u64, 1..30_000_usize), 1..200)) {
        let (start, mut now) = (Instant::now(), Duration::ZERO);
        let (mut allowance, mut asked) = (Allowance::default(), Vec::new());
        for (seq, pause_ms, bytes) in requests {
            now += Duration::from_millis(pause_ms);
            let before = allowance.bytes;
            let is_allowed = allowance.allow(seq, bytes, RetransmitRequest { now: start + now, rtt: Duration::ZERO });
            if asked.contains(&seq) {
                prop_assert!(!is_allowed || allowance.bytes >= RESERVED_BYTES);
            } else {
                prop_assert_eq!(is_allowed, bytes <= before);
                asked.extend(is_allowed.then_some(seq));
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Media of this many bytes is sent.
    Send(usize),
    /// So many milliseconds pass.
    Wait(u64),
    /// A packet of this many bytes is requested.
    Request(u16, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..20_000_usize).prop_map(Step::Send),
        2 => prop_oneof![0..100_u64, 0..5_000_u64].prop_map(Step::Wait),
        // Numbers below the size of the ring: a number above forgets the one below it.
        6 => (0..20_u16, prop_oneof![1..1_500_usize, 10_000..60_000_usize])
            .prop_map(|(seq, bytes)| Step::Request(seq, bytes)),
    ]
}
