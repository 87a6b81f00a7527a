//! Cost of an attacking byte for the data plane and for other participants. Ten attackers send 20
//! Mbit/s in total; for comparison the same bytes go to a port that discards them.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use spillway_tests::attacker::{AttackedNode, AttackerSession, Flood, FloodEffect, check};
use spillway_tests::call::put_publish;
use spillway_wire::stun::kinds;

use super::{ATTEMPTS, MORE_LOSS, SECOND, listening, row};

const GUESTS: usize = 10;
const BPS: u64 = 20_000_000;
const FLOOD_TIME: Duration = SECOND.saturating_mul(2);
/// Permitted CPU time per byte of UDP payload, for long datagrams.
const LONG_NS_PER_BYTE: f64 = 60.0;
/// The same for datagrams of about 100 bytes: receiving one from the kernel costs some
/// microseconds, independent of its size.
const SHORT_NS_PER_BYTE: f64 = 250.0;
/// Permitted ratio of the costs per byte at the full and at half the rate; both should be equal.
const NONLINEAR: f64 = 2.0;

/// Function that writes datagram `number` of attacker `guest`.
type Write = Arc<dyn Fn(u64, &mut AttackerSession, &mut Vec<u8>) + Send + Sync>;

/// Attackers, and the function that writes their datagrams.
#[derive(Clone)]
struct Attack {
    attackers: Arc<Mutex<Vec<AttackerSession>>>,
    write: Write,
    /// Sending sockets, if they are not the attackers' own.
    others: Option<Arc<Vec<UdpSocket>>>,
    server: SocketAddr,
}

impl Attack {
    fn new(
        attackers: Vec<AttackerSession>,
        write: impl Fn(u64, &mut AttackerSession, &mut Vec<u8>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            server: attackers[0].server,
            attackers: Arc::new(Mutex::new(attackers)),
            write: Arc::new(write),
            others: None,
        }
    }

    fn flood(&self, target: SocketAddr, bps: u64) -> anyhow::Result<Flood> {
        let attackers = Arc::clone(&self.attackers);
        let write = Arc::clone(&self.write);
        let guests = attackers.lock().expect("nobody panics with it");
        let own = guests.iter().map(|attacker| attacker.socket.try_clone());
        let sockets: Vec<UdpSocket> = match &self.others {
            Some(others) => others
                .iter()
                .map(UdpSocket::try_clone)
                .collect::<Result<_, _>>()?,
            None => own.collect::<Result<_, _>>()?,
        };
        let (count, from) = (guests.len() as u64, sockets.len() as u64);
        drop(guests);
        Ok(Flood {
            target,
            bps,
            next: Box::new(move |number, datagram| {
                let mut attackers = attackers.lock().expect("nobody panics with it");
                write(number, &mut attackers[(number % count) as usize], datagram);
                (number % from) as usize
            }),
            sockets,
        })
    }
}

/// Checks that other participants lose no more than in the comparison, and that the cost per byte
/// is low and independent of the rate.
async fn is_bounded(
    name: &str,
    limit: f64,
    attacked: &mut AttackedNode,
    attack: &Attack,
) -> anyhow::Result<()> {
    // A socket that is not read: the kernel drops datagrams when its buffer is full.
    let discard = UdpSocket::bind("127.0.0.1:0")?;
    let to_nobody = discard.local_addr()?;
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let control = attacked
            .run_with_flood(attack.flood(to_nobody, BPS)?, FLOOD_TIME)
            .await?;
        let half = attacked
            .run_with_flood(attack.flood(attack.server, BPS / 2)?, FLOOD_TIME)
            .await?;
        let full = attacked
            .run_with_flood(attack.flood(attack.server, BPS)?, FLOOD_TIME)
            .await?;
        let (at_half, at_full) = (half.ns_per_byte(&control), full.ns_per_byte(&control));
        last = figures(&control, &full, at_half, at_full);
        let is_cheap = at_full.max(at_half) <= limit;
        // A cost near zero consists of noise.
        let is_linear = at_full <= NONLINEAR * at_half.max(limit / 5.0);
        if full.loss <= control.loss + MORE_LOSS && is_cheap && is_linear {
            row(name, &last);
            return Ok(());
        }
    }
    anyhow::bail!("{name}: {last}")
}

fn figures(control: &FloodEffect, full: &FloodEffect, at_half: f64, at_full: f64) -> String {
    format!(
        "\"bytes\":{},\"loss\":{:.4},\"control_loss\":{:.4},\"ns_per_byte_half\":{at_half:.0},\"ns_per_byte\":{at_full:.0}",
        full.bytes, full.loss, control.loss
    )
}

/// Seals `compound` as SRTCP of an attacker.
fn rtcp(attacker: &mut AttackerSession, compound: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(compound);
    out.resize(compound.len() + 64, 0);
    let length = attacker.sealer.seal_rtcp(out, compound.len());
    out.truncate(length);
}

/// Transport-wide feedback that reports `count` packets from `base` on as lost.
fn feedback(base: u16, count: u16) -> Vec<u8> {
    let mut bytes = vec![0x8f, 205, 0, 0, 0, 0, 0, 9, 0, 0, 0, 7];
    bytes.extend(base.to_be_bytes());
    bytes.extend(count.to_be_bytes());
    bytes.extend([0, 0, 0, 0]);
    let mut left = count;
    while left > 0 {
        let run = left.min(0x1fff);
        bytes.extend(run.to_be_bytes());
        left -= run;
    }
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes[3] = (bytes.len() / 4 - 1) as u8;
    bytes
}

#[tokio::test]
async fn feedback_costs_what_its_bytes_are_worth() -> anyhow::Result<()> {
    let mut attacked = AttackedNode::start(3).await?;
    let attackers = attacked.hostile_subscribers(GUESTS).await?;
    let attack = Attack::new(attackers, |number, attacker, out| {
        let base = fastrand::u16(..);
        let compound = match number % 4 {
            0 | 1 => feedback(base, 65_535),
            2 => feedback(base, 2_000),
            _ => (0..40)
                .flat_map(|part| feedback(base.wrapping_add(part), 2_000))
                .collect(),
        };
        rtcp(attacker, &compound, out);
    });
    is_bounded("feedback", LONG_NS_PER_BYTE, &mut attacked, &attack).await
}

#[tokio::test]
async fn requests_for_packets_and_pictures_cost_what_their_bytes_are_worth() -> anyhow::Result<()> {
    let mut attacked = AttackedNode::start(3).await?;
    let attackers = attacked.hostile_subscribers(GUESTS).await?;
    let attack = Attack::new(attackers, |number, attacker, out| {
        let ssrc = attacker.media_ssrc.to_be_bytes();
        let mut compound = Vec::new();
        if number % 2 == 0 {
            compound.extend([0x81, 205, 0, 252, 0, 0, 0, 9]);
            compound.extend(ssrc);
            (0..250_u32)
                .for_each(|_| compound.extend([fastrand::u8(..), fastrand::u8(..), 0xff, 0xff]));
        } else {
            for _ in 0..90 {
                compound.extend([0x81, 206, 0, 2, 0, 0, 0, 9]);
                compound.extend(ssrc);
            }
        }
        rtcp(attacker, &compound, out);
    });
    is_bounded("requests", LONG_NS_PER_BYTE, &mut attacked, &attack).await
}

#[tokio::test]
async fn new_ssrcs_cost_the_same_however_many_there_were() -> anyhow::Result<()> {
    let mut attacked = AttackedNode::start(3).await?;
    let attackers = attacked.hostile_publishers(GUESTS).await?;
    let attack = Attack::new(attackers, |number, attacker, out| {
        let ssrc = 0x1000_0000 + number as u32;
        let (mid, payload_type) = attacker.audio.clone();
        out.extend([0x90, payload_type, 0, 1, 0, 0, 0, 1]);
        out.extend(ssrc.to_be_bytes());
        out.extend([0xbe, 0xde, 0, 2]);
        // Ids of header extensions in the session layer of these clients.
        let header = out.len();
        out.push(4 << 4 | (mid.len() - 1) as u8);
        out.extend(mid.as_bytes());
        out.resize(header + 8, 0);
        let header = out.len();
        out.resize(header + 60 + attacker.sealer.rtp_overhead(), 7);
        attacker.sealer.seal_rtp(out, header, ssrc, 1);
    });
    is_bounded("rotating_ssrc", SHORT_NS_PER_BYTE, &mut attacked, &attack).await
}

#[tokio::test]
async fn checks_from_everywhere_cost_what_their_bytes_are_worth() -> anyhow::Result<()> {
    let mut attacked = AttackedNode::start(3).await?;
    let attackers = attacked.hostile_subscribers(GUESTS).await?;
    let mut attack = Attack::new(attackers, |number, attacker, out| {
        let use_candidate: (u16, &[u8]) = (kinds::USE_CANDIDATE, &[]);
        let with = if number % 2 == 0 {
            &[use_candidate][..]
        } else {
            &[]
        };
        out.extend(check(&attacker.credentials, with));
    });
    let others = (0..200).map(|number| listening(&format!("127.0.1.{}", number + 1)));
    attack.others = Some(Arc::new(others.collect::<anyhow::Result<_>>()?));
    is_bounded("checks", SHORT_NS_PER_BYTE, &mut attacked, &attack).await
}

#[tokio::test]
async fn broken_handshakes_cost_what_their_bytes_are_worth() -> anyhow::Result<()> {
    let mut attacked = AttackedNode::start(3).await?;
    let attackers = attacked.hostile_subscribers(GUESTS).await?;
    let attack = Attack::new(attackers, |number, _, out| {
        // DTLS records in the clear: fragments with a large message length, and alerts.
        let kind = [22, 22, 21, 20][(number % 4) as usize];
        for part in 0..8_u8 {
            let body: Vec<u8> = (0..100).map(|_| fastrand::u8(..)).collect();
            out.extend([kind, 254, 253, 0, 0, 0, 0, 0, 0, number as u8, part, 0, 112]);
            out.extend([1, 0xff, 0xff, 0xff, 0, part, 0, 0, 0, 0, 0, 100]);
            out.extend(body);
        }
    });
    is_bounded("handshakes", LONG_NS_PER_BYTE, &mut attacked, &attack).await
}

#[tokio::test]
async fn offers_cost_what_their_bytes_are_worth() -> anyhow::Result<()> {
    let mut attacked = AttackedNode::start(3).await?;
    let honest = attacked.publishers[0].offer.clone();
    let mut last = String::new();
    for attempt in 0..ATTEMPTS {
        let quiet = attacked.run_with_flood(Flood::none()?, FLOOD_TIME).await?;
        attacked.start_counting();
        let before = attacked.node.cpu_time()?;
        let (mut bytes, mut refused) = (0, 0);
        for number in 0..40 {
            let lines = match number % 4 {
                0 => "a=ssrc:NUMBER cname:x\r\n"
                    .repeat(11_000)
                    .replace("NUMBER", &number.to_string()),
                1 => (0..63)
                    .map(|ssrc| format!("a=ssrc:{} cname:x\r\n", ssrc + 1))
                    .collect(),
                2 => (0..400).map(|line| format!("a=x-{line}:y\r\n")).collect(),
                _ => (0..400)
                    .map(|line| format!("a=rid:r{line} send\r\n"))
                    .collect(),
            };
            let offer = format!("{honest}{lines}");
            bytes += offer.len();
            let request = put_publish(&format!("offer-{attempt}-{}", number % 10), &offer, vec![]);
            refused += usize::from(attacked.node.client.put_publish(request).await.is_err());
            attacked.step(Duration::from_millis(50)).await?;
        }
        let cpu = attacked.node.cpu_time()? - before;
        let cpu = cpu.saturating_sub(quiet.cpu);
        let ns_per_byte = cpu.as_nanos() as f64 / bytes as f64;
        let loss = attacked.loss().await?;
        last = format!(
            "\"bytes\":{bytes},\"refused\":{refused},\"loss\":{loss:.4},\"control_loss\":{:.4},\"ns_per_byte\":{ns_per_byte:.0}",
            quiet.loss
        );
        if loss <= quiet.loss + MORE_LOSS && ns_per_byte <= LONG_NS_PER_BYTE && refused >= 10 {
            row("offers", &last);
            return Ok(());
        }
    }
    anyhow::bail!("offers: {last}")
}
