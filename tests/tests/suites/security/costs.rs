//! Cost of an attacking byte for the data plane and for others: ten participants at 20 Mb/s in all, beside the same
//! bytes sent to a port that discards them.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use spillway_tests::attacker::{Damage, Flood, Scene, Weapon, check};
use spillway_tests::call::put_publish;
use spillway_wire::stun::kinds;

use super::{ATTEMPTS, MORE_LOSS, SECOND, listening, row};

const GUESTS: usize = 10;
const BPS: u64 = 20_000_000;
const FLOOD_TIME: Duration = SECOND.saturating_mul(2);
/// Processor time for a byte of UDP payload, where datagrams are long.
const LONG_NS_PER_BYTE: f64 = 60.0;
/// The same, of datagrams of some 100 bytes: each costs some microseconds to take from the kernel, whatever is in it.
const SHORT_NS_PER_BYTE: f64 = 250.0;
/// At twice the rate a byte costs as much, but for noise.
const NONLINEAR: f64 = 2.0;

/// Writes datagram `number` of guest `guest`.
type Write = Arc<dyn Fn(u64, &mut Weapon, &mut Vec<u8>) + Send + Sync>;

/// Guests with a way to write datagrams.
#[derive(Clone)]
struct Attack {
    weapons: Arc<Mutex<Vec<Weapon>>>,
    write: Write,
    /// Where the datagrams come from, if not from the guests' own addresses.
    others: Option<Arc<Vec<UdpSocket>>>,
    server: SocketAddr,
}

impl Attack {
    fn new(
        weapons: Vec<Weapon>,
        write: impl Fn(u64, &mut Weapon, &mut Vec<u8>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            server: weapons[0].server,
            weapons: Arc::new(Mutex::new(weapons)),
            write: Arc::new(write),
            others: None,
        }
    }

    fn flood(&self, target: SocketAddr, bps: u64) -> anyhow::Result<Flood> {
        let weapons = Arc::clone(&self.weapons);
        let write = Arc::clone(&self.write);
        let guests = weapons.lock().expect("nobody panics with it");
        let own = guests.iter().map(|weapon| weapon.socket.try_clone());
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
                let mut weapons = weapons.lock().expect("nobody panics with it");
                write(number, &mut weapons[(number % count) as usize], datagram);
                (number % from) as usize
            }),
            sockets,
        })
    }
}

/// Other participants lose no more than beside the same bytes to an unused address, and a byte costs little in any
/// number.
async fn is_bounded(
    name: &str,
    limit: f64,
    scene: &mut Scene,
    attack: &Attack,
) -> anyhow::Result<()> {
    // A socket that is not read: the kernel discards datagrams beyond its buffer.
    let discard = UdpSocket::bind("127.0.0.1:0")?;
    let to_nobody = discard.local_addr()?;
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let control = scene
            .suffer(attack.flood(to_nobody, BPS)?, FLOOD_TIME)
            .await?;
        let half = scene
            .suffer(attack.flood(attack.server, BPS / 2)?, FLOOD_TIME)
            .await?;
        let full = scene
            .suffer(attack.flood(attack.server, BPS)?, FLOOD_TIME)
            .await?;
        let (at_half, at_full) = (half.ns_per_byte(&control), full.ns_per_byte(&control));
        last = figures(&control, &full, at_half, at_full);
        let is_cheap = at_full.max(at_half) <= limit;
        // What costs next to nothing is all noise.
        let is_linear = at_full <= NONLINEAR * at_half.max(limit / 5.0);
        if full.loss <= control.loss + MORE_LOSS && is_cheap && is_linear {
            row(name, &last);
            return Ok(());
        }
    }
    anyhow::bail!("{name}: {last}")
}

fn figures(control: &Damage, full: &Damage, at_half: f64, at_full: f64) -> String {
    format!(
        "\"bytes\":{},\"loss\":{:.4},\"control_loss\":{:.4},\"ns_per_byte_half\":{at_half:.0},\"ns_per_byte\":{at_full:.0}",
        full.bytes, full.loss, control.loss
    )
}

/// Seals `compound` as a guest's SRTCP.
fn rtcp(weapon: &mut Weapon, compound: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(compound);
    out.resize(compound.len() + 64, 0);
    let length = weapon.sealer.seal_rtcp(out, compound.len());
    out.truncate(length);
}

/// A feedback about `count` packets from `base` on, none of which arrived.
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
    let mut scene = Scene::start(3).await?;
    let weapons = scene.hostile_subscribers(GUESTS).await?;
    let attack = Attack::new(weapons, |number, weapon, out| {
        let base = fastrand::u16(..);
        let compound = match number % 4 {
            0 | 1 => feedback(base, 65_535),
            2 => feedback(base, 2_000),
            _ => (0..40)
                .flat_map(|part| feedback(base.wrapping_add(part), 2_000))
                .collect(),
        };
        rtcp(weapon, &compound, out);
    });
    is_bounded("feedback", LONG_NS_PER_BYTE, &mut scene, &attack).await
}

#[tokio::test]
async fn requests_for_packets_and_pictures_cost_what_their_bytes_are_worth() -> anyhow::Result<()> {
    let mut scene = Scene::start(3).await?;
    let weapons = scene.hostile_subscribers(GUESTS).await?;
    let attack = Attack::new(weapons, |number, weapon, out| {
        let ssrc = weapon.media_ssrc.to_be_bytes();
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
        rtcp(weapon, &compound, out);
    });
    is_bounded("requests", LONG_NS_PER_BYTE, &mut scene, &attack).await
}

#[tokio::test]
async fn new_ssrcs_cost_the_same_however_many_there_were() -> anyhow::Result<()> {
    let mut scene = Scene::start(3).await?;
    let weapons = scene.hostile_publishers(GUESTS).await?;
    let attack = Attack::new(weapons, |number, weapon, out| {
        let ssrc = 0x1000_0000 + number as u32;
        let (mid, payload_type) = weapon.audio.clone();
        out.extend([0x90, payload_type, 0, 1, 0, 0, 0, 1]);
        out.extend(ssrc.to_be_bytes());
        out.extend([0xbe, 0xde, 0, 2]);
        // The session layer of these clients numbers its header extensions so.
        let header = out.len();
        out.push(4 << 4 | (mid.len() - 1) as u8);
        out.extend(mid.as_bytes());
        out.resize(header + 8, 0);
        let header = out.len();
        out.resize(header + 60 + weapon.sealer.rtp_overhead(), 7);
        weapon.sealer.seal_rtp(out, header, ssrc, 1);
    });
    is_bounded("rotating_ssrc", SHORT_NS_PER_BYTE, &mut scene, &attack).await
}

#[tokio::test]
async fn checks_from_everywhere_cost_what_their_bytes_are_worth() -> anyhow::Result<()> {
    let mut scene = Scene::start(3).await?;
    let weapons = scene.hostile_subscribers(GUESTS).await?;
    let mut attack = Attack::new(weapons, |number, weapon, out| {
        let use_candidate: (u16, &[u8]) = (kinds::USE_CANDIDATE, &[]);
        let with = if number % 2 == 0 {
            &[use_candidate][..]
        } else {
            &[]
        };
        out.extend(check(&weapon.credentials, with));
    });
    let others = (0..200).map(|number| listening(&format!("127.0.1.{}", number + 1)));
    attack.others = Some(Arc::new(others.collect::<anyhow::Result<_>>()?));
    is_bounded("checks", SHORT_NS_PER_BYTE, &mut scene, &attack).await
}

#[tokio::test]
async fn broken_handshakes_cost_what_their_bytes_are_worth() -> anyhow::Result<()> {
    let mut scene = Scene::start(3).await?;
    let weapons = scene.hostile_subscribers(GUESTS).await?;
    let attack = Attack::new(weapons, |number, _, out| {
        // Records of a handshake in the clear, fragments of messages that claim to be long, and alerts.
        let kind = [22, 22, 21, 20][(number % 4) as usize];
        for part in 0..8_u8 {
            let body: Vec<u8> = (0..100).map(|_| fastrand::u8(..)).collect();
            out.extend([kind, 254, 253, 0, 0, 0, 0, 0, 0, number as u8, part, 0, 112]);
            out.extend([1, 0xff, 0xff, 0xff, 0, part, 0, 0, 0, 0, 0, 100]);
            out.extend(body);
        }
    });
    is_bounded("handshakes", LONG_NS_PER_BYTE, &mut scene, &attack).await
}

#[tokio::test]
async fn offers_cost_what_their_bytes_are_worth() -> anyhow::Result<()> {
    let mut scene = Scene::start(3).await?;
    let honest = scene.publishers[0].offer.clone();
    let mut last = String::new();
    for attempt in 0..ATTEMPTS {
        let quiet = scene.suffer(Flood::none()?, FLOOD_TIME).await?;
        scene.forget();
        let before = scene.node.cpu_time()?;
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
            refused += usize::from(scene.node.client.put_publish(request).await.is_err());
            scene.step(Duration::from_millis(50)).await?;
        }
        let cpu = scene.node.cpu_time()? - before;
        let cpu = cpu.saturating_sub(quiet.cpu);
        let ns_per_byte = cpu.as_nanos() as f64 / bytes as f64;
        let loss = scene.loss().await?;
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
