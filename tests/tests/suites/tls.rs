//! TLS of the HTTP port: certificates are replaced while sockets are open, and clients that do not
//! complete a handshake are disconnected.

use std::time::{Duration, Instant};

use serde_json::json;
use spillway_tests::clock::{self, TimeLimit, ran_since};
use spillway_tests::node::Node;
use spillway_tests::tls::{ADMIN_TOKEN, Authority, Client, TlsServer, run_to_the_end};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const NAMES: [&str; 2] = ["rtc.example.com", "127.0.0.1"];
/// Twice the interval at which the files are checked, with a margin.
const NOTICE_LIMIT: Duration = Duration::from_secs(20);

/// Waits until the metric has the value.
async fn until(client: &Client, name: &str, value: f64) -> anyhow::Result<()> {
    let limit_left = TimeLimit::new(NOTICE_LIMIT);
    loop {
        let shown = client.metric(name).await?;
        if shown == Some(value) {
            return Ok(());
        }
        anyhow::ensure!(!limit_left.is_over(), "{name} is {shown:?}, not {value}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_certificate_is_swapped_under_open_sockets() -> anyhow::Result<()> {
    let authority = Authority::new("an authority")?;
    let [first, second, third] = [0; 3].map(|_| authority.issue(&NAMES));
    let (first, second, third) = (first?, second?, third?);
    let media = Node::start(1, &[]).await?;
    let server = TlsServer::start(&media, &first, &authority).await?;
    let client = Client::new(&server.address, &authority)?;
    assert!(server.log()?.contains("url=https://rtc.example.com:"));
    assert_eq!(client.shown().await?, first.shown()?);
    let ends = client.metric("spillway_tls_certificate_expires_timestamp_seconds");
    assert!(ends.await?.is_some_and(|ends| ends > 1e9));
    let alpn = client.connect().await?;
    assert_eq!(alpn.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut socket = client.join("room", "ann").await?;

    // Only one file is replaced: the mismatch is logged, and the old certificate stays.
    let key = server.dir.path().join("key.pem");
    std::fs::write(&key, &second.key)?;
    until(&client, "spillway_tls_reload_failures_total", 1.0).await?;
    let log = server.log()?;
    let lines = log
        .lines()
        .filter(|line| line.contains("the old one stays"));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), 1, "once for each change: {log}");
    assert!(
        lines[0].contains("ERROR") && lines[0].contains("key.pem does not belong"),
        "{log}"
    );
    assert_eq!(client.shown().await?, first.shown()?);

    // Both files are replaced: the new certificate is used.
    second.write(server.dir.path())?;
    until(&client, "spillway_tls_reloads_total", 1.0).await?;
    assert_eq!(client.shown().await?, second.shown()?);

    // Invalid and missing files are reported after SIGHUP.
    std::fs::write(server.dir.path().join("cert.pem"), "rubbish")?;
    server.hang_up()?;
    until(&client, "spillway_tls_reload_failures_total", 2.0).await?;
    std::fs::remove_file(&key)?;
    server.hang_up()?;
    until(&client, "spillway_tls_reload_failures_total", 3.0).await?;
    let log = server.log()?;
    assert!(log.contains("cert.pem has no certificate"), "{log}");
    assert!(
        log.contains("cannot read") && log.contains("key.pem: No such file"),
        "{log}"
    );
    assert_eq!(client.shown().await?, second.shown()?);

    third.write(server.dir.path())?;
    let asked = Instant::now();
    server.hang_up()?;
    until(&client, "spillway_tls_reloads_total", 2.0).await?;
    assert!(
        ran_since(asked) < Duration::from_secs(3),
        "SIGHUP is at once"
    );
    assert_eq!(client.shown().await?, third.shown()?);

    let pong = socket.ask(&json!({"type": "ping", "id": 2})).await?;
    assert_eq!(pong["type"], "pong", "the first socket saw nothing of it");
    client.join("room", "bob").await?;
    Ok(())
}

#[tokio::test]
async fn who_does_not_shake_hands_is_counted_and_shut_out() -> anyhow::Result<()> {
    let authority = Authority::new("an authority")?;
    let media = Node::start(1, &[]).await?;
    let pair = authority.issue(&NAMES)?;
    let server = TlsServer::start(&media, &pair, &authority).await?;
    let client = Client::new(&server.address, &authority)?;

    let silent = TcpStream::connect(&server.address).await?;
    let slow = TcpStream::connect(&server.address).await?;
    let (silent, slow) = (
        tokio::spawn(ending(silent, false)),
        tokio::spawn(ending(slow, true)),
    );
    for rubbish in [
        &b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        &[0x7f; 300],
    ] {
        let mut stream = TcpStream::connect(&server.address).await?;
        stream.write_all(rubbish).await?;
        let mut answer = Vec::new();
        let read = clock::timeout(Duration::from_secs(2), stream.read_to_end(&mut answer));
        // A reset is a close, too.
        let _ = read.await?;
        assert!(!answer.starts_with(b"HTTP"), "plain HTTP is not served");
    }
    let failures =
        |reason: &str| format!("spillway_tls_handshake_failures_total{{reason=\"{reason}\"}}");
    until(&client, &failures("not_tls"), 2.0).await?;
    let unknown_socket = Client::new(&server.address, &Authority::new("another authority")?)?;
    let refused = unknown_socket.connect().await;
    assert!(
        refused.is_err(),
        "the client does not trust the server's CA"
    );
    until(&client, &failures("refused"), 1.0).await?;
    let refused = client.clone().speaking(b"h2").connect().await;
    assert!(refused.is_err(), "h2 is not spoken");
    until(&client, &failures("incompatible"), 1.0).await?;
    drop(TcpStream::connect(&server.address).await?);
    until(&client, &failures("gone"), 1.0).await?;

    // Silent clients are disconnected after 10 s. Others can connect meanwhile.
    let mut socket = client.join("room", "ann").await?;
    for (lasted, ran) in [silent.await??, slow.await??] {
        assert!(lasted >= Duration::from_secs(9), "{lasted:?}");
        assert!(ran < Duration::from_secs(13), "{ran:?}");
    }
    until(&client, &failures("too_slow"), 2.0).await?;
    let pong = socket.ask(&json!({"type": "ping", "id": 2})).await?;
    assert_eq!(pong["type"], "pong");
    Ok(())
}

/// Time until the server closes the connection, and how much of it the host ran. With `writes`, the
/// client sends a ClientHello that never ends.
async fn ending(mut stream: TcpStream, writes: bool) -> anyhow::Result<(Duration, Duration)> {
    let start = Instant::now();
    let mut byte = [0; 1];
    if writes {
        stream
            .write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3])
            .await?;
    }
    loop {
        anyhow::ensure!(
            ran_since(start) < Duration::from_secs(30),
            "it is never ended"
        );
        let read = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut byte)).await;
        match read {
            Ok(Ok(0) | Err(_)) => return Ok((start.elapsed(), ran_since(start))),
            Ok(Ok(_)) => {}
            // The server may close the connection between two bytes.
            Err(_) if writes => drop(stream.write_all(&[7]).await),
            Err(_) => {}
        }
    }
}

#[tokio::test]
async fn a_node_does_not_start_with_what_it_cannot_serve() -> anyhow::Result<()> {
    let authority = Authority::new("an authority")?;
    let dir = tempfile::tempdir()?;
    let (certificate, key) = authority.issue(&NAMES)?.write(dir.path())?;
    let other = authority.issue(&NAMES)?;
    let paths = [&certificate, &key].map(|path| path.display().to_string());
    let start = || {
        run_to_the_end(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--keys",
            "K:secret-secret-secret",
            "--dataplane-control",
            "http://127.0.0.1:9",
            "--tls-certificate",
            &paths[0],
            "--tls-key",
            &paths[1],
        ])
    };
    std::fs::write(&key, &other.key)?;
    let (status, said) = start()?;
    assert_eq!(status.code(), Some(1));
    let sentence = format!(
        "the key in {} does not belong to the certificate in",
        paths[1]
    );
    assert!(said.contains(&sentence), "{said}");
    std::fs::remove_file(&certificate)?;
    let (status, said) = start()?;
    assert_eq!(status.code(), Some(1));
    let sentence = format!("cannot read {}: No such file", paths[0]);
    assert!(said.contains(&sentence), "{said}");
    Ok(())
}

#[tokio::test]
async fn the_cli_asks_a_node_behind_tls() -> anyhow::Result<()> {
    let authority = Authority::new("an authority")?;
    let media = Node::start(1, &[]).await?;
    let pair = authority.issue(&NAMES)?;
    let server = TlsServer::start(&media, &pair, &authority).await?;
    let _socket = Client::new(&server.address, &authority)?
        .join("lobby", "ann")
        .await?;
    let ca = server.dir.path().join("ca.pem");
    std::fs::write(&ca, authority.pem())?;
    let (url, ca) = (
        format!("https://{}", server.address),
        ca.display().to_string(),
    );
    let ask = ["room", "ls", "--url", &url, "--admin-token", ADMIN_TOKEN];
    let (status, said) = run_to_the_end(&[&ask[..], &["--ca", &ca]].concat())?;
    assert!(status.success() && said.contains("lobby"), "{said}");
    let (status, said) = run_to_the_end(&ask)?;
    assert!(!status.success() && said.contains("--ca"), "{said}");
    Ok(())
}
