//! At start, finds out whether a server that does not answer as configured uses TLS or plain Redis.
//! A plain server waits for more bytes after a ClientHello, and a TLS server closes the connection
//! after a plain command. So the server is asked in the protocol that is not configured.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::topology::Address;

/// Time for the whole exchange.
const ANSWER_TIME: Duration = Duration::from_millis(500);
/// An empty ClientHello in a TLS 1.0 record (RFC 8446 section 5.1). It is invalid, so a TLS server
/// answers with an alert at once.
const EMPTY_HELLO: [u8; 9] = [22, 3, 1, 0, 4, 1, 0, 0, 0];
/// First byte of a TLS alert (RFC 8446 section 5.1).
const ALERT: u8 = 21;
/// A command that a plain server answers without authentication, if only with an error.
const COMMAND: &[u8] = b"PING\r\n";

/// The error text if the server at `address` uses TLS unexpectedly, or does not use it.
pub(super) async fn wrong_protocol(address: &Address, encrypted: bool) -> Option<String> {
    let question = if encrypted { COMMAND } else { &EMPTY_HELLO };
    let first = tokio::time::timeout(ANSWER_TIME, first_byte(address, question));
    match (encrypted, first.await.ok()?.ok()?) {
        (true, b'+' | b'-') => Some(format!(
            "Redis at {address} does not use TLS: write redis://, or name its TLS port (a cluster announces it with tls-cluster yes)"
        )),
        (false, ALERT) => Some(format!("Redis at {address} uses TLS: write rediss://")),
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

    /// Starts a server that sends `answer` to every request.
    async fn serve_answer(answer: &'static [u8]) -> Address {
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
        let plain = serve_answer(b"-NOAUTH Authentication required.\r\n").await;
        let said = wrong_protocol(&plain, true).await.unwrap();
        assert!(said.contains("write redis://"), "{said}");
        let tls = serve_answer(&[21, 3, 3, 0, 2, 2, 50]).await;
        let said = wrong_protocol(&tls, false).await.unwrap();
        assert!(said.contains("write rediss://"), "{said}");
        for (answer, encrypted) in [(&b"HTTP/1.1 400"[..], true), (b"", true), (b"-ERR", false)] {
            let other = serve_answer(answer).await;
            assert_eq!(wrong_protocol(&other, encrypted).await, None);
        }
    }
}
