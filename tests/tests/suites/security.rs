//! Attacks of participants, and of hosts that forge source addresses, on the calls of other
//! participants. Losses are compared with a time without an attack. Costs are in [`costs`].

mod costs; // floods, compared with the same bytes to a port that discards them

use std::net::UdpSocket;
use std::time::Duration;

use spillway_tests::attacker::{AttackedNode, Flood, check};
use spillway_tests::call::put_publish;
use spillway_wire::stun::kinds;

const SECOND: Duration = Duration::from_secs(1);
/// Permitted additional loss during an attack.
const MORE_LOSS: f64 = 0.001;
/// Permitted bytes to an unproven address, per byte received from there.
const AMPLIFICATION: usize = 3;
/// Number of attempts. One must pass, because disturbances of the host can only increase the
/// result.
const ATTEMPTS: usize = 3;

/// Prints a row of the table at the end of `scripts/test security`.
fn row(name: &str, figures: &str) {
    println!("security-row {name} {{{figures}}}");
}

fn listening(ip: &str) -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind((ip, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn nomination(credentials: &(String, String, String)) -> Vec<u8> {
    let use_candidate: (u16, &[u8]) = (kinds::USE_CANDIDATE, &[]);
    check(credentials, &[use_candidate])
}

#[tokio::test]
async fn a_forged_check_draws_no_media_to_a_stranger() -> anyhow::Result<()> {
    let mut attacked = AttackedNode::start(1).await?;
    let attackers = attacked.hostile_subscribers(1).await?;
    let check = nomination(&attackers[0].credentials);
    let victim = listening("127.0.0.9")?;
    let (mut sent, mut received) = (0, 0);
    let mut buffer = [0; 2_048];
    for round in 0..300 {
        if round < 8 {
            sent += victim.send_to(&check, attackers[0].server)?;
        }
        attacked.step(Duration::from_millis(10)).await?;
        while let Ok(length) = victim.recv(&mut buffer) {
            received += length;
        }
    }
    row(
        "reflection",
        &format!("\"bytes_in\":{sent},\"bytes_out\":{received}"),
    );
    anyhow::ensure!(received > 0, "the checks were not even answered");
    anyhow::ensure!(
        received <= AMPLIFICATION * sent,
        "{received} bytes went to an address that {sent} came from"
    );
    Ok(())
}

/// Compares the losses of other participants during `attack` with those before.
async fn loses_nothing(
    name: &str,
    attacked: &mut AttackedNode,
    mut attack: impl AsyncFnMut(&mut AttackedNode) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut last = (0.0, 0.0);
    for _ in 0..ATTEMPTS {
        let quiet = attacked.run_with_flood(Flood::none()?, SECOND * 2).await?;
        attacked.start_counting();
        for _ in 0..40 {
            attack(attacked).await?;
            attacked.step(Duration::from_millis(50)).await?;
        }
        let attacked = attacked.loss().await?;
        last = (attacked, quiet.loss);
        if attacked <= quiet.loss + MORE_LOSS {
            let (loss, control) = last;
            row(
                name,
                &format!("\"loss\":{loss:.4},\"control_loss\":{control:.4}"),
            );
            return Ok(());
        }
    }
    anyhow::bail!(
        "{name}: others lost {:.4}, without the attack {:.4}",
        last.0,
        last.1
    )
}

#[tokio::test]
async fn a_check_of_another_session_takes_no_address_from_a_call() -> anyhow::Result<()> {
    let mut attacked = AttackedNode::start(2).await?;
    let attackers = attacked.hostile_subscribers(1).await?;
    let check = nomination(&attackers[0].credentials);
    loses_nothing(
        "address_takeover",
        &mut attacked,
        async |attacked: &mut AttackedNode| {
            for _ in 0..4 {
                attacked.subscribers[0].link.inject(&check).await?;
                attacked.publishers[1].link.inject(&check).await?;
            }
            Ok(())
        },
    )
    .await?;
    let kept = attacked
        .node
        .counter("drops_total", "reason=\"address_in_use\"")?;
    anyhow::ensure!(kept > 0.0, "the attack did not reach what it is about");
    Ok(())
}

#[tokio::test]
async fn a_forged_packet_silences_no_track() -> anyhow::Result<()> {
    let mut attacked = AttackedNode::start(2).await?;
    let mut number = 0_u32;
    loses_nothing(
        "forged_media",
        &mut attacked,
        async |attacked: &mut AttackedNode| {
            for publisher in &mut attacked.publishers {
                let mids = publisher.mids();
                for (mid, payload_type) in mids {
                    for id in 1..=14_u8 {
                        number += 1;
                        let mut packet = vec![0x90, payload_type, 0, 1, 0, 0, 0, 1];
                        packet.extend((0x7000_0000 + number).to_be_bytes());
                        packet.extend([0xbe, 0xde, 0, 2]);
                        let mut extension = vec![id << 4 | (mid.len() - 1) as u8];
                        extension.extend(mid.as_bytes());
                        extension.resize(8, 0);
                        packet.extend(extension);
                        packet.extend([0x5a; 100]);
                        publisher.link.inject(&packet).await?;
                    }
                }
            }
            Ok(())
        },
    )
    .await?;
    let forged = attacked
        .node
        .counter("drops_total", "reason=\"bad_srtp\"")?;
    anyhow::ensure!(forged > 0.0, "the attack did not reach what it is about");
    Ok(())
}

#[tokio::test]
async fn a_report_of_a_publisher_is_taken_once() -> anyhow::Result<()> {
    let mut attacked = AttackedNode::start(1).await?;
    let mut attackers = attacked.hostile_publishers(1).await?;
    let attacker = &mut attackers[0];
    let mut report = [&[0x80, 201, 0, 1, 0, 0, 0, 9][..], &[0; 64]].concat();
    let length = attacker.sealer.seal_rtcp(&mut report, 8);
    let bad = |attacked: &AttackedNode| attacked.node.counter("drops_total", "reason=\"bad_rtcp\"");
    attacked.step(SECOND).await?;
    let before = bad(&attacked)?;
    for _ in 0..20 {
        attacker
            .socket
            .send_to(&report[..length], attacker.server)?;
    }
    attacked.step(SECOND * 2).await?;
    let refused = bad(&attacked)? - before;
    row(
        "srtcp_replay",
        &format!("\"sent\":20,\"refused\":{refused}"),
    );
    anyhow::ensure!(refused == 19.0, "{refused} of 19 repetitions were refused");
    Ok(())
}

#[tokio::test]
async fn a_data_channel_is_refused_in_its_place() -> anyhow::Result<()> {
    let mut attacked = AttackedNode::start(1).await?;
    let offer = attacked.publishers[0].offer.clone();
    let application = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:dc\r\n\
                       a=sctp-port:5000\r\n";
    let first = offer.find("m=").unwrap_or_default();
    let mut rows = 0;
    for at in [first, offer.len()] {
        let with = format!("{}{application}{}", &offer[..at], &offer[at..]);
        let with = with.replace("a=group:BUNDLE", "a=group:BUNDLE dc");
        let name = format!("channel-{at}");
        let request = put_publish(&name, &with, vec![]);
        let answer = attacked
            .node
            .client
            .put_publish(request)
            .await?
            .into_inner()
            .answer_sdp;
        let media = |sdp: &str| -> Vec<String> {
            let lines = sdp.lines().filter(|line| line.starts_with("m="));
            lines
                .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
                .collect()
        };
        let (offered, answered) = (media(&with), media(&answer));
        anyhow::ensure!(offered.len() == answered.len(), "{offered:?} {answered:?}");
        for (offered, answered) in offered.iter().zip(&answered) {
            let is_channel = offered.starts_with("m=application");
            anyhow::ensure!(
                answered.ends_with(" 0") == is_channel,
                "{offered} is answered by {answered}"
            );
        }
        let bundle = answer
            .lines()
            .find(|line| line.starts_with("a=group:BUNDLE"));
        anyhow::ensure!(!bundle.unwrap_or_default().contains("dc"), "{bundle:?}");
        rows += 1;
    }
    row("data_channel", &format!("\"offers\":{rows}"));
    Ok(())
}
