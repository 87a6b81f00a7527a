//! Detects the protocol of a server that does not answer as expected: plain Redis or TLS. A plain server waits for the
//! rest of a command when it gets a ClientHello, and a TLS server closes the connection when it gets a command. So
//! each is asked in the other protocol. Only at start; later the Redis servers are known.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::topology::Address;

/// Time for the whole exchange.
const ANSWER_TIME: Duration = Duration::from_millis(500);
/// An empty ClientHello in a record of TLS 1.0 (RFC 8446 section 5.1). It is too short for any server, so a TLS server
/// answers with an alert at once.
const EMPTY_HELLO: [u8; 9] = [22, 3, 1, 0, 4, 1, 0, 0, 0];
/// First byte of a TLS alert (RFC 8446 section 5.1).
const ALERT: u8 = 21;
/// A command that needs no password to be answered with anything.
const COMMAND: &[u8] = b"PING\r\n";

/// Error text if the server at `address` uses TLS unexpectedly, or no TLS.
pub(super) async fn mistaken(address: &Address, encrypted: bool) -> Option<String> {
    let question = if encrypted { COMMAND } else { &EMPTY_HELLO };
    let first = tokio::time::timeout(ANSWER_TIME, first_byte(address, question));
    match (encrypted, first.await.ok()?.ok()?) {
        (true, b'+' | b'-') => Some(format!(
            "Redis at {address} speaks no TLS: name it redis://, or its TLS port (which a cluster tells with tls-cluster yes)"
        )),
        (false, ALERT) => Some(format!("Redis at {address} speaks TLS: name it rediss://")),
        (true | false, _) => None,
    }
}

async fn first_byte(address: &Address, question: &[u8]) -> std::io::Result<u8> {
    let mut stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    stream.write_all(question).await?;
    stream.read_u8().await
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server with the same answer to every request.
    async fn who_says(answer: &'static [u8]) -> Address {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            stream.write_all(answer).await.unwrap();
        });
        Address {
            host: "127.0.0.1".into(),
            port,
        }
    }

    #[tokio::test]
    async fn only_what_is_certain_is_said() {
        let plain = who_says(b"-NOAUTH Authentication required.\r\n").await;
        let said = mistaken(&plain, true).await.unwrap();
        assert!(said.contains("name it redis://"), "{said}");
        let tls = who_says(&[21, 3, 3, 0, 2, 2, 50]).await;
        let said = mistaken(&tls, false).await.unwrap();
        assert!(said.contains("name it rediss://"), "{said}");
        for (answer, encrypted) in [(&b"HTTP/1.1 400"[..], true), (b"", true), (b"-ERR", false)] {
            let other = who_says(answer).await;
            assert_eq!(mistaken(&other, encrypted).await, None);
        }
    }
}
