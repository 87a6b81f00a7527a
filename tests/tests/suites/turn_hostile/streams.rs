//! Attacks on the TURN server over TCP and TLS.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use spillway_tests::clock;
use spillway_tests::tls::Client;
use spillway_tests::turn::udp;
use spillway_wire::stun::{Class, Method, TransactionId, Writer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::target::Target;

/// Interval between two bytes of a slow client.
const DRIP: Duration = Duration::from_millis(250);
/// Time limit for a message and for a handshake (10 s), with a margin.
const END_LIMIT: Duration = Duration::from_secs(15);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Start of a TLS ClientHello with a length of 512 bytes.
const HELLO: [u8; 11] = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
const HTTP: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// A client that sends single bytes, or nothing, is disconnected. Others are served meanwhile.
pub(super) async fn drip(target: &Target) -> anyhow::Result<()> {
    let half = &allocate()[..20];
    let dripping = async {
        let ends = tokio::join!(
            drop_by_drop(target.relay.into(), half),
            drop_by_drop(target.tls, &HELLO),
            drop_by_drop(target.tls, &[]),
        );
        let inside = drop_by_drop_inside(target, half).await;
        for (who, end) in [
            ("a request", ends.0),
            ("a handshake", ends.1),
            ("no handshake", ends.2),
            ("a request inside tls", inside),
        ] {
            end.with_context(|| format!("{who}, drop by drop"))?;
        }
        anyhow::Ok(())
    };
    let (dripped, served) = tokio::join!(dripping, serves(target));
    served.context("while others drip")?;
    dripped
}

/// Bytes that are neither TURN nor TLS end only their own stream.
pub(super) async fn garbage(target: &Target) -> anyhow::Result<()> {
    let mut noise = vec![0; 3_000];
    noise.fill_with(|| fastrand::u8(..));
    let high = [0xff; 300];
    for bytes in [HTTP, &high, &HELLO, &noise] {
        is_ended(target.relay.into(), bytes).await?;
    }
    let huge = [22, 3, 3, 0xff, 0xff, 1, 2, 3];
    for bytes in [HTTP, &high, &allocate(), &noise, &huge] {
        is_ended(target.tls, bytes).await?;
    }
    let mut inside = target.tls_client()?.connect().await?;
    inside.write_all(&high).await?;
    ends(inside, &[]).await.context("garbage inside tls")?;
    serves(target).await
}

/// Messages with wrong length fields.
pub(super) async fn lying_lengths(target: &Target) -> anyhow::Result<()> {
    let with_length = |length: u16| {
        let mut request = allocate();
        request[2..4].copy_from_slice(&length.to_be_bytes());
        request
    };
    let channel = |length: u16| {
        let after = [&b"four"[..], &[0xff; 4]].concat();
        [&[0x40, 1][..], &length.to_be_bytes(), &after].concat()
    };
    for lie in [
        with_length(0xfffc), // the rest never comes
        with_length(7),      // not a multiple of 4
        with_length(4),      // the next message starts inside an attribute
        channel(0xffff),
        channel(1), // the client has no channel, and no message starts after the padding
    ] {
        is_ended(target.relay.into(), &lie).await?;
    }
    serves(target).await
}

/// An Allocate request without credentials.
fn allocate() -> Vec<u8> {
    let mut request = Vec::new();
    let kind = Method::Allocate.kind(Class::Request);
    udp(&mut Writer::new(&mut request, kind, TransactionId([6; 12])));
    request
}

/// Checks that a request gets its 401 over TCP and over TLS.
async fn serves(target: &Target) -> anyhow::Result<()> {
    let stream = TcpStream::connect(target.relay).await?;
    is_challenged(stream).await.context("over tcp")?;
    let stream = target.tls_client()?.connect().await?;
    is_challenged(stream).await.context("over tls")
}

async fn is_challenged(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> anyhow::Result<()> {
    stream.write_all(&allocate()).await?;
    let mut header = [0; 20];
    clock::timeout(ANSWER_LIMIT, stream.read_exact(&mut header)).await??;
    let kind = u16::from_be_bytes([header[0], header[1]]);
    ensure!(kind == Method::Allocate.kind(Class::Error), "{kind:#x}");
    Ok(())
}

async fn is_ended(listener: SocketAddr, bytes: &[u8]) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(listener).await?;
    stream.write_all(bytes).await?;
    let what = String::from_utf8_lossy(&bytes[..bytes.len().min(8)]).into_owned();
    ends(stream, &[])
        .await
        .with_context(|| format!("{what:?} at {listener}"))
}

async fn drop_by_drop(listener: SocketAddr, drops: &[u8]) -> anyhow::Result<()> {
    ends(TcpStream::connect(listener).await?, drops).await
}

async fn drop_by_drop_inside(target: &Target, drops: &[u8]) -> anyhow::Result<()> {
    ends(target.tls_client()?.connect().await?, drops).await
}

/// Checks that the server closes the stream; bytes that it sends before are ignored. Meanwhile `drops` are sent.
async fn ends(stream: impl AsyncRead + AsyncWrite, drops: &[u8]) -> anyhow::Result<()> {
    let (mut reading, mut writing) = tokio::io::split(stream);
    let until_end = async {
        let mut said = Vec::new();
        // A reset is a close, too.
        let _ = reading.read_to_end(&mut said).await;
    };
    let dripping = async {
        for byte in drops {
            if writing.write_all(&[*byte]).await.is_err() || writing.flush().await.is_err() {
                break;
            }
            clock::sleep(DRIP).await;
        }
        std::future::pending::<()>().await;
    };
    let ended = clock::timeout(END_LIMIT, async {
        tokio::select! {
            () = until_end => {}
            () = dripping => {}
        }
    });
    ended.await.context("it is not ended")
}

impl Target {
    fn tls_client(&self) -> anyhow::Result<Client> {
        let client = Client::new(&self.tls.to_string(), &self.authority)?;
        Ok(client.speaking(b"stun.turn"))
    }
}
