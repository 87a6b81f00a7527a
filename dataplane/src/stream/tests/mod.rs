//! Tests with real connections on loopback; time is passed in as a value.

mod http; // HTTP passed to the control plane
mod hostile; // hostile clients

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

use super::*;
use crate::limits::{
    HANDSHAKE_TIME, MAX_STREAMS_PER_SOURCE, MESSAGE_TIME, PROVE_TIME, SESSION_SILENCE,
};

/// A Binding request without attributes.
const BINDING: [u8; 20] = [
    0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
];

struct Rig {
    streams: Streams,
    port: u16,
    now: Instant,
    client_tls: Option<Arc<ClientConfig>>,
}

/// An event of a stream, with owned bytes.
#[derive(Debug, Clone, PartialEq)]
enum OwnedEvent {
    Turn(Client, Vec<u8>),
    Ice(StreamId, Vec<u8>),
    Gone(Client),
}

impl Rig {
    fn new(kind: ListenerKind) -> Self {
        Self::with(kind, TlsOptions::default())
    }

    fn with(kind: ListenerKind, tls: TlsOptions) -> Self {
        let (port, mut listeners) = bind(kind, "test", 0, 1).unwrap();
        Self {
            streams: Streams::new(listeners.remove(0), tls).unwrap(),
            port,
            now: Instant::now(),
            client_tls: None,
        }
    }

    fn tls(http: Option<SocketAddr>) -> Self {
        let (config, authority) = certificate();
        let options = TlsOptions {
            config: Some(config),
            renewals: None,
            http,
        };
        let mut rig = Self::with(ListenerKind::Tls, options);
        let mut roots = RootCertStore::empty();
        roots.add(authority).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        rig.client_tls = Some(Arc::new(config));
        rig
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A TLS client; a thread does its handshake while the rig polls.
    fn connect_tls(&mut self, protocol: Option<&str>) -> StreamOwned<ClientConnection, TcpStream> {
        let mut config = ClientConfig::clone(self.client_tls.as_ref().unwrap());
        config.alpn_protocols = protocol.iter().map(|name| name.as_bytes().into()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(connection, self.connect());
        let shaking = std::thread::spawn(move || {
            while stream.conn.is_handshaking() {
                stream.conn.complete_io(&mut stream.sock).unwrap();
            }
            stream
        });
        while !shaking.is_finished() {
            assert_eq!(self.poll(), []);
        }
        shaking.join().unwrap()
    }

    /// All events until nothing arrives for a moment.
    fn poll(&mut self) -> Vec<OwnedEvent> {
        let mut events = Vec::new();
        let mut arrivals = Arrivals::default();
        for _ in 0..20 {
            while self.streams.poll(self.now, &mut arrivals) {}
            self.streams.flush(self.now);
            events.extend(arrivals.iter().map(|event| match event {
                Event::Turn { client, message } => OwnedEvent::Turn(client, message.to_vec()),
                Event::Ice {
                    stream, datagram, ..
                } => OwnedEvent::Ice(stream, datagram.to_vec()),
                Event::Gone { client } => OwnedEvent::Gone(client),
            }));
            arrivals.clear();
            std::thread::sleep(Duration::from_millis(1));
        }
        events
    }

    fn ended(&self, reason: EndReason) -> u64 {
        self.streams.counts().ended(reason)
    }
}

fn certificate() -> (
    Arc<ServerConfig>,
    rustls::pki_types::CertificateDer<'static>,
) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let der = certificate.der().clone();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der.clone()], key)
        .unwrap();
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    (Arc::new(config), der)
}

fn read(mut stream: impl Read, bytes: usize) -> Vec<u8> {
    let mut got = vec![0; bytes];
    stream.read_exact(&mut got).unwrap();
    got
}

fn client_of(events: &[OwnedEvent]) -> Client {
    match events {
        [OwnedEvent::Turn(client, _), ..] => *client,
        other => panic!("no message: {other:?}"),
    }
}

#[test]
fn messages_are_whole_however_they_were_cut_and_answers_go_back() {
    let mut rig = Rig::new(ListenerKind::Turn);
    let mut socket = rig.connect();
    let channel = [0x40, 0, 0, 3, 7, 8, 9, 0];
    let both = [&BINDING[..], &channel].concat();
    for cut in 0..both.len() {
        socket.write_all(&both[..cut]).unwrap();
        let mut events = rig.poll();
        socket.write_all(&both[cut..]).unwrap();
        events.extend(rig.poll());
        let client = client_of(&events);
        assert_eq!(client.remote, socket.local_addr().unwrap());
        let expected = [
            OwnedEvent::Turn(client, BINDING.to_vec()),
            OwnedEvent::Turn(client, channel[..7].to_vec()),
        ];
        assert_eq!(events, expected, "cut at {cut}");
        let stream = client.stream.unwrap();
        rig.streams.send(stream, [b"he", b"llo", b"!"]).unwrap();
        rig.streams.flush(rig.now);
        assert_eq!(read(&socket, 6), b"hello!");
    }
    drop(socket);
    assert!(matches!(rig.poll()[..], [OwnedEvent::Gone(_)]));
    assert_eq!(rig.ended(EndReason::Left), 1);
    assert_eq!(rig.streams.counts().open, 0);
}

#[test]
fn datagrams_of_sessions_come_with_their_length_before_them() {
    let mut rig = Rig::new(ListenerKind::Ice);
    let mut socket = rig.connect();
    socket.write_all(&[0, 2, 8, 9, 0, 0, 0, 1, 7]).unwrap();
    let events = rig.poll();
    let [
        OwnedEvent::Ice(stream, first),
        OwnedEvent::Ice(_, second),
        OwnedEvent::Ice(_, third),
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(
        (&first[..], &second[..], &third[..]),
        (&[8, 9][..], &[][..], &[7][..])
    );
    rig.streams.keep(*stream, true, rig.now);
    for _ in 0..100 {
        rig.now += SESSION_SILENCE / 2;
        socket.write_all(&[0, 0]).unwrap();
        assert_eq!(
            rig.poll(),
            [OwnedEvent::Ice(*stream, vec![])],
            "it is a session's"
        );
    }
    rig.streams.keep(*stream, false, rig.now);
    rig.now += PROVE_TIME;
    assert!(matches!(rig.poll()[..], [OwnedEvent::Gone(_)]));
    socket = rig.connect();
    socket.write_all(&[0, 0]).unwrap();
    let events = rig.poll();
    let [OwnedEvent::Ice(stream, _)] = events[..] else {
        panic!("{events:?}");
    };
    rig.streams.keep(stream, true, rig.now);
    rig.now += SESSION_SILENCE;
    assert!(
        matches!(rig.poll()[..], [OwnedEvent::Gone(_)]),
        "the client has left"
    );
}

#[test]
fn inside_tls_the_protocol_says_what_it_is_or_the_first_byte_does() {
    let mut rig = Rig::tls(None);
    let mut held = Vec::new();
    for protocol in [Some("stun.turn"), None] {
        let mut tls = rig.connect_tls(protocol);
        tls.write_all(&BINDING).unwrap();
        let events = rig.poll();
        let client = client_of(&events);
        assert_eq!(client.transport, crate::turn::Transport::Tls);
        let long = vec![5; 60_000];
        let stream = client.stream.unwrap();
        rig.streams.send(stream, [&long, &[], &[]]).unwrap();
        let reading = std::thread::spawn(move || (read(&mut tls, 60_000), tls));
        while !reading.is_finished() {
            assert_eq!(rig.poll(), []);
        }
        let (got, tls) = reading.join().unwrap();
        assert_eq!(got, long);
        held.push(tls);
    }
    assert_eq!(rig.streams.counts().handshakes, 2);
    // No upstream listens.
    let mut tls = rig.connect_tls(Some("http/1.1"));
    rig.poll();
    let mut response = Vec::new();
    tls.read_to_end(&mut response).unwrap();
    assert!(response.starts_with(b"HTTP/1.1 421 "), "{response:?}");
}

#[test]
fn each_message_is_a_record_of_its_own() {
    const MESSAGES: usize = 1_500;
    const LENGTH: usize = 40;
    // Type, version and length before the content; type and cipher tag after it (RFC 8446 section 5.2).
    const RECORD: usize = 5 + LENGTH + 1 + 16;
    let mut rig = Rig::tls(None);
    let mut tls = rig.connect_tls(Some("stun.turn"));
    tls.write_all(&BINDING).unwrap();
    let stream = client_of(&rig.poll()).stream.unwrap();
    for number in 0..MESSAGES {
        let part = [number as u8; LENGTH / 2];
        rig.streams.send(stream, [&part, &part, &[]]).unwrap();
    }
    assert_eq!(rig.poll(), []);
    let mut sealed = Vec::new();
    tls.sock.set_nonblocking(true).unwrap();
    let _ = tls.sock.read_to_end(&mut sealed); // ends with WouldBlock
    let mut lengths = Vec::new();
    let mut rest = &sealed[..];
    while let [23, 3, 3, high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        lengths.push(5 + length);
        rest = &after[length..];
    }
    assert!(rest.is_empty());
    // The first records may be session tickets.
    let messages = lengths.iter().filter(|length| **length == RECORD).count();
    assert_eq!(messages, MESSAGES, "{:?}", &lengths[..8]);
}

#[test]
fn what_is_no_message_ends_the_stream_and_no_other() {
    let mut rig = Rig::new(ListenerKind::Turn);
    let mut good = rig.connect();
    let mut long = BINDING;
    long[2..4].copy_from_slice(&4_000_u16.to_be_bytes()); // for a client without credentials
    for bytes in [&b"\x80\0\0\0"[..], &[0, 1, 0, 3], &long] {
        let mut bad = rig.connect();
        bad.write_all(bytes).unwrap();
        assert!(matches!(rig.poll()[..], [OwnedEvent::Gone(_)]));
        assert_eq!(bad.read(&mut [0; 9]).unwrap_or(0), 0);
    }
    assert_eq!(rig.ended(EndReason::Garbage), 3);
    good.write_all(&BINDING).unwrap();
    let events = rig.poll();
    let stream = client_of(&events).stream.unwrap();
    rig.streams.keep(stream, true, rig.now);
    good.write_all(&long).unwrap();
    assert_eq!(rig.poll(), [], "who is known may say more at once");
    let mut garbage = Rig::tls(None);
    garbage
        .connect()
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .unwrap();
    garbage.poll();
    assert_eq!(garbage.ended(EndReason::Garbage), 1);
}

#[test]
fn slow_or_unauthenticated_clients_are_disconnected() {
    let mut rig = Rig::new(ListenerKind::Turn);
    let mut dripping = rig.connect();
    let idle = rig.connect();
    dripping.write_all(&BINDING).unwrap();
    let stream = client_of(&rig.poll()).stream.unwrap();
    rig.streams.keep(stream, true, rig.now);
    for byte in &BINDING[..9] {
        dripping.write_all(&[*byte]).unwrap();
        rig.now += MESSAGE_TIME / 10;
        assert_eq!(rig.poll(), []);
    }
    rig.now += MESSAGE_TIME / 5;
    assert!(matches!(rig.poll()[..], [OwnedEvent::Gone(client)] if client.stream == Some(stream)));
    rig.now += PROVE_TIME;
    assert_eq!(rig.poll().len(), 1);
    assert_eq!(rig.ended(EndReason::TooSlow), 2);
    drop(idle);
    let mut tls = Rig::tls(None);
    let silent = tls.connect();
    tls.poll();
    tls.now += HANDSHAKE_TIME;
    tls.poll();
    assert_eq!(tls.ended(EndReason::TooSlow), 1);
    drop(silent);
}

#[test]
fn a_client_that_does_not_read_loses_whole_messages() {
    let mut rig = Rig::new(ListenerKind::Turn);
    let mut socket = rig.connect();
    socket.write_all(&BINDING).unwrap();
    let stream = client_of(&rig.poll()).stream.unwrap();
    rig.streams.keep(stream, true, rig.now);
    let (mut sent, mut dropped) = (Vec::new(), 0);
    for number in 0..20_000_u32 {
        let message = [&number.to_be_bytes()[..], &[6; 996]].concat();
        match rig.streams.send(stream, [&message, &[], &[]]) {
            Ok(()) => sent.push(number),
            Err(reason) => {
                assert_eq!(reason, DropReason::SendBufferFull);
                dropped += 1;
            }
        }
        rig.streams.flush(rig.now);
    }
    assert!(
        dropped > 1_000 && sent.len() > 100,
        "{dropped} {}",
        sent.len()
    );
    assert_eq!(rig.streams.counts().dropped_messages, dropped);
    let reading = std::thread::spawn(move || {
        let whole = sent.iter().map(|number| {
            let message = read(&socket, 1_000);
            message[..4] == number.to_be_bytes() && message[4..].iter().all(|byte| *byte == 6)
        });
        whole.filter(|is_whole| *is_whole).count() == sent.len()
    });
    while !reading.is_finished() {
        rig.poll();
    }
    assert!(
        reading.join().unwrap(),
        "what was taken has arrived, in order"
    );
}

#[test]
fn one_address_has_no_more_than_its_share() {
    let mut rig = Rig::new(ListenerKind::Turn);
    let share = usize::from(MAX_STREAMS_PER_SOURCE);
    let mut held = Vec::new();
    for number in 0..share + 3 {
        held.push(rig.connect());
        if number % 500 == 0 {
            rig.poll();
        }
    }
    rig.poll();
    assert_eq!(rig.streams.counts().open as usize, share);
    assert_eq!(rig.ended(EndReason::TooMany), 3);
    drop(held);
    assert_eq!(rig.poll().len(), share);
    let _again = rig.connect();
    rig.poll();
    assert_eq!(rig.streams.counts().open, 1);
}

#[test]
fn random_bytes_break_nothing() {
    let mut rng = fastrand::Rng::with_seed(7);
    for mut rig in [
        Rig::new(ListenerKind::Turn),
        Rig::new(ListenerKind::Ice),
        Rig::tls(None),
    ] {
        for _ in 0..60 {
            let mut socket = rig.connect();
            let mut bytes = vec![0; rng.usize(1..3_000)];
            rng.fill(&mut bytes);
            // The connection may be closed by then.
            let _ = socket.write_all(&bytes);
            for events in rig.poll() {
                if let OwnedEvent::Turn(client, message) = events {
                    assert!(client.stream.is_some() && !message.is_empty());
                }
            }
        }
        rig.now += PROVE_TIME * 2;
        rig.poll();
        assert_eq!(rig.streams.counts().open, 0);
    }
}
