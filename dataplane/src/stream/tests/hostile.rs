//! Hostile clients: floods, sudden disconnects, and misleading first bytes.

use rustix::event::{PollFd, PollFlags};
use socket2::SockRef;

use super::*;
use crate::limits::{
    ACCEPT_PAUSE, LINGER_TIME, READS_PER_STREAM, STREAM_BYTES_PER_TURN, STREAM_EVENTS_PER_TURN,
    UPSTREAM_TIME,
};

impl Rig {
    /// True if the shard would wake up immediately.
    fn is_ready(&self) -> bool {
        let mut set = [PollFd::new(&self.streams, PollFlags::IN)];
        rustix::event::poll(&mut set, Some(&Timespec::default())).unwrap() > 0
    }

    /// A client with an allocation, and its stream.
    fn known(&mut self) -> (TcpStream, StreamId) {
        let mut socket = self.connect();
        socket.write_all(&BINDING).unwrap();
        let stream = client_of(&self.poll()).stream.unwrap();
        self.streams.keep(stream, true, self.now);
        (socket, stream)
    }
}

/// Writes until the other side closes the connection.
fn flood(mut socket: TcpStream, mut bytes: impl FnMut() -> Vec<u8> + Send + 'static) {
    std::thread::spawn(move || while socket.write_all(&bytes()).is_ok() {});
}

fn reset(socket: &TcpStream) {
    SockRef::from(socket)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

#[test]
fn messages_without_pauses_do_not_count_as_slow() {
    let mut rig = Rig::new(ListenerKind::Turn);
    let (mut socket, _) = rig.known();
    socket.write_all(&BINDING[..7]).unwrap();
    for _ in 0..20 {
        rig.now += MESSAGE_TIME / 3;
        // The end of one message and the start of the next.
        socket.write_all(&BINDING[7..]).unwrap();
        socket.write_all(&BINDING[..7]).unwrap();
        let events = rig.poll();
        assert!(matches!(events[..], [OwnedEvent::Turn(..)]), "{events:?}");
    }
    rig.now += MESSAGE_TIME;
    assert!(
        matches!(rig.poll()[..], [OwnedEvent::Gone(_)]),
        "now it does"
    );
}

#[test]
fn streams_that_come_and_go_leave_no_timers_behind() {
    let mut rig = Rig::new(ListenerKind::Turn);
    let (mut socket, _) = rig.known();
    let mut arrivals = Arrivals::default();
    for _ in 0..400 {
        for part in [&BINDING[..7], &BINDING[7..]] {
            socket.write_all(part).unwrap();
            while !rig.is_ready() {}
            rig.streams.poll(rig.now, &mut arrivals);
        }
        rig.now += MESSAGE_TIME * 2;
        rig.streams.poll(rig.now, &mut arrivals);
    }
    assert_eq!(arrivals.iter().count(), 400);
    let queued = rig.streams.timers.queued();
    assert!(queued < 10, "{queued} timers of one stream");
}

#[test]
fn a_busy_stream_waits_in_one_place_for_its_turn() {
    let mut rig = Rig::new(ListenerKind::Turn);
    let (socket, _) = rig.known();
    flood(socket.try_clone().unwrap(), || BINDING.repeat(1_000));
    let mut arrivals = Arrivals::default();
    let mut messages = 0;
    while messages < 500_000 {
        rig.streams.poll(rig.now, &mut arrivals);
        messages += arrivals.iter().count();
        arrivals.clear();
        assert!(rig.streams.with_more_data.len() <= 1);
    }
    socket.shutdown(std::net::Shutdown::Both).unwrap();
}

#[test]
fn many_busy_streams_share_what_is_read_in_a_turn() {
    const STREAMS: usize = 2 * STREAM_EVENTS_PER_TURN;
    let mut rig = Rig::new(ListenerKind::Turn);
    let sockets: Vec<_> = (0..STREAMS).map(|_| rig.connect()).collect();
    for mut socket in &sockets {
        socket.write_all(&BINDING).unwrap();
    }
    for events in rig.poll() {
        let stream = client_of(&[events]).stream.unwrap();
        rig.streams.keep(stream, true, rig.now);
    }
    let message = [&[0x40, 0, 0x1f, 0xfc][..], &[1; 8_188]].concat();
    for mut socket in &sockets {
        socket.write_all(&message.repeat(7)).unwrap();
    }
    let mut arrivals = Arrivals::default();
    let mut by_stream: HashMap<Client, usize> = HashMap::new();
    let mut turns = 0;
    while by_stream.values().sum::<usize>() < 7 * STREAMS {
        let before = rig.streams.counts().bytes_in;
        rig.streams.poll(rig.now, &mut arrivals);
        let bytes = rig.streams.counts().bytes_in - before;
        // A connection is read up to its own limit.
        let limit = STREAM_BYTES_PER_TURN + READS_PER_STREAM * STREAM_READ_BYTES;
        assert!(bytes <= limit as u64, "{bytes}");
        for event in arrivals.iter() {
            let Event::Turn { client, .. } = event else {
                panic!("{event:?}");
            };
            *by_stream.entry(client).or_default() += 1;
        }
        arrivals.clear();
        turns += 1;
        assert!(turns < 1_000, "{by_stream:?}");
    }
    assert!(by_stream.values().all(|messages| *messages == 7));
}

#[test]
fn a_reset_of_a_client_that_is_not_read_is_noticed() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut rig = Rig::tls(Some(upstream.local_addr().unwrap()));
    let mut tls = rig.connect_tls(Some("http/1.1"));
    tls.conn.send_close_notify();
    tls.conn.complete_io(&mut tls.sock).unwrap();
    rig.poll();
    assert_eq!(rig.streams.counts().open, 1, "an answer may still come");
    assert!(!rig.is_ready());
    reset(&tls.sock);
    drop(tls);
    rig.poll();
    assert_eq!(rig.streams.counts().open, 0);
    assert_eq!(rig.ended(EndReason::Left), 1);
}

#[test]
fn an_upstream_that_ends_does_not_wake_the_shard_while_its_client_is_behind() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut rig = Rig::tls(Some(upstream.local_addr().unwrap()));
    let tls = rig.connect_tls(Some("http/1.1"));
    rig.poll();
    let (mut socket, _) = upstream.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    // Until every buffer is full.
    for _ in 0..10 {
        while socket.write(&[b'y'; 65_536]).is_ok() {}
        rig.poll();
    }
    assert!(!rig.is_ready());
    reset(&socket);
    drop(socket);
    rig.poll();
    assert!(!rig.is_ready());
    assert_eq!(rig.streams.counts().open, 1, "what it has said is due");
    drop(tls);
    rig.poll();
    assert_eq!(rig.streams.counts().open, 0);
}

#[test]
fn a_client_with_an_early_response_may_finish_its_request() {
    let mut rig = Rig::tls(None);
    let mut tls = rig.connect_tls(Some("http/1.1"));
    rig.poll();
    for _ in 0..3 {
        tls.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        rig.poll(); // a reset would discard the response
    }
    let mut response = Vec::new();
    tls.read_to_end(&mut response).unwrap();
    assert!(response.starts_with(b"HTTP/1.1 421 "), "{response:?}");
    assert_eq!(rig.streams.counts().open, 1);
    rig.now += LINGER_TIME;
    rig.poll();
    assert_eq!(rig.ended(EndReason::Done), 1, "but not for ever");
}

#[test]
fn an_upstream_that_says_nothing_at_all_is_none() {
    let domain = socket2::Domain::IPV4;
    let full = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    full.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
        .unwrap();
    full.listen(0).unwrap();
    let to = full.local_addr().unwrap().as_socket().unwrap();
    // The kernel ignores connections beyond the backlog of the listener.
    let _waiting: Vec<_> = (0..4)
        .map_while(|_| TcpStream::connect_timeout(&to, Duration::from_millis(200)).ok())
        .collect();
    let mut rig = Rig::tls(Some(to));
    let mut tls = rig.connect_tls(None);
    // The time that the client takes does not reduce the time of the upstream.
    rig.now += HANDSHAKE_TIME * 9 / 10;
    let shaken = rig.streams.counts().bytes_out;
    tls.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    rig.poll();
    assert_eq!(rig.streams.counts().bytes_out, shaken, "nobody knows yet");
    assert!(!rig.is_ready());
    rig.now += UPSTREAM_TIME;
    rig.poll();
    let mut response = Vec::new();
    tls.read_to_end(&mut response).unwrap();
    assert!(response.starts_with(b"HTTP/1.1 502 "), "{response:?}");
}

/// Runs in a child process, because the limit applies to the process.
#[test]
fn without_descriptors_accepting_is_tried_again_later() {
    const CHILD: &str = "SPILLWAY_TEST_FEW_DESCRIPTORS";
    if std::env::var_os(CHILD).is_some() {
        return run_out_of_descriptors();
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([&*name, "--exact", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let response = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && response.contains("1 passed"),
        "{response}"
    );
}

fn run_out_of_descriptors() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let mut rig = Rig::new(ListenerKind::Turn);
    let few = Rlimit {
        current: Some(64),
        maximum: Some(64),
    };
    setrlimit(Resource::Nofile, few).unwrap();
    let clients: Vec<_> = (0..10).map(|_| rig.connect()).collect();
    let others = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok());
    let others: Vec<_> = others.collect();
    assert!(!others.is_empty());
    let mut arrivals = Arrivals::default();
    assert!(rig.is_ready());
    assert!(!rig.streams.poll(rig.now, &mut arrivals));
    let with_more_data = rig.now + ACCEPT_PAUSE;
    assert_eq!(rig.streams.poll_timeout(), Some(with_more_data));
    assert!(!rig.is_ready(), "it does not spin");
    drop(others);
    rig.now = with_more_data;
    rig.poll();
    assert_eq!(rig.streams.counts().open as usize, clients.len());
}
