//! TCP connections to the port: deadlines of each step, limits per source, and counters.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{TestServer, metrics, until_metric};
use crate::fake::FakeNode;

/// Limit for a request head (10 s), with a margin for a busy host.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// Limit for reading a response (20 s), with a margin for a busy host.
const ANSWER_TIME: Duration = Duration::from_secs(35);

async fn connect(server: &TestServer) -> TcpStream {
    TcpStream::connect(server.running.address).await.unwrap()
}

/// Waits until the server closes the connection, also by a reset.
async fn closed(mut stream: TcpStream, within: Duration) {
    let mut rest = Vec::new();
    let ended = timeout(within, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "still open after {within:?}");
}

#[tokio::test]
async fn connections_that_say_nothing_half_or_no_more_are_closed_and_counted() {
    let server = TestServer::start(&[]).await;
    let silent = connect(&server).await;
    let mut half = connect(&server).await;
    half.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nx: ")
        .await
        .unwrap();
    let mut idle = connect(&server).await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    // What HTTP/2 begins with, cut off: nothing waits for the rest of it.
    let mut other = connect(&server).await;
    other.write_all(b"PRI * HT").await.unwrap();
    tokio::join!(
        closed(silent, HEAD_TIME),
        closed(half, HEAD_TIME),
        closed(idle, HEAD_TIME),
        closed(other, HEAD_TIME),
    );
    for (reason, count) in [("silent", 1), ("slow_head", 2), ("idle", 1)] {
        let line = format!("spillway_connections_ended_total{{reason=\"{reason}\"}} {count}");
        until_metric(&server, &line).await;
    }
}

#[tokio::test]
async fn a_client_that_asks_on_and_never_reads_is_closed_and_others_are_served() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let deaf = connect(&server).await;
    let (reading, mut asking) = deaf.into_split();
    let ask = async {
        let request = b"GET /spillway.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
        // Ends when the server closes.
        while asking.write_all(&request).await.is_ok() {}
    };
    let start = Instant::now();
    let asked = timeout(ANSWER_TIME, ask);
    let ((), asked) = tokio::join!(
        async {
            let mut ann = server.join("r", "ann").await;
            let ping = serde_json::json!({"type": "ping"});
            assert_eq!(ann.ask(ping).await["type"], "pong");
        },
        asked
    );
    assert!(asked.is_ok(), "still open after {:?}", start.elapsed());
    until_metric(
        &server,
        "spillway_connections_ended_total{reason=\"slow_reader\"} 1",
    )
    .await;
    drop(reading);
}

#[tokio::test]
async fn a_body_without_end_is_not_read() {
    let server = TestServer::start(&[]).await;
    for head in [
        "POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\nx",
    ] {
        let mut stream = connect(&server).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        closed(stream, HEAD_TIME).await;
    }
}

#[tokio::test]
async fn a_network_has_so_many_connections_and_no_more() {
    let server = TestServer::start(&["--max-connections-per-source", "3"]).await;
    let _node = FakeNode::start(&server.socket());
    // One is a WebSocket; its place is kept after its request.
    let ann = server.join("r", "ann").await;
    let kept = [connect(&server).await, connect(&server).await];
    let refused = connect(&server).await;
    closed(refused, Duration::from_secs(5)).await;
    drop(kept);
    drop(ann);
    until_metric(
        &server,
        "spillway_connections_ended_total{reason=\"too_many_of_source\"} ",
    )
    .await;
    let _ann = server.join("r", "ann").await;
}

#[tokio::test]
async fn loopback_has_as_many_as_it_wants_unless_told_otherwise() {
    let server = TestServer::start(&[]).await;
    let mut all = Vec::new();
    for _ in 0..300 {
        all.push(connect(&server).await);
    }
    let shown = metrics(&server).await;
    assert!(!shown.contains("too_many_of_source"), "{shown}");
}
