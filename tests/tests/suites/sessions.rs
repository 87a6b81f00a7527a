//! Behaviour of a data plane with real sessions over loopback.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::Context;
use spillway_tests::call::{Publisher, Subscriber, connect, put_publish, run, run_until};
use spillway_tests::node::Node;
use spillway_wire::dataplane as proto;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tonic::Code;

const VIDEO: proto::Kind = proto::Kind::Video;
const AUDIO: proto::Kind = proto::Kind::Audio;
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_room_spans_shards_and_nobody_misses_a_packet() -> anyhow::Result<()> {
    let mut node = Node::start(2, &[]).await?;
    let two_cores = node.node().await?.shards.len() == 2;
    let mut publishers = Vec::new();
    let mut subscribers = Vec::new();
    // The kernel selects the shard of a session, so sessions are added until both shards have a
    // publisher.
    for index in 0..12 {
        publishers.push(Publisher::start(&mut node, &format!("p{index}"), false).await?);
        let names: Vec<_> = publishers
            .iter()
            .map(|p| (format!("{}-audio", p.name), AUDIO))
            .collect();
        let wanted: Vec<_> = names.iter().map(|(name, kind)| (&**name, *kind)).collect();
        subscribers.push(Subscriber::start(&mut node, &format!("s{index}"), &wanted).await?);
        run(&mut node, &mut publishers, &mut subscribers, SECOND / 2).await?;
        let shards = node.node().await?.shards;
        if index >= 2 && shards.iter().all(|shard| shard.tracks > 0) {
            break;
        }
    }
    run(&mut node, &mut publishers, &mut subscribers, SECOND * 2).await?;
    for subscriber in &subscribers {
        for (track, arrivals) in &subscriber.received {
            let (first, last) = (arrivals[0].counter, arrivals[arrivals.len() - 1].counter);
            let expected = (last - first + 1) as usize;
            assert_eq!(
                arrivals.len(),
                expected,
                "{} lost packets of {track}",
                subscriber.name
            );
        }
    }
    let shards = node.node().await?.shards;
    if two_cores {
        assert!(
            shards.iter().all(|shard| shard.packets_in > 100),
            "one shard idles: {shards:?}"
        );
        let crossed = node.counter("mesh_packets_total", "")?;
        assert!(crossed > 0.0, "no packet crossed between the shards");
        let listeners: usize = subscribers.iter().map(|s| s.received.len()).sum();
        let arrived: usize = subscribers
            .iter()
            .flat_map(|s| s.received.values())
            .map(Vec::len)
            .sum();
        assert!(
            (crossed as usize) < arrived,
            "{crossed} copies for {arrived} deliveries to {listeners} listeners: one copy a shard and packet",
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_client_behind_a_forgetful_nat_is_followed_to_the_shard_its_packets_land_on()
-> anyhow::Result<()> {
    let mut node = Node::start(2, &[]).await?;
    if node.node().await?.shards.len() < 2 {
        return Ok(()); // one core has one shard only
    }
    let mut publishers = [Publisher::start(&mut node, "p", false).await?];
    let mut subscribers = [Subscriber::start(&mut node, "s", &[("p-audio", AUDIO)]).await?];
    connect(&mut node, &mut publishers, &mut subscribers, 1).await?;
    let home = node.session("p").await?.context("the session")?.shard;
    for attempt in 0..12 {
        publishers[0].link.rebind().await?;
        let rebound = Instant::now();
        let flows = |subscribers: &[Subscriber]| {
            let late = subscribers[0]
                .arrivals("p-audio")
                .last()
                .is_some_and(|a| a.at > rebound);
            late && rebound.elapsed() > SECOND / 5
        };
        let limit = SECOND * 8;
        let followed =
            run_until(&mut node, &mut publishers, &mut subscribers, limit, flows).await?;
        assert!(
            followed,
            "media did not come back after rebinding {attempt}"
        );
        run(&mut node, &mut publishers, &mut subscribers, SECOND / 5).await?;
        if node.session("p").await?.context("the session")?.shard != home {
            // Media continues from the new home in both directions: subscribers receive it.
            let before = subscribers[0].arrivals("p-audio").len();
            run(&mut node, &mut publishers, &mut subscribers, SECOND).await?;
            assert!(subscribers[0].arrivals("p-audio").len() > before + 40);
            return Ok(());
        }
    }
    panic!("twelve ports all hash to one shard: chance of 1 in 4096");
}

#[tokio::test]
async fn media_flows_on_when_nobody_watches_and_the_state_can_be_read_back() -> anyhow::Result<()> {
    let mut node = Node::start(2, &[]).await?;
    let mut publisher = Publisher::start(&mut node, "p", false).await?;
    let tracks = [("p-audio", AUDIO), ("p-video", VIDEO)];
    let mut subscriber = Subscriber::start(&mut node, "s", &tracks).await?;
    let (publishers, subscribers) = (
        std::slice::from_mut(&mut publisher),
        std::slice::from_mut(&mut subscriber),
    );
    connect(&mut node, publishers, subscribers, 2).await?;
    let before = subscriber.arrivals("p-video").len();
    let until = Instant::now() + SECOND * 2;
    while Instant::now() < until {
        let now = Instant::now();
        publisher.step(now).await?;
        subscriber.step_alone(now).await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(
        subscriber.arrivals("p-video").len() > before + 120,
        "video stopped"
    );

    let state = node
        .session("s")
        .await?
        .context("the subscriber's session")?;
    assert!(state.connected && state.shard.is_some());
    assert_eq!(state.subscriptions.len(), 2);
    assert!(
        state
            .subscriptions
            .iter()
            .all(|subscription| !subscription.mid.is_empty())
    );
    let state = node
        .session("p")
        .await?
        .context("the publisher's session")?;
    assert_eq!(state.annotation, b"opaque");
    assert_eq!(state.tracks.len(), 2);
    Ok(())
}

#[tokio::test]
async fn layers_switch_at_keyframes_with_continuous_numbers() -> anyhow::Result<()> {
    let mut node = Node::start(1, &[]).await?;
    let mut publishers = [Publisher::start(&mut node, "p", true).await?];
    let video = [("p-video", VIDEO)];
    let mut subscribers = [Subscriber::start(&mut node, "s", &video).await?];
    connect(&mut node, &mut publishers, &mut subscribers, 1).await?;
    for (max_height, expected) in [(180, 0), (360, 1), (180, 0)] {
        let wish = proto::Wish {
            max_height,
            ..proto::Wish::default()
        };
        subscribers[0].put(&mut node, &video, wish).await?;
        let layer = |s: &[Subscriber]| s[0].arrivals("p-video").last().map(|a| a.layer);
        let reached = run_until(
            &mut node,
            &mut publishers,
            &mut subscribers,
            SECOND * 8,
            |s| layer(s) == Some(expected),
        );
        assert!(
            reached.await?,
            "layer {expected} did not come for max_height {max_height}"
        );
        run(&mut node, &mut publishers, &mut subscribers, SECOND).await?;
        assert_eq!(layer(&subscribers), Some(expected), "it stays");
        let rid = ["q", "h", "f"][usize::from(expected)];
        assert_eq!(
            subscribers[0].layers.last().map(|(_, rid, _)| &**rid),
            Some(rid),
            "it is told"
        );
    }
    let mut arrivals = subscribers[0].arrivals("p-video").to_vec();
    arrivals.sort_by_key(|arrival| arrival.seq);
    let switches = arrivals
        .windows(2)
        .filter(|pair| pair[0].layer != pair[1].layer)
        .count();
    assert!(switches >= 2, "{switches} switches");
    for pair in arrivals.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        assert_eq!(
            after.seq,
            before.seq + 1,
            "a gap or a repetition in the sequence numbers"
        );
        assert!(
            after.time.wrapping_sub(before.time) < 90_000,
            "time jumps: {before:?} {after:?}"
        );
        let step = after.picture_id.context("a picture id")?;
        let step = step.wrapping_sub(before.picture_id.context("a picture id")?) & 0x7fff;
        assert!(step <= 1, "picture ids jump: {before:?} {after:?}");
    }
    Ok(())
}

#[tokio::test]
async fn pausing_stops_the_media_and_going_on_starts_at_a_keyframe() -> anyhow::Result<()> {
    let mut node = Node::start(1, &[]).await?;
    let mut publishers = [Publisher::start(&mut node, "p", false).await?];
    let video = [("p-video", VIDEO)];
    let mut subscribers = [Subscriber::start(&mut node, "s", &video).await?];
    connect(&mut node, &mut publishers, &mut subscribers, 1).await?;
    let paused = proto::Wish {
        paused: true,
        ..proto::Wish::default()
    };
    subscribers[0].put(&mut node, &video, paused).await?;
    run(&mut node, &mut publishers, &mut subscribers, SECOND / 2).await?;
    let before = subscribers[0].arrivals("p-video").len();
    run(&mut node, &mut publishers, &mut subscribers, SECOND).await?;
    assert_eq!(
        subscribers[0].arrivals("p-video").len(),
        before,
        "paused video flows"
    );
    subscribers[0]
        .put(&mut node, &video, proto::Wish::default())
        .await?;
    let goes_on = |s: &[Subscriber]| s[0].arrivals("p-video").len() > before + 30;
    assert!(
        run_until(
            &mut node,
            &mut publishers,
            &mut subscribers,
            SECOND * 5,
            goes_on
        )
        .await?
    );
    Ok(())
}

#[tokio::test]
#[allow(clippy::too_many_lines)] // a table of bad requests and their errors
async fn commands_are_idempotent_and_bad_ones_say_what_is_wrong() -> anyhow::Result<()> {
    let mut node =
        Node::start(1, &["--max-sessions", "3", "--max-tracks-per-session", "2"]).await?;
    let mut publishers = [Publisher::start(&mut node, "p", false).await?];
    let mut subscribers = [Subscriber::start(&mut node, "s", &[("p-audio", AUDIO)]).await?];
    connect(&mut node, &mut publishers, &mut subscribers, 1).await?;

    // The same offer gets the same answer, and media is not affected.
    let session = node.session("p").await?.context("the session")?;
    let (offer, answer) = (publishers[0].offer.clone(), publishers[0].answer.clone());
    let again = put_publish("p", &offer, session.tracks.clone());
    assert_eq!(
        node.client
            .put_publish(again)
            .await?
            .into_inner()
            .answer_sdp,
        answer
    );
    let request = proto::PutSubscribeRequest {
        session: "s".into(),
        annotation: vec![],
        owner: String::new(),
    };
    node.client.put_subscribe(request).await?;
    let unknown = proto::CloseSessionRequest {
        session: "nobody".into(),
        reason: String::new(),
    };
    node.client.close_session(unknown).await?;

    let thousand = format!(
        "v=0\r\n{}",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n".repeat(1_000)
    );
    let three = [session.tracks.clone(), session.tracks.clone()].concat();
    let publish = |name: &str, offer: &str, tracks| put_publish(name, offer, tracks);
    for (request, code, part) in [
        (
            publish("x", "nonsense", vec![]),
            Code::InvalidArgument,
            "bad sdp",
        ),
        (
            publish("x", &thousand, vec![]),
            Code::ResourceExhausted,
            "1000 is more than the limit of 64",
        ),
        (
            publish("x", &offer, three),
            Code::ResourceExhausted,
            "4 is more than the limit of 2",
        ),
        (
            publish("", &offer, vec![]),
            Code::InvalidArgument,
            "0 bytes is outside 1..=128",
        ),
        (
            publish("s", &offer, vec![]),
            Code::InvalidArgument,
            "a subscribe session takes no offer",
        ),
        (
            publish("x", &"y".repeat(300_000), vec![]),
            Code::ResourceExhausted,
            "limit of 262144",
        ),
    ] {
        let error = node.client.put_publish(request).await.expect_err(part);
        assert_eq!(error.code(), code, "{error:?}");
        assert!(
            error.message().contains(part),
            "'{part}' is not in '{}'",
            error.message()
        );
    }
    assert!(
        node.session("x").await?.is_none(),
        "a session that could not be made is kept"
    );

    let stale = proto::PutAnswerRequest {
        session: "s".into(),
        revision: 99,
        answer_sdp: answer,
    };
    let error = node
        .client
        .put_answer(stale)
        .await
        .expect_err("a stale answer");
    assert_eq!(
        (error.code(), error.message()),
        (
            Code::FailedPrecondition,
            "answer to offer 99, but none is outstanding",
        )
    );
    let nobody = proto::AddCandidateRequest {
        session: "nobody".into(),
        candidate: String::new(),
    };
    let error = node
        .client
        .add_candidate(nobody)
        .await
        .expect_err("no such session");
    assert_eq!(error.code(), Code::NotFound);

    let third = proto::PutSubscribeRequest {
        session: "third".into(),
        annotation: vec![],
        owner: String::new(),
    };
    node.client.put_subscribe(third).await?;
    let fourth = proto::PutSubscribeRequest {
        session: "fourth".into(),
        annotation: vec![],
        owner: String::new(),
    };
    let error = node
        .client
        .put_subscribe(fourth)
        .await
        .expect_err("one too many");
    assert!(
        error
            .message()
            .contains("sessions of the node: 4 is more than the limit of 3")
    );

    let before = subscribers[0].arrivals("p-audio").len();
    run(&mut node, &mut publishers, &mut subscribers, SECOND).await?;
    assert!(
        subscribers[0].arrivals("p-audio").len() > before + 40,
        "the call noticed"
    );
    Ok(())
}

#[tokio::test]
async fn an_unsubscribed_m_line_is_used_again() -> anyhow::Result<()> {
    let mut node = Node::start(1, &[]).await?;
    let mut publishers = [
        Publisher::start(&mut node, "p", false).await?,
        Publisher::start(&mut node, "q", false).await?,
    ];
    let mut subscribers = [Subscriber::start(&mut node, "s", &[("p-video", VIDEO)]).await?];
    connect(&mut node, &mut publishers, &mut subscribers, 1).await?;
    let remove = proto::PutSubscriptionsRequest {
        session: "s".into(),
        put: vec![],
        remove: vec!["p-video".into()],
    };
    node.client.put_subscriptions(remove).await?;
    run(&mut node, &mut publishers, &mut subscribers, SECOND / 2).await?;
    subscribers[0]
        .put(&mut node, &[("q-video", VIDEO)], proto::Wish::default())
        .await?;
    let other = |s: &[Subscriber]| s[0].arrivals("q-video").len() > 30;
    assert!(
        run_until(
            &mut node,
            &mut publishers,
            &mut subscribers,
            SECOND * 5,
            other
        )
        .await?
    );
    let state = node.session("s").await?.context("the session")?;
    assert_eq!(state.subscriptions.len(), 1);
    let last = subscribers[0]
        .arrivals("p-video")
        .last()
        .context("it flowed")?
        .seq;
    let first = subscribers[0].arrivals("q-video")[0].seq;
    assert!(
        first > last,
        "one SSRC never repeats a sequence number: {first} after {last}"
    );
    Ok(())
}

/// Number of hosts that open TCP streams from addresses of clients. There are more clients, because
/// some ports are in use.
const STRANGERS: usize = 6;

#[tokio::test]
async fn who_opens_a_stream_from_the_address_of_a_client_gets_none_of_its_media()
-> anyhow::Result<()> {
    let mut node = Node::start(2, &[]).await?;
    let mut publishers = [Publisher::start(&mut node, "p", false).await?];
    let mut subscribers = Vec::new();
    for index in 0..STRANGERS + 3 {
        let name = format!("s{index}");
        subscribers.push(Subscriber::start(&mut node, &name, &[("p-audio", AUDIO)]).await?);
    }
    connect(&mut node, &mut publishers, &mut subscribers, 1).await?;
    let media = node.media_addr().await?;
    // Like a host behind the same NAT that preserves ports. The kernel selects the shard.
    let mut unknown_sockets = Vec::new();
    for subscriber in &subscribers {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        match socket.bind(subscriber.link.local_addr().context("it is connected")?) {
            // The TCP port with this number is in use on this host.
            Err(error) if error.kind() == ErrorKind::AddrInUse => continue,
            bound => bound?,
        }
        let mut stream = socket.connect(media).await?;
        // Nothing, bytes like media, bytes like a check; each with a length prefix (RFC 4571).
        for datagram in [&b""[..], &[0x80; 40], &[0, 1, 0, 0]] {
            let length = u16::try_from(datagram.len())?.to_be_bytes();
            stream.write_all(&[&length[..], datagram].concat()).await?;
        }
        unknown_sockets.push(stream);
    }
    assert!(
        unknown_sockets.len() >= STRANGERS,
        "too many ports are taken"
    );
    run(&mut node, &mut publishers, &mut subscribers, SECOND / 4).await?;
    let before: Vec<usize> = subscribers
        .iter()
        .map(|s| s.arrivals("p-audio").len())
        .collect();
    run(&mut node, &mut publishers, &mut subscribers, SECOND).await?;
    for (subscriber, before) in subscribers.iter().zip(before) {
        let arrived = subscriber.arrivals("p-audio").len() - before;
        assert!(arrived > 40, "{} got {arrived} packets", subscriber.name);
    }
    for stream in unknown_sockets {
        let read = stream
            .try_read(&mut [0; 2_048])
            .map_err(|error| error.kind());
        assert_eq!(
            read,
            Err(ErrorKind::WouldBlock),
            "a unknown_socket was sent something"
        );
    }
    Ok(())
}
