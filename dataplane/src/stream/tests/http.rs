//! HTTP passed to an upstream that responds, does not respond, or does not listen.

use super::*;
use crate::limits::PROXY_BYTES;

#[test]
fn http_is_passed_on_both_ways_at_the_pace_of_the_slower_end() {
    const BODY: usize = 1 << 20;
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut rig = Rig::tls(Some(upstream.local_addr().unwrap()));
    let serving = std::thread::spawn(move || {
        let (mut socket, _) = upstream.accept().unwrap();
        std::thread::sleep(Duration::from_millis(50)); // the client writes first
        let mut asked = Vec::new();
        socket.read_to_end(&mut asked).unwrap();
        socket.write_all(&vec![b'y'; BODY]).unwrap();
        asked
    });
    let mut tls = rig.connect_tls(None);
    let asking = std::thread::spawn(move || {
        tls.write_all(&vec![b'X'; BODY]).unwrap();
        tls.conn.send_close_notify();
        tls.conn.complete_io(&mut tls.sock).unwrap();
        std::thread::sleep(Duration::from_millis(50)); // the upstream writes first
        let mut response = Vec::new();
        tls.read_to_end(&mut response).unwrap();
        response
    });
    while !asking.is_finished() {
        assert_eq!(rig.poll(), []);
        let held = rig.streams.connections.iter().map(|(_, connection)| {
            let upstream = match &connection.phase {
                Phase::Http(upstream) => upstream.waiting_bytes(),
                _ => 0,
            };
            connection.layer.waiting_bytes() + upstream
        });
        let limit = PROXY_BYTES + STREAM_READ_BYTES;
        assert!(held.max().unwrap_or(0) <= 2 * limit);
    }
    assert_eq!(asking.join().unwrap(), vec![b'y'; BODY]);
    assert_eq!(serving.join().unwrap(), vec![b'X'; BODY]);
    rig.poll();
    assert_eq!(rig.streams.counts().open, 0);
}

#[test]
fn an_answer_that_comes_before_the_question_has_ended_is_passed_on_whole() {
    const HEAD: &str = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\n";
    let (half, rest) = HEAD.split_at(20);
    let long = HEAD.to_owned() + &"y".repeat(40_000);
    for (early, late, expected) in [
        ("", HEAD, HEAD),
        (half, rest, HEAD),
        ("", &*long, &*long),
        ("", "", "HTTP/1.1 502 "),
    ] {
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut rig = Rig::tls(Some(upstream.local_addr().unwrap()));
        let mut tls = rig.connect_tls(None);
        let asking = std::thread::spawn(move || {
            // More than all buffers on the path hold.
            tls.write_all(&vec![b'P'; 24 << 20]).unwrap();
            let mut response = String::new();
            tls.read_to_string(&mut response).unwrap();
            response
        });
        let is_stuck = |rig: &Rig| {
            let mut upstreams = rig.streams.connections.iter();
            upstreams.any(|(_, connection)| {
                matches!(&connection.phase, Phase::Http(upstream)
                    if upstream.waiting_bytes() >= PROXY_BYTES)
            })
        };
        while !is_stuck(&rig) {
            assert_eq!(rig.poll(), []);
        }
        let (mut socket, _) = upstream.accept().unwrap();
        socket.write_all(early.as_bytes()).unwrap();
        rig.poll();
        assert!(is_stuck(&rig), "there is more to be written");
        socket.write_all(late.as_bytes()).unwrap();
        drop(socket); // most of the request is unread, so this is a reset
        while !asking.is_finished() {
            assert_eq!(rig.poll(), []);
        }
        let response = asking.join().unwrap();
        match expected.ends_with(' ') {
            true => assert!(response.starts_with(expected), "{response}"),
            false => assert_eq!(response, expected),
        }
        rig.poll();
        assert_eq!(rig.ended(EndReason::Done), 1);
    }
}

#[test]
fn without_an_upstream_there_is_an_answer_all_the_same() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut rig = Rig::tls(Some(nobody.local_addr().unwrap()));
    drop(nobody);
    let mut tls = rig.connect_tls(Some("http/1.1"));
    tls.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    rig.poll();
    let mut response = String::new();
    tls.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 502 "), "{response}");
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}", body.len())));
    drop(tls);
    rig.poll();
    assert_eq!(rig.ended(EndReason::Done), 1);
}
