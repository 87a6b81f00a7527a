//! Delivery rate of Redis alone: messages published to one shard channel by a pipeline without a script, counted at
//! one subscriber per server. It uses plain sockets, so that no client library is measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

const CHANNEL: &str = "spillway-bench";
/// Number of publications per write.
const BATCH: u64 = 64;
/// Maximum number of unanswered publications.
const WINDOW: u64 = 2_048;
/// Time before counting starts.
const WARM_UP: Duration = Duration::from_millis(500);
/// Timeout of a socket.
const PATIENCE: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 256 * 1024;

/// Messages of `bytes` that the server at `redis` delivers per second, summed over `subscribers`.
pub fn delivered_per_second(
    redis: SocketAddr,
    subscribers: usize,
    bytes: usize,
    length: Duration,
) -> anyhow::Result<f64> {
    ensure!(
        (1..10).contains(&subscribers),
        "{subscribers} subscribers are outside 1..=9"
    );
    let message = command(&["SPUBLISH", CHANNEL, &"x".repeat(bytes)]);
    let delivered_bytes = reply_bytes(bytes);
    let stop = Arc::new(AtomicBool::new(false));
    let counted = Arc::new(AtomicU64::new(0));
    let mut readers = Vec::new();
    for _ in 0..subscribers {
        let mut stream = subscribe(redis)?;
        let (stop, counted) = (Arc::clone(&stop), Arc::clone(&counted));
        readers.push(std::thread::spawn(move || {
            count(&mut stream, &stop, &counted)
        }));
    }
    let publisher = {
        let (mut stream, stop) = (connect(redis)?, Arc::clone(&stop));
        std::thread::spawn(move || publish(&mut stream, &message, &stop))
    };
    std::thread::sleep(WARM_UP);
    let (start, before) = (Instant::now(), counted.load(Ordering::Relaxed));
    std::thread::sleep(length);
    let (taken, after) = (start.elapsed(), counted.load(Ordering::Relaxed));
    stop.store(true, Ordering::Relaxed);
    publisher.join().expect("the publisher does not panic")?;
    for reader in readers {
        reader.join().expect("a subscriber does not panic")?;
    }
    Ok((after - before) as f64 / delivered_bytes as f64 / taken.as_secs_f64())
}

fn connect(redis: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(redis).with_context(|| format!("no Redis at {redis}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn subscribe(redis: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = connect(redis)?;
    stream.write_all(&command(&["SSUBSCRIBE", CHANNEL]))?;
    let wanted = format!(
        "*3\r\n$10\r\nssubscribe\r\n${}\r\n{CHANNEL}\r\n:1\r\n",
        CHANNEL.len()
    );
    let mut answer = vec![0; wanted.len()];
    stream.read_exact(&mut answer)?;
    ensure!(
        answer == wanted.as_bytes(),
        "Redis at {redis} does not subscribe: {}",
        String::from_utf8_lossy(&answer)
    );
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    Ok(stream)
}

/// All deliveries have the same length, so bytes are converted to messages.
fn count(stream: &mut TcpStream, stop: &AtomicBool, counted: &AtomicU64) -> anyhow::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => anyhow::bail!("Redis closed a subscriber's connection"),
            Ok(read) => {
                counted.fetch_add(read as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn publish(stream: &mut TcpStream, message: &[u8], stop: &AtomicBool) -> anyhow::Result<()> {
    // `:N\r\n`, N being a single digit.
    const ANSWER_BYTES: u64 = 4;
    let usize_of = |count: u64| usize::try_from(count).expect("a few thousand");
    let batch = message.repeat(usize_of(BATCH));
    let mut answers = vec![0; usize_of(BATCH * ANSWER_BYTES)];
    let mut unanswered = 0;
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&batch)?;
        unanswered += BATCH;
        if unanswered >= WINDOW {
            stream.read_exact(&mut answers)?;
            ensure!(
                answers.first() == Some(&b':'),
                "Redis does not publish: {}",
                String::from_utf8_lossy(&answers)
            );
            unanswered -= BATCH;
        }
    }
    Ok(())
}

/// Encodes a command in RESP.
fn command(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text += &format!("${}\r\n{word}\r\n", word.len());
    }
    text.into_bytes()
}

/// Bytes of the delivery of a message of `bytes`.
fn reply_bytes(bytes: usize) -> usize {
    command(&["smessage", CHANNEL, &"x".repeat(bytes)]).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_counted_words() {
        assert_eq!(command(&["GET", "ab"]), b"*2\r\n$3\r\nGET\r\n$2\r\nab\r\n");
        assert_eq!(
            reply_bytes(2),
            "*3\r\n$8\r\nsmessage\r\n$14\r\nspillway-bench\r\n$2\r\nxx\r\n".len()
        );
    }
}
