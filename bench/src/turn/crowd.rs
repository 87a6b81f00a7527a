//! Many clients of one server on one socket, each with its own address: started at a rate that does not wait for
//! answers.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

use super::client::{Client, Credentials, Goal, Progress};
use crate::net::addresses::Addresses;
use crate::net::socket::FarmSocket;

/// The server of the clients.
#[derive(Debug, Clone, Copy)]
pub struct RelayServer<'a> {
    /// Address of the server.
    pub server: SocketAddrV4,
    /// Secret of the credentials.
    pub secret: &'a [u8],
}

/// Number of clients, size of a burst, and rate.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// The network of the clients' addresses.
    pub addresses: Addresses,
    /// Number of clients to start.
    pub clients: usize,
    /// Clients that start per second.
    pub per_second: u32,
    /// Clients that start at the same time.
    pub burst: usize,
    /// Distance of the addresses of consecutive clients.
    pub stride: usize,
}

/// Clients that have reached their goal.
#[derive(Debug)]
pub struct Crowd {
    /// The clients, indexed by their number.
    pub clients: Vec<Client>,
    /// Requests that were repeated.
    pub repeated: u64,
    server: SocketAddrV4,
    arrival: Arrival,
}

/// Retransmission timeout of requests (RFC 8489 section 6.2.1).
const RETRANSMIT: Duration = Duration::from_millis(500);
/// Time limit for all clients to reach their goal, after the last one has started.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lifetime of the credentials, in seconds.
const TTL_S: u64 = 3_600;
/// Maximum wait for a response before timers are checked.
const TICK: Duration = Duration::from_millis(1);

/// Starts the clients, and waits until all reach `goal`.
pub fn arrive(
    socket: &mut FarmSocket,
    server: RelayServer<'_>,
    arrival: Arrival,
    goal: Goal,
) -> anyhow::Result<Crowd> {
    let expiry_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + TTL_S;
    let make = |number| {
        Client::new(
            Credentials::mint(server.secret, &user(number), expiry_s),
            goal,
        )
    };
    let clients = (0..arrival.clients).map(make).collect();
    let mut crowd = Crowd {
        clients,
        repeated: 0,
        server: server.server,
        arrival,
    };
    crowd.pursue(socket)?;
    Ok(crowd)
}

impl Crowd {
    /// Ends the allocations of all clients.
    pub fn leave(&mut self, socket: &mut FarmSocket) -> anyhow::Result<()> {
        self.clients.iter_mut().for_each(Client::end);
        self.pursue(socket)
    }

    /// The address of client `number`.
    pub fn address(&self, number: usize) -> Ipv4Addr {
        self.arrival.addresses.of(self.arrival.address(number))
    }

    /// Number of the client with this address.
    pub fn number(&self, address: Ipv4Addr) -> Option<usize> {
        self.arrival.number(self.arrival.addresses.index(address)?)
    }

    fn pursue(&mut self, socket: &mut FarmSocket) -> anyhow::Result<()> {
        let arrival = self.arrival;
        let (count, start) = (self.clients.len(), Instant::now());
        let end = start + arrival.due(count) + PATIENCE;
        let (mut begun, mut done) = (0, 0);
        let mut asked: VecDeque<(Instant, usize)> = VecDeque::with_capacity(count);
        while done < count {
            let now = Instant::now();
            if now > end {
                let server = self.server;
                bail!("{done} of {count} clients got what they wanted of {server} in time");
            }
            while begun < count && start + arrival.due(begun) <= now {
                self.send_request(socket, begun)?;
                asked.push_back((now, begun));
                begun += 1;
            }
            self.repeat(socket, &mut asked)?;
            done += self.receive(socket)?;
            let next = if begun < count {
                start + arrival.due(begun)
            } else {
                now + TICK
            };
            let wait = next.saturating_duration_since(Instant::now());
            if !wait.is_zero() && done < count {
                socket.readable(wait.min(TICK))?;
            }
        }
        Ok(())
    }

    /// Sends unanswered requests again when their timeout has passed.
    fn repeat(
        &mut self,
        socket: &FarmSocket,
        asked: &mut VecDeque<(Instant, usize)>,
    ) -> anyhow::Result<()> {
        let now = Instant::now();
        while let Some((at, number)) = asked.front().copied()
            && at + RETRANSMIT <= now
        {
            asked.pop_front();
            if !self.clients[number].is_done() {
                self.send_request(socket, number)?;
                asked.push_back((now, number));
                self.repeated += 1;
            }
        }
        Ok(())
    }

    /// Handles received datagrams. Returns the number of clients that reached their goal.
    fn receive(&mut self, socket: &mut FarmSocket) -> anyhow::Result<usize> {
        let Self {
            clients,
            server,
            arrival,
            ..
        } = self;
        let (mut answers, mut done) = (Vec::new(), 0);
        let mut outcome = Ok(());
        socket.receive(|burst| {
            let address = arrival.addresses.index(burst.destination);
            let number = address.and_then(|address| arrival.number(address));
            let Some((number, client)) =
                number.and_then(|number| Some((number, clients.get_mut(number)?)))
            else {
                return;
            };
            if burst.source != *server {
                return;
            }
            for datagram in burst.datagrams() {
                match client.handle(datagram) {
                    Ok(Progress::SendRequest) => answers.push(number),
                    Ok(Progress::Done) => done += 1,
                    Ok(Progress::Nothing) => {}
                    Err(refused) => {
                        outcome = Err(refused).with_context(|| format!("client {number}"));
                    }
                }
            }
        })?;
        outcome?;
        for number in answers {
            self.send_request(socket, number)?;
        }
        Ok(done)
    }

    fn send_request(&self, socket: &FarmSocket, number: usize) -> anyhow::Result<()> {
        let request = self.clients[number].request();
        Ok(socket.send(self.address(number), self.server, request)?)
    }
}

impl Arrival {
    /// Start time of client `number`, relative to the start of the run.
    pub fn due(self, number: usize) -> Duration {
        let before = number - number % self.burst;
        Duration::from_secs_f64(before as f64 / f64::from(self.per_second))
    }

    /// Index of the address of client `number`.
    pub fn address(self, number: usize) -> usize {
        number * self.stride
    }

    /// Number of the client with this address.
    pub fn number(self, address: usize) -> Option<usize> {
        if !address.is_multiple_of(self.stride) {
            return None;
        }
        let number = address / self.stride;
        (number < self.clients).then_some(number)
    }
}

fn user(number: usize) -> String {
    format!("u{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_come_at_their_rate_and_have_addresses_of_their_own() {
        let arrival = Arrival {
            addresses: Addresses::LAB,
            clients: 1_000,
            per_second: 500,
            burst: 50,
            stride: 257,
        };
        assert_eq!(arrival.due(250), Duration::from_millis(500));
        assert_eq!(arrival.due(299), Duration::from_millis(500));
        assert_eq!(arrival.due(300), Duration::from_millis(600));
        let mut networks = std::collections::HashSet::new();
        for number in 0..arrival.clients {
            let address = arrival.address(number);
            assert_eq!(arrival.number(address), Some(number));
            assert_eq!(arrival.number(address + 1), None);
            networks.insert(Addresses::LAB.of(address).octets()[..3].to_vec());
        }
        assert_eq!(networks.len(), arrival.clients, "one budget each");
        assert_eq!(arrival.number(arrival.address(1_000)), None);
    }
}
