//! The store on Redis servers with TLS: every connection uses TLS, and a wrong configuration is an
//! error.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use spillway_controlplane::metrics::StoreMetrics;
use spillway_controlplane::store::redis::{RedisServers, RedisStore};
use spillway_controlplane::store::{RoomUpdate, Store, StoreError, suite};
use spillway_controlplane::tls::CertificateFiles;
use spillway_tests::caller::Caller;
use spillway_tests::clock::{self, TimeLimit};
use spillway_tests::node::{Node, free_tcp_port};
use spillway_tests::redis::Server;
use spillway_tests::servers::SignalingServer;
use spillway_tests::tls::{Authority, Pair, run_to_the_end};

const PASSWORD: &str = "right";
const CONVERGE_LIMIT: Duration = Duration::from_secs(10);

/// A Redis server with a TLS port, and a plain port for the test itself.
struct TlsServer {
    server: Server,
    tls_port: u16,
    dir: tempfile::TempDir,
}

impl TlsServer {
    async fn start(authority: &Authority, pair: &Pair, flags: &[&str]) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        std::fs::write(ca_in(dir.path()), authority.pem())?;
        let (certificate, key) = pair.write(dir.path())?;
        let paths = [certificate, key, ca_in(dir.path())].map(|path| path.display().to_string());
        let tls_port = free_port_with_bus()?;
        let tls_port_text = tls_port.to_string();
        let mut all = vec!["--tls-port", &tls_port_text];
        all.extend(["--tls-cert-file", &paths[0], "--tls-key-file", &paths[1]]);
        all.extend(["--tls-ca-cert-file", &paths[2]]);
        all.extend(flags);
        let server = Server::start(&all).await?;
        Ok(Self {
            server,
            tls_port,
            dir,
        })
    }

    fn url(&self) -> String {
        format!("rediss://:{PASSWORD}@127.0.0.1:{}", self.tls_port)
    }

    fn ca(&self) -> PathBuf {
        ca_in(self.dir.path())
    }

    /// The settings for this server.
    fn named(&self) -> RedisServers {
        RedisServers {
            urls: vec![self.url()],
            authorities: Some(self.ca()),
            identity: None,
        }
    }

    /// Local ports of its clients, except the connection of the test.
    fn ports_of_clients(&self) -> anyhow::Result<Vec<u16>> {
        let list = self
            .server
            .cli(&["-a", PASSWORD, "--no-auth-warning", "client", "list"])?;
        let ports = list
            .lines()
            .filter(|line| !line.contains("cmd=client|list"));
        let port = |line: &str| {
            let laddr = line
                .split(' ')
                .find_map(|word| word.strip_prefix("laddr="))?;
            laddr.rsplit_once(':')?.1.parse().ok()
        };
        ports.map(|line| port(line).context("no port")).collect()
    }
}

/// A free port whose cluster bus port is free, too.
fn free_port_with_bus() -> anyhow::Result<u16> {
    loop {
        let port = free_tcp_port()?;
        let bus = port.checked_add(10_000);
        if bus.is_some_and(|bus| TcpListener::bind(("127.0.0.1", bus)).is_ok()) {
            return Ok(port);
        }
    }
}

fn ca_in(dir: &Path) -> PathBuf {
    dir.join("ca.pem")
}

/// Flags of a server that does not require client certificates.
const OPEN: [&str; 4] = ["--tls-auth-clients", "no", "--requirepass", PASSWORD];

async fn refusal(servers: &RedisServers) -> anyhow::Result<String> {
    match RedisStore::connect(servers, StoreMetrics::default()).await {
        Ok(_) => anyhow::bail!("{:?} is taken", servers.urls),
        Err(StoreError::Broken(why)) => {
            assert!(!why.contains(PASSWORD), "{why}");
            Ok(why)
        }
        Err(other) => anyhow::bail!("not refused for good: {other}"),
    }
}

#[tokio::test]
async fn it_passes_the_suite_of_every_store_and_everything_is_encrypted() -> anyhow::Result<()> {
    let authority = Authority::new("an authority")?;
    let pair = authority.issue(&["127.0.0.1"])?;
    let redis = TlsServer::start(&authority, &pair, &OPEN).await?;
    let named = redis.named();
    let one = RedisStore::connect(&named, StoreMetrics::default()).await?;
    let two = RedisStore::connect(&named, StoreMetrics::default()).await?;
    suite::run(&one).await;
    let room = "room".parse()?;
    one.open(&room).await?;
    let mut opened = two.open(&room).await?;
    let offset = one.append(&room, suite::note(1)).await?;
    let news = clock::timeout(CONVERGE_LIMIT, opened.updates.recv()).await?;
    let Some(RoomUpdate::Entry(entry)) = news else {
        anyhow::bail!("no event came: {news:?}");
    };
    assert_eq!(entry.offset, offset);
    let ports = redis.ports_of_clients()?;
    // Command and subscription connections of both servers.
    assert!(ports.len() >= 4, "{ports:?}");
    assert!(
        ports.iter().all(|port| *port == redis.tls_port),
        "{ports:?}"
    );
    Ok(())
}

#[tokio::test]
async fn every_server_of_a_cluster_is_asked_over_tls() -> anyhow::Result<()> {
    let authority = Authority::new("an authority")?;
    let pair = authority.issue(&["127.0.0.1"])?;
    let cluster = ["--cluster-enabled", "yes", "--tls-cluster", "yes"];
    let flags = [&OPEN[..2], &cluster].concat();
    let one = TlsServer::start(&authority, &pair, &flags).await?;
    let two = TlsServer::start(&authority, &pair, &flags).await?;
    one.server.cli(&["cluster", "addslotsrange", "0", "8191"])?;
    two.server
        .cli(&["cluster", "addslotsrange", "8192", "16383"])?;
    let port = two.tls_port.to_string();
    one.server.cli(&["cluster", "meet", "127.0.0.1", &port])?;
    let limit_left = TimeLimit::new(CONVERGE_LIMIT);
    for server in [&one.server, &two.server] {
        while !server
            .cli(&["cluster", "info"])?
            .contains("cluster_state:ok")
        {
            anyhow::ensure!(!limit_left.is_over(), "the cluster is not formed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let named = RedisServers {
        urls: vec![format!("rediss://127.0.0.1:{}", one.tls_port)],
        ..one.named()
    };
    let store = RedisStore::connect(&named, StoreMetrics::default()).await?;
    for number in 0..20 {
        let room = format!("room-{number}").parse()?;
        let mut opened = store.open(&room).await?;
        store.append(&room, suite::note(number)).await?;
        let news = clock::timeout(CONVERGE_LIMIT, opened.updates.recv()).await?;
        assert!(matches!(news, Some(RoomUpdate::Entry(_))), "{news:?}");
    }
    for server in [&one, &two] {
        let clients = server.server.cli(&["client", "list", "type", "pubsub"])?;
        let encrypted = format!("laddr=127.0.0.1:{} ", server.tls_port);
        assert!(
            clients.lines().count() >= 1,
            "no subscriptions here: {clients}"
        );
        assert!(
            clients.lines().all(|line| line.contains(&encrypted)),
            "{clients}"
        );
        let keys: u64 = server.server.cli(&["dbsize"])?.trim().parse()?;
        assert!(keys > 0, "no room is here");
    }
    Ok(())
}

#[tokio::test]
async fn certificates_and_names_are_verified() -> anyhow::Result<()> {
    let authority = Authority::new("an authority")?;
    let redis = TlsServer::start(&authority, &authority.issue(&["127.0.0.1"])?, &OPEN).await?;
    let other = redis.dir.path().join("other.pem");
    std::fs::write(&other, Authority::new("another authority")?.pem())?;
    for authorities in [Some(other), None] {
        let named = RedisServers {
            authorities,
            ..redis.named()
        };
        let said = refusal(&named).await?;
        let port = redis.tls_port.to_string();
        assert!(
            said.contains("not signed by a trusted CA") && said.contains(&port),
            "{said}"
        );
        assert!(said.contains("store-ca"), "{said}");
    }
    let mut named = redis.named();
    named.urls = vec![redis.url().replace(PASSWORD, "wrong")];
    let said = refusal(&named).await?;
    assert!(said.contains("WRONGPASS"), "{said}");

    let elsewhere = authority.issue(&["redis.example.com"])?;
    let redis = TlsServer::start(&authority, &elsewhere, &OPEN).await?;
    let said = refusal(&redis.named()).await?;
    assert!(
        said.contains("another name") && said.contains("redis.example.com"),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn a_server_of_the_other_kind_is_named() -> anyhow::Result<()> {
    let authority = Authority::new("an authority")?;
    let redis = TlsServer::start(&authority, &authority.issue(&["127.0.0.1"])?, &OPEN).await?;
    let plain = format!("rediss://127.0.0.1:{}", redis.server.port);
    let mut named = redis.named();
    named.urls = vec![plain];
    let said = refusal(&named).await?;
    assert!(said.contains("does not use TLS: write redis://"), "{said}");
    let encrypted = format!("redis://:{PASSWORD}@127.0.0.1:{}", redis.tls_port);
    let said = refusal(&RedisServers::at(&[encrypted])).await?;
    assert!(said.contains("uses TLS: write rediss://"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_requires_a_client_certificate_gets_one() -> anyhow::Result<()> {
    let authority = Authority::new("an authority")?;
    let flags = ["--tls-auth-clients", "yes", "--requirepass", PASSWORD];
    let redis = TlsServer::start(&authority, &authority.issue(&["127.0.0.1"])?, &flags).await?;
    let said = refusal(&redis.named()).await?;
    assert!(said.contains("store-certificate"), "{said}");
    let dir = tempfile::tempdir()?;
    let identify = |pair: &Pair| -> anyhow::Result<RedisServers> {
        let (certificate, key) = pair.write(dir.path())?;
        let identity = Some(CertificateFiles { certificate, key });
        Ok(RedisServers {
            identity,
            ..redis.named()
        })
    };
    let unknown_socket = Authority::new("another authority")?.issue(&["server-1"])?;
    let said = refusal(&identify(&unknown_socket)?).await?;
    assert!(said.contains("store-certificate"), "{said}");
    let named = identify(&authority.issue(&["server-1"])?)?;
    let store = RedisStore::connect(&named, StoreMetrics::default()).await?;
    suite::run(&store).await;
    Ok(())
}

#[tokio::test]
async fn rooms_go_on_while_redis_shows_a_certificate_that_is_not_trusted() -> anyhow::Result<()> {
    let authority = Authority::new("an authority")?;
    let pair = authority.issue(&["127.0.0.1"])?;
    let mut redis = TlsServer::start(&authority, &pair, &OPEN).await?;
    let metrics = StoreMetrics::default();
    let store = RedisStore::connect(&redis.named(), metrics.clone()).await?;
    let room = "room".parse()?;
    store.open(&room).await?;
    store.append(&room, suite::note(1)).await?;
    // Replace the certificate by one of an unknown CA.
    let unknown_socket = Authority::new("another authority")?.issue(&["127.0.0.1"])?;
    unknown_socket.write(redis.dir.path())?;
    redis.server.kill();
    redis.server.restart().await?;
    let degraded = |store: &RedisStore| store.degraded().unwrap_or_default();
    let limit_left = TimeLimit::new(CONVERGE_LIMIT);
    while !degraded(&store).contains("not signed by a trusted CA") {
        anyhow::ensure!(!limit_left.is_over(), "{}", degraded(&store));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(store.append(&room, suite::note(2)).await, Ok(2));
    // Then the servers' CA file is extended, without a restart.
    pair.write(redis.dir.path())?;
    redis.server.kill();
    redis.server.restart().await?;
    let limit_left = TimeLimit::new(2 * CONVERGE_LIMIT);
    while store.degraded().is_some() {
        anyhow::ensure!(!limit_left.is_over(), "{}", degraded(&store));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(store.append(&room, suite::note(3)).await, Ok(3));
    assert!(metrics.offline_events.get() >= 1);
    let other = RedisStore::connect(&redis.named(), StoreMetrics::default()).await?;
    while other.open(&room).await?.offset != 3 {
        anyhow::ensure!(!limit_left.is_over(), "nobody was told");
        other.close(&room).await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_meet_in_a_redis_behind_tls() -> anyhow::Result<()> {
    let authority = Authority::new("an authority")?;
    let redis = TlsServer::start(&authority, &authority.issue(&["127.0.0.1"])?, &OPEN).await?;
    let media = Node::start(1, &[]).await?;
    let (url, ca) = (redis.url(), redis.ca().display().to_string());
    let trust = ["--store-ca", &ca];
    let left = SignalingServer::start_with(&media, &url, &trust).await?;
    let right = SignalingServer::start_with(&media, &url, &trust).await?;
    let ann = Caller::start(&left.url, "room", "ann", false).await?;
    let bob = Caller::start(&right.url, "room", "bob", false).await?;
    let limit_left = TimeLimit::new(CONVERGE_LIMIT);
    let alone = |caller: &Caller| caller.log().others.is_empty();
    while alone(&ann) || alone(&bob) {
        anyhow::ensure!(!limit_left.is_over(), "they do not see each other");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Without the CA, a server ends with the reason.
    let (status, said) = run_to_the_end(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--keys",
        "K:secret-secret-secret",
        "--dataplane-control",
        &media.control_url(),
        "--store",
        &url,
    ])?;
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("not signed by a trusted CA"), "{said}");
    assert!(!said.contains(PASSWORD), "{said}");
    Ok(())
}
