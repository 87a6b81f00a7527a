//! One side of the handshake, sans-IO. Call [`Handshake::poll`] until `None` after every other call, and
//! [`Handshake::handle_timeout`] at [`Handshake::deadline`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::record::{Proof, Random, Record};

/// Side of the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sends the first message.
    Client,
    /// The side that waits for the first packet.
    Server,
}

/// What a side does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this datagram to the other side.
    Packet(Vec<u8>),
    /// The peer has this certificate.
    PeerCertificate(Vec<u8>),
    /// Keys of SRTP with AES-128-GCM: client key, server key, client salt, server salt.
    Keys([u8; KEY_BYTES]),
    /// The handshake is complete.
    Connected,
    /// The peer closed the connection.
    Closed,
}

/// One side of the handshake.
#[derive(Debug)]
pub struct Handshake {
    role: Option<Role>,
    certificate: Vec<u8>,
    random: Random,
    peer: Option<Peer>,
    is_connected: bool,
    is_closing: bool,
    outputs: VecDeque<Output>,
    /// The message that is sent again while its answer is missing.
    flight: Option<Flight>,
    records: u64,
}

/// What a side knows of the other.
#[derive(Debug)]
struct Peer {
    random: Random,
    certificate: Vec<u8>,
}

#[derive(Debug)]
struct Flight {
    record: Record,
    again_at: Instant,
    pause: Duration,
}

/// Bytes of the keys for AES-128-GCM in both directions (RFC 7714 section 12): two keys of 16 bytes, two salts of 12.
pub const KEY_BYTES: usize = 2 * (16 + 12);
/// Pause before the first retransmission; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Maximum pause between retransmissions.
const MAX_PAUSE: Duration = Duration::from_secs(2);

impl Handshake {
    /// A side without a role. `random` must be used for this handshake alone.
    pub fn new(certificate: Vec<u8>, random: [u8; 32]) -> Self {
        Self {
            role: None,
            certificate,
            random,
            peer: None,
            is_connected: false,
            is_closing: false,
            outputs: VecDeque::new(),
            flight: None,
            records: 0,
        }
    }

    /// Sets the role, once. A client sends its first message at `now`.
    pub fn start(&mut self, role: Role, now: Instant) {
        if self.role.is_some() {
            return;
        }
        self.role = Some(role);
        if role == Role::Client {
            let hello = Record::Hello {
                random: self.random,
                certificate: self.certificate.clone(),
            };
            self.fly(hello, now);
        }
    }

    /// Role of the side, after [`start`](Self::start).
    pub fn role(&self) -> Option<Role> {
        self.role
    }

    /// True when both sides have the keys.
    pub fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// True after [`close`](Self::close), or when the peer closed.
    pub fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// True when nothing is left to send after the close.
    pub fn is_closed(&self) -> bool {
        self.is_closing && self.outputs.is_empty()
    }

    /// Handles a datagram of the peer. Datagrams of other handshakes are ignored.
    pub fn handle_packet(&mut self, packet: &[u8], now: Instant) {
        let Some((record, role)) = Record::read(packet).zip(self.role) else {
            return;
        };
        match (role, record) {
            (
                Role::Server,
                Record::Hello {
                    random,
                    certificate,
                },
            ) => self.on_hello(
                Peer {
                    random,
                    certificate,
                },
                now,
            ),
            (
                Role::Client,
                Record::Answer {
                    client_random,
                    random,
                    certificate,
                },
            ) if client_random == self.random => self.on_answer(Peer {
                random,
                certificate,
            }),
            (Role::Server, Record::Finished(proof)) if Some(proof) == self.proof("finished") => {
                self.connect();
            }
            (_, Record::Close(proof)) if Some(proof) == self.proof("close") && !self.is_closing => {
                self.is_closing = true;
                self.flight = None;
                self.outputs.push_back(Output::Closed);
            }
            (_, _) => {}
        }
    }

    /// Time of the next [`handle_timeout`](Self::handle_timeout).
    pub fn deadline(&self) -> Option<Instant> {
        self.flight.as_ref().map(|flight| flight.again_at)
    }

    /// Sends a message again whose answer is missing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(flight) = &mut self.flight
            && flight.again_at <= now
        {
            flight.pause = (flight.pause * 2).min(MAX_PAUSE);
            flight.again_at = now + flight.pause;
            let record = flight.record.clone();
            self.send(&record);
        }
    }

    /// Closes the connection. The peer learns of it if the handshake is complete.
    pub fn close(&mut self) {
        if self.is_closing {
            return;
        }
        self.is_closing = true;
        self.flight = None;
        if let Some(proof) = self.proof("close").filter(|_| self.is_connected) {
            self.send(&Record::Close(proof));
        }
    }

    /// The next output of the handshake.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn on_hello(&mut self, peer: Peer, now: Instant) {
        if self.is_connected {
            return;
        }
        let answer = Record::Answer {
            client_random: peer.random,
            random: self.random,
            certificate: self.certificate.clone(),
        };
        self.peer = Some(peer);
        self.fly(answer, now);
    }

    fn on_answer(&mut self, peer: Peer) {
        self.peer.get_or_insert(peer);
        // An answer that comes again means that the last message was lost.
        if let Some(proof) = self.proof("finished") {
            self.send(&Record::Finished(proof));
        }
        self.connect();
    }

    fn connect(&mut self) {
        if self.is_connected {
            return;
        }
        let Some((keys, peer)) = self.keys().zip(self.peer.as_ref()) else {
            return;
        };
        let certificate = peer.certificate.clone();
        self.is_connected = true;
        self.flight = None;
        self.outputs.extend([
            Output::PeerCertificate(certificate),
            Output::Keys(keys),
            Output::Connected,
        ]);
    }

    fn fly(&mut self, record: Record, now: Instant) {
        self.send(&record);
        self.flight = Some(Flight {
            record,
            again_at: now + FIRST_PAUSE,
            pause: FIRST_PAUSE,
        });
    }

    fn send(&mut self, record: &Record) {
        self.records += 1;
        let bytes = record.to_bytes(self.records);
        self.outputs.push_back(Output::Packet(bytes));
    }

    fn keys(&self) -> Option<[u8; KEY_BYTES]> {
        let halves = [self.derive("first keys")?, self.derive("other keys")?];
        let mut keys = [0; KEY_BYTES];
        keys.copy_from_slice(&halves.as_flattened()[..KEY_BYTES]);
        Some(keys)
    }

    fn proof(&self, purpose: &str) -> Option<Proof> {
        let whole = self.derive(purpose)?;
        let (half, _) = whole.split_first_chunk()?;
        Some(*half)
    }

    /// Hash of both random numbers; `None` while the peer's is not known.
    fn derive(&self, purpose: &str) -> Option<[u8; 32]> {
        let (role, peer) = self.role.zip(self.peer.as_ref())?;
        let (client, server) = match role {
            Role::Client => (&self.random, &peer.random),
            Role::Server => (&peer.random, &self.random),
        };
        let mut hash = Sha256::new();
        hash.update(client);
        hash.update(server);
        hash.update(purpose.as_bytes());
        Some(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;

    struct Sides {
        client: Handshake,
        server: Handshake,
        now: Instant,
        /// Outputs of the client and the server, without packets.
        seen: [Vec<Output>; 2],
        packets: usize,
    }

    impl Sides {
        fn start() -> Self {
            let now = Time::ZERO.instant();
            let mut sides = Self {
                client: Handshake::new(b"client".to_vec(), [1; 32]),
                server: Handshake::new(b"server".to_vec(), [2; 32]),
                now,
                seen: [Vec::new(), Vec::new()],
                packets: 0,
            };
            sides.server.start(Role::Server, now);
            sides.client.start(Role::Client, now);
            sides
        }

        /// Exchanges packets until both sides are silent. `is_lost` gets the number of each packet.
        fn exchange(&mut self, is_lost: impl Fn(usize) -> bool) {
            loop {
                let (from, output) = match (self.client.poll(), self.server.poll()) {
                    (Some(output), later) => {
                        if let Some(later) = later {
                            self.server.outputs.push_front(later);
                        }
                        (0, output)
                    }
                    (None, Some(output)) => (1, output),
                    (None, None) => return,
                };
                match output {
                    Output::Packet(packet) => {
                        self.packets += 1;
                        if is_lost(self.packets) {
                            continue;
                        }
                        let to = [&mut self.server, &mut self.client];
                        let [server, client] = to;
                        let to = if from == 0 { server } else { client };
                        to.handle_packet(&packet, self.now);
                    }
                    other => self.seen[from].push(other),
                }
            }
        }

        fn wait(&mut self) {
            self.now += MAX_PAUSE;
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
        }
    }

    #[test]
    fn both_sides_get_the_same_keys_and_the_others_certificate() {
        let mut sides = Sides::start();
        sides.exchange(|_| false);
        let [client, server] = &sides.seen;
        assert_eq!(client[0], Output::PeerCertificate(b"server".to_vec()));
        assert_eq!(server[0], Output::PeerCertificate(b"client".to_vec()));
        assert_eq!(client[1], server[1]);
        assert!(matches!(client[1], Output::Keys(_)));
        assert_eq!((client.len(), server.len()), (3, 3));
        assert_eq!(sides.packets, 3);
        assert_eq!(
            (sides.client.deadline(), sides.server.deadline()),
            (None, None)
        );
    }

    #[test]
    fn any_lost_packet_is_sent_again() {
        for lost in 1..=3 {
            let mut sides = Sides::start();
            sides.exchange(|packet| packet == lost);
            assert!(!sides.server.is_connected(), "packet {lost}");
            sides.wait();
            sides.exchange(|_| false);
            assert!(sides.client.is_connected() && sides.server.is_connected());
            assert_eq!(sides.seen[0].len(), 3, "connected once");
            assert_eq!(sides.seen[0][1], sides.seen[1][1]);
        }
    }

    #[test]
    fn a_close_reaches_the_other_side_once() {
        let mut sides = Sides::start();
        sides.exchange(|_| false);
        sides.client.close();
        sides.client.close();
        assert!(!sides.client.is_closed(), "a packet waits");
        sides.exchange(|_| false);
        assert!(sides.client.is_closed() && sides.server.is_closing());
        assert_eq!(sides.seen[1].last(), Some(&Output::Closed));
        assert_eq!(sides.packets, 4);
    }

    #[test]
    fn packets_of_another_handshake_are_ignored() {
        let mut other = Handshake::new(b"other".to_vec(), [9; 32]);
        other.start(Role::Server, Time::ZERO.instant());
        let mut sides = Sides::start();
        let Some(Output::Packet(hello)) = sides.client.poll() else {
            panic!("a client begins");
        };
        other.handle_packet(&hello, sides.now);
        sides.server.handle_packet(&hello, sides.now);
        sides.exchange(|_| false);
        let Some(Output::Packet(answer)) = other.poll() else {
            panic!("a server answers");
        };
        sides.client.handle_packet(&answer, sides.now);
        sides.exchange(|_| false);
        assert_eq!(
            sides.seen[0][0],
            Output::PeerCertificate(b"server".to_vec())
        );
        assert_eq!(sides.seen[0][1], sides.seen[1][1]);
    }
}
