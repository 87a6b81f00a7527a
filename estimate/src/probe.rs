//! Probes: short runs of packets at a higher rate than the proven one. One run at a time; a run that succeeds is
//! followed by a faster one.

use super::sent::Packet;

/// Minimum number of packets and duration of a run; its bytes are enough for a little longer.
const MIN_PACKETS: u32 = 5;
const MIN_SPAN_US: i64 = 15_000;
const RUN_US: u64 = 30_000;
/// Bytes of a run are sent in steps of this duration, or of this size if that takes longer.
const STEP_US: u64 = 5_000;
const MIN_STEP_BYTES: u64 = 200;
/// A run that was not sent completely within this time ends: the sent part is evaluated, and the next run starts after
/// the maximum pause.
const MAX_SENDING_US: i64 = 500_000;
/// A run without complete feedback within this time is evaluated as it is.
const MAX_AWAITING_US: i64 = 1_000_000;
/// Packets sent within this time count as one burst.
const BURST_US: i64 = 1_000;

/// Minimum percentage of a run's packets that must arrive.
const SOUND_PERCENT: u32 = 80;
const CLEAN_PERCENT: u32 = 95;
/// If packets arrive faster than this, compared with sending, the receiver was asleep, and the run proves nothing.
const MAX_COMPRESSION: u64 = 2;
/// If the received rate is below this percentage of the sent rate, it is the capacity of the path, of which
/// `SATURATED_TAKE_PERCENT` is used.
const SATURATED_PERCENT: u64 = 90;
const SATURATED_TAKE_PERCENT: u64 = 95;
/// A run whose received rate is at least this percentage of its rate is followed by a faster one.
const PASSED_PERCENT: u64 = 70;

/// Rates of the first runs as multiples of the initial estimate; of later ones as multiples of the estimate.
const FIRST_FACTORS: [u64; 2] = [3, 6];
const FACTOR: u64 = 2;
/// Rate of a run in percent of its target, so that the result is not just below the target.
const DESIRED_PERCENT: u64 = 115;
/// Pause after a failed run; doubled after each failure, up to the maximum.
const FIRST_PAUSE_US: i64 = 1_250_000;
const MAX_PAUSE_US: i64 = 5_000_000;

/// Starts and evaluates the runs, one after the other.
#[derive(Debug)]
pub(super) struct Prober {
    initial_bps: u64,
    /// Number of probe runs so far.
    runs: usize,
    last_cluster: u8,
    pause_us: i64,
    state: State,
}

/// Result of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) bps: u64,
    /// True when the required percentage of the run arrived.
    pub(super) is_clean: bool,
}

#[derive(Debug)]
enum State {
    Idle { next_us: i64 },
    Sending { run: Run, next_us: i64 },
    Awaiting { run: Run, since_us: i64 },
}

#[derive(Debug, Clone, Copy, Default)]
struct Run {
    cluster: u8,
    target_bps: u64,
    began_us: i64,
    /// Time of the next attempt if the sender did not send the requested padding.
    asked_us: i64,
    sent_packets: u32,
    sent_bytes: u64,
    lost: u32,
    arrived: Arrived,
}

/// Received packets of a run.
#[derive(Debug, Clone, Copy, Default)]
struct Arrived {
    packets: u32,
    bytes: u64,
    first_sent_us: i64,
    /// Arrival of the last burst.
    last_burst_us: i64,
    last_burst_bytes: u64,
    first_us: i64,
    first_bytes: u64,
    last_us: i64,
}

impl Prober {
    pub(super) fn new(initial_bps: u64) -> Self {
        Self {
            initial_bps,
            runs: 0,
            last_cluster: 0,
            pause_us: FIRST_PAUSE_US,
            state: State::Idle { next_us: 0 },
        }
    }

    /// True if no run was started yet.
    pub(super) fn is_new(&self) -> bool {
        self.runs == 0
    }

    /// True while a run is on the path. The run itself causes a short queue.
    pub(super) fn is_out(&self) -> bool {
        match self.state {
            State::Idle { .. } => false,
            State::Sending { .. } | State::Awaiting { .. } => true,
        }
    }

    /// True when at least one packet of the current run was sent, but not all.
    pub(super) fn has_begun(&self) -> bool {
        match &self.state {
            State::Sending { run, .. } => run.sent_packets > 0,
            State::Idle { .. } | State::Awaiting { .. } => false,
        }
    }

    /// Starts a run, if one is due.
    pub(super) fn start(&mut self, estimate_bps: u64, desired_bps: u64, now_us: i64) {
        let State::Idle { next_us } = self.state else {
            return;
        };
        if now_us < next_us {
            return;
        }
        let bps = match FIRST_FACTORS.get(self.runs) {
            Some(factor) => (self.initial_bps * factor).max(estimate_bps * FACTOR),
            None => estimate_bps * FACTOR,
        };
        self.runs += 1;
        self.last_cluster = self.last_cluster.checked_add(1).unwrap_or(1);
        let run = Run {
            cluster: self.last_cluster,
            target_bps: bps.min(desired_bps.saturating_mul(DESIRED_PERCENT) / 100),
            began_us: now_us,
            ..Run::default()
        };
        let next_us = now_us;
        self.state = State::Sending { run, next_us };
    }

    /// Bytes that the run must send now.
    pub(super) fn due(&mut self, now_us: i64) -> u64 {
        let State::Sending { run, next_us } = &mut self.state else {
            return 0;
        };
        if now_us < *next_us {
            return 0;
        }
        let due = run.due(now_us);
        let step_us = run.step_us() as i64;
        run.asked_us = now_us + step_us;
        if due == 0 {
            *next_us = run.asked_us;
        }
        due
    }

    /// Records a sent packet. Returns the number of its run; 0 if it belongs to none.
    pub(super) fn sent(&mut self, bytes: usize, now_us: i64) -> u8 {
        let State::Sending { run, .. } = &mut self.state else {
            return 0;
        };
        if run.sent_packets == 0 {
            run.began_us = now_us;
        }
        run.sent_packets += 1;
        run.sent_bytes += bytes as u64;
        let cluster = run.cluster;
        if run.is_complete(now_us) {
            let run = *run;
            let since_us = now_us;
            self.state = State::Awaiting { run, since_us };
        }
        cluster
    }

    pub(super) fn arrived(&mut self, packet: &Packet, at_us: i64) {
        if let Some(run) = self.run_of(packet) {
            run.lost -= u32::from(packet.was_lost).min(run.lost);
            run.arrived.add(packet, at_us);
        }
    }

    pub(super) fn lost(&mut self, packet: &Packet) {
        if let Some(run) = self.run_of(packet) {
            run.lost += 1;
        }
    }

    /// Result of the run, when all feedback has arrived or the time limit has passed. The next run is scheduled.
    pub(super) fn conclude(&mut self, now_us: i64) -> Option<Proof> {
        let run = match self.state {
            State::Awaiting { run, since_us }
                if run.is_known() || now_us - since_us >= MAX_AWAITING_US =>
            {
                run
            }
            State::Sending { run, .. } if now_us - run.began_us >= MAX_SENDING_US => {
                self.state = State::Idle {
                    next_us: now_us + MAX_PAUSE_US,
                };
                return run.proof();
            }
            State::Idle { .. } | State::Sending { .. } | State::Awaiting { .. } => return None,
        };
        let proof = run.proof();
        let passed = proof.is_some_and(|proof| proof.bps >= run.target_bps * PASSED_PERCENT / 100);
        let pause_us = if passed {
            self.pause_us = FIRST_PAUSE_US;
            0
        } else {
            let pause_us = self.pause_us;
            // After lost feedback the pause is not doubled.
            if run.is_known() {
                self.pause_us = (pause_us * 2).min(MAX_PAUSE_US);
            }
            pause_us
        };
        self.state = State::Idle {
            next_us: now_us + pause_us,
        };
        proof
    }

    /// Time of the next work. `wanted`: a higher rate would be useful.
    pub(super) fn deadline_us(&self, wanted: bool) -> Option<i64> {
        match &self.state {
            State::Idle { next_us } => wanted.then_some(*next_us),
            State::Sending { run, next_us } => {
                let ask_us = (*next_us).max(run.asked_us);
                Some(ask_us.min(run.began_us + MAX_SENDING_US))
            }
            State::Awaiting { since_us, .. } => Some(since_us + MAX_AWAITING_US),
        }
    }

    fn run_of(&mut self, packet: &Packet) -> Option<&mut Run> {
        match &mut self.state {
            State::Idle { .. } => None,
            State::Sending { run, .. } | State::Awaiting { run, .. } => {
                (run.cluster == packet.cluster).then_some(run)
            }
        }
    }
}

impl Run {
    fn step_us(&self) -> u64 {
        (MIN_STEP_BYTES * 8_000_000 / self.target_bps.max(1)).max(STEP_US)
    }

    fn goal_bytes(&self) -> u64 {
        let by_time = self.target_bps * RUN_US / 8_000_000;
        by_time.max(MIN_STEP_BYTES * u64::from(MIN_PACKETS))
    }

    fn due(&self, now_us: i64) -> u64 {
        let passed_us = (now_us - self.began_us).max(0) as u64;
        let allowed = self.target_bps * (passed_us + self.step_us()) / 8_000_000;
        let left = self.goal_bytes().saturating_sub(self.sent_bytes);
        match allowed.saturating_sub(self.sent_bytes) {
            0..MIN_STEP_BYTES => 0,
            due => due.min(left.max(MIN_STEP_BYTES)),
        }
    }

    fn is_complete(&self, now_us: i64) -> bool {
        self.sent_packets >= MIN_PACKETS
            && self.sent_bytes >= self.goal_bytes()
            && now_us - self.began_us >= MIN_SPAN_US
    }

    fn is_known(&self) -> bool {
        self.lost + self.arrived.packets >= self.sent_packets
    }

    /// Result of the run; `None` if too few packets arrived, or in a way that proves nothing.
    fn proof(&self) -> Option<Proof> {
        let Arrived { packets, .. } = self.arrived;
        if packets * 100 < self.sent_packets * SOUND_PERCENT || packets < MIN_PACKETS - 1 {
            return None;
        }
        let (sent_bps, arrived_bps) = self.arrived.rates()?;
        if arrived_bps > sent_bps * MAX_COMPRESSION {
            return None;
        }
        let bps = match arrived_bps * 100 < sent_bps * SATURATED_PERCENT {
            true => arrived_bps * SATURATED_TAKE_PERCENT / 100,
            false => arrived_bps.min(sent_bps),
        };
        let is_clean = packets * 100 >= self.sent_packets * CLEAN_PERCENT;
        Some(Proof { bps, is_clean })
    }
}

impl Arrived {
    fn add(&mut self, packet: &Packet, at_us: i64) {
        let bytes = u64::from(packet.bytes);
        if self.packets == 0 {
            self.first_sent_us = packet.sent_us;
            self.last_burst_us = packet.sent_us;
            self.first_us = at_us;
            self.first_bytes = bytes;
            self.last_us = at_us;
        }
        self.packets += 1;
        self.bytes += bytes;
        self.first_sent_us = self.first_sent_us.min(packet.sent_us);
        if packet.sent_us > self.last_burst_us + BURST_US {
            self.last_burst_us = packet.sent_us;
            self.last_burst_bytes = 0;
        }
        if packet.sent_us >= self.last_burst_us {
            self.last_burst_bytes += bytes;
        }
        if at_us < self.first_us {
            self.first_us = at_us;
            self.first_bytes = bytes;
        }
        self.last_us = self.last_us.max(at_us);
    }

    /// Sent and received rate in bits per second. The bytes of the first burst (received) and of the last one (sent)
    /// are not counted, because they are outside of the measured time.
    fn rates(&self) -> Option<(u64, u64)> {
        let sent_us = u64::try_from(self.last_burst_us - self.first_sent_us).ok()?;
        let arrived_us = u64::try_from(self.last_us - self.first_us).ok()?;
        let bps = |bytes: u64, span_us: u64| (bytes * 8_000_000).checked_div(span_us);
        Some((
            bps(self.bytes - self.last_burst_bytes, sent_us)?,
            bps(self.bytes - self.first_bytes, arrived_us)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET_BPS: u64 = 900_000;

    /// The result of the first run on a path on which packet `n` arrives at `arrival(n, sent)`, or is lost.
    fn proof(arrival: impl Fn(u32, i64) -> Option<i64>) -> Option<Proof> {
        let mut prober = Prober::new(TARGET_BPS / FIRST_FACTORS[0]);
        prober.start(TARGET_BPS / FIRST_FACTORS[0], 10_000_000, 0);
        let mut packets = 0;
        for now_us in (0..100_000).step_by(1_000) {
            while prober.due(now_us) > 0 {
                let cluster = prober.sent(300, now_us);
                let packet = Packet {
                    sent_us: now_us,
                    bytes: 300,
                    cluster,
                    was_lost: false,
                    was_skipped: false,
                };
                match arrival(packets, now_us) {
                    Some(at_us) => prober.arrived(&packet, at_us),
                    None => prober.lost(&packet),
                }
                packets += 1;
            }
        }
        assert!((12..=16).contains(&packets), "{packets}");
        let proof = prober.conclude(2_000_000);
        assert_eq!(prober.conclude(2_000_000), None);
        proof
    }

    #[test]
    fn a_run_proves_the_slower_of_sending_and_arriving() {
        let bps = |arrival: &dyn Fn(u32, i64) -> Option<i64>| proof(arrival).map(|proof| proof.bps);
        let free = bps(&|_, sent_us| Some(sent_us + 40_000)).unwrap();
        assert!((800_000..=1_000_000).contains(&free), "{free}");
        // 300 bytes in 4.8 ms: 500 kb/s.
        let narrow = bps(&|packet, _| Some(i64::from(packet) * 4_800)).unwrap();
        assert_eq!(narrow, 475_000);
        assert_eq!(bps(&|_, _| Some(500_000)), None, "all at once");
        assert_eq!(bps(&|packet, _| Some(i64::from(packet) * 100)), None);
        let lossy =
            |one_of: u32| move |n: u32, sent_us| (!n.is_multiple_of(one_of)).then_some(sent_us);
        assert_eq!(proof(lossy(4)), None);
        assert!(!proof(lossy(7)).unwrap().is_clean);
    }

    #[test]
    fn a_sender_that_cannot_send_padding_is_not_asked_for_long() {
        let mut prober = Prober::new(300_000);
        let mut asked = 0;
        for now_us in (0..20_000_000).step_by(1_000) {
            if prober
                .deadline_us(true)
                .is_some_and(|at_us| at_us <= now_us)
            {
                assert_eq!(prober.conclude(now_us), None);
                prober.start(300_000, 2_000_000, now_us);
                asked += u32::from(prober.due(now_us) > 0);
            }
        }
        assert!((1..=500).contains(&asked), "{asked} times in 20 s");
    }
}
