//! Addresses of a session's client: known addresses, proven addresses, and the address that media is sent to.
//!
//! A connectivity check proves that its sender knows the session's password. It does not prove that the sender is at
//! the source address of the datagram, which can be forged. Until an address is proven, it gets at most
//! [`AMPLIFICATION_LIMIT`] times the bytes that came from it, and no media. An address is proven in two ways: by a
//! response, protected with the client's password, to our request with a random transaction ID ([`Paths::answered`]);
//! or by the end of a DTLS handshake that used no other address ([`Paths::handshake_done`]).

mod path; // one address of the client, and its proof

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use spillway_mutants::{Mutant, is_planted};
use spillway_wire::stun::TransactionId;

use crate::key::ShardId;
use crate::limits::{
    ADDRESS_HOLD_TIME, AMPLIFICATION_LIMIT, MAX_ADDRESSES_PER_SESSION, MOVE_INTERVAL,
};
use crate::send::queue::SendPath;
use crate::stream::Alias;

use path::{Challenge, Path, Proof};

/// Addresses of one client.
#[derive(Default)]
pub struct Paths {
    /// Path of media to a proven address. Sending media reads only this field.
    media: Option<SendPath>,
    /// Time of the last authenticated packet on the media path; other paths store their own.
    media_last_received: Option<Instant>,
    /// Number of unproven addresses.
    unproven: usize,
    /// True when the client's credentials are known, so requests can be made.
    can_request: bool,
    rest: Box<Rest>,
}

/// State that sending does not need; boxed, to keep it out of the cache.
#[derive(Default)]
struct Rest {
    /// Known addresses, the oldest first.
    paths: Vec<Path>,
    /// The address that the client nominated last.
    nominated: Option<SocketAddr>,
    handshake: HandshakeTo,
    /// Nominated address, and the shard that received the nomination, if that is another shard. The session moves there
    /// when the address is proven.
    destination: Option<(SocketAddr, ShardId)>,
    /// Time of the last move.
    moved: Option<Instant>,
    /// Round trip time of the latest answered request.
    rtt: Option<Duration>,
}

/// A connectivity check whose password was verified.
#[derive(Debug, Clone, Copy)]
pub struct Checked {
    /// Source address of the check.
    pub remote: SocketAddr,
    /// Our address that the check was sent to, if known.
    pub local: Option<IpAddr>,
    /// True when the check nominates its path.
    pub nominates: bool,
    /// True if the address was proven by other means: the TCP handshake of a stream, or TURN authentication.
    pub is_proven: bool,
}

/// Addresses that our DTLS handshake datagrams were sent to.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum HandshakeTo {
    #[default]
    Nowhere,
    Only(SocketAddr),
    Several,
}

/// Pauses between requests double from `FIRST_PAUSE` to `LAST_PAUSE`. Then no request is sent until the client's next
/// check.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_millis(1_600);
/// A path without authenticated packets for this long may be dead. Agents check at least every 5 s (RFC 7675 section
/// 5.1), but a client with another working path nominates that one sooner.
const ALIVE: Duration = Duration::from_secs(3);
/// Interval of reports to another shard that its address is in use.
const ACTIVITY_REPORT_INTERVAL: Duration = Duration::from_millis(500);

impl Paths {
    /// Handles a verified check from `remote` to our `local` address, perhaps with a nomination. `transaction` is for
    /// our own request, if one is needed. Returns the address that was removed, if the session had too many.
    pub fn add(
        &mut self,
        Checked {
            remote,
            local,
            nominates,
            is_proven,
        }: Checked,
        transaction: TransactionId,
        now: Instant,
    ) -> Option<SocketAddr> {
        let is_nominated = self.rest.nominated == Some(remote);
        if let Some(known) = self.get_mut(remote) {
            known.checked_local = local;
            if nominates || !is_nominated {
                known.local = local;
                self.select();
            }
            return None;
        }
        let is_full = self.rest.paths.len() >= MAX_ADDRESSES_PER_SESSION;
        let evicted = is_full.then(|| self.least_useful());
        if let Some(evicted) = evicted {
            self.remove(evicted);
        }
        let missing = Proof::Missing(Challenge {
            transaction,
            received_bytes: 0,
            sent_bytes: 0,
            next: Some(now),
            pause: FIRST_PAUSE,
            sent_once: None,
        });
        self.unproven += usize::from(!is_proven);
        self.rest.paths.push(Path {
            remote,
            local,
            checked_local: local,
            last_received: Some(now),
            last_reported: None,
            proof: if is_proven { Proof::Proven } else { missing },
        });
        self.select();
        evicted
    }

    /// Removes `remote`, because the client or another session took it away.
    pub fn remove(&mut self, remote: SocketAddr) {
        self.rest.paths.retain(|path| path.remote != remote);
        if self.rest.nominated == Some(remote) {
            self.rest.nominated = None;
        }
        self.count();
        self.select();
    }

    /// The known addresses of the client.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.rest.paths.iter().map(|path| path.remote)
    }

    /// True when the session receives from `remote`.
    pub fn knows(&self, remote: SocketAddr) -> bool {
        self.get(remote).is_some()
    }

    /// Counts `bytes` that arrived from `remote`, for the amplification limit.
    pub fn received(&mut self, remote: SocketAddr, bytes: usize) {
        if self.unproven > 0
            && let Some(Path {
                proof: Proof::Missing(challenge),
                ..
            }) = self.get_mut(remote)
        {
            challenge.received_bytes = challenge.received_bytes.saturating_add(bytes);
        }
    }

    /// Records an authenticated packet from `remote`.
    pub fn record_received(&mut self, remote: SocketAddr, now: Instant) {
        if self.is_media(remote) {
            self.media_last_received = Some(now);
        } else if let Some(path) = self.get_mut(remote) {
            path.last_received = Some(now);
        }
    }

    /// True when `remote` is proven and sent an authenticated packet in the last 2 s. Then no other session may take
    /// it.
    pub fn is_in_use(&self, remote: SocketAddr, now: Instant) -> bool {
        let proven = self.get(remote).filter(|path| path.is_proven());
        let last_received = proven.and_then(|path| self.last_received_on(path));
        last_received.is_some_and(|at| now.saturating_duration_since(at) < ADDRESS_HOLD_TIME)
    }

    /// True when an authenticated packet arrived from `remote` within `ALIVE`.
    fn is_alive(&self, remote: SocketAddr, now: Instant) -> bool {
        let last_received = self
            .get(remote)
            .and_then(|path| self.last_received_on(path));
        last_received.is_some_and(|at| now.saturating_duration_since(at) < ALIVE)
    }

    /// True when `remote` is proven to be the client's.
    pub fn is_proven(&self, remote: SocketAddr) -> bool {
        self.get(remote).is_some_and(Path::is_proven)
    }

    /// True when a response from `remote` to `transaction` would prove the address.
    pub fn expects(&self, remote: SocketAddr, transaction: TransactionId) -> bool {
        matches!(
            self.get(remote),
            Some(Path { proof: Proof::Missing(challenge), .. }) if challenge.transaction == transaction
        )
    }

    /// The time of the last authenticated packet from `remote`, if the address is proven and a report to the receiving
    /// shard is due.
    pub fn take_unreported_activity(
        &mut self,
        remote: SocketAddr,
        now: Instant,
    ) -> Option<Instant> {
        let path = self.get(remote).filter(|path| path.is_proven())?;
        let is_due = |at: Instant| now.saturating_duration_since(at) >= ACTIVITY_REPORT_INTERVAL;
        let last_received = self.last_received_on(path);
        if last_received != Some(now) || !path.last_reported.is_none_or(is_due) {
            return None;
        }
        if let Some(path) = self.get_mut(remote) {
            path.last_reported = last_received;
        }
        last_received
    }

    /// The client nominated `remote`. Agents with aggressive nomination (RFC 5245 section 8.1.1.2) nominate all working
    /// pairs, and the one with the highest priority counts: so a stream does not replace a working datagram path.
    pub fn nominate(&mut self, remote: SocketAddr, now: Instant) {
        let is_stream = |addr: SocketAddr| Alias::of(addr).is_some();
        let before = self.rest.nominated.filter(|before| *before != remote);
        let has_better = before.is_some_and(|before| {
            is_stream(remote) && !is_stream(before) && self.is_alive(before, now)
        });
        if self.knows(remote) && !has_better {
            self.rest.nominated = Some(remote);
            self.rest.destination = None;
            self.select();
        }
    }

    /// The nomination of `remote` arrived on shard `to`, which is not the home of the session.
    pub fn nominated_on(&mut self, remote: SocketAddr, to: ShardId) {
        if self.rest.nominated == Some(remote) {
            self.rest.destination = Some((remote, to));
        }
    }

    /// The shard to move to, if any. Requires that the nominated address is proven and that the last move is not too
    /// recent.
    pub fn take_destination(&mut self, now: Instant) -> Option<ShardId> {
        let rests = |at: Instant| now.saturating_duration_since(at) < MOVE_INTERVAL;
        if self.rest.moved.is_some_and(rests) {
            return None;
        }
        let media = self.media.map(|path| path.remote);
        let is_proven = |(remote, _): &mut (SocketAddr, ShardId)| media == Some(*remote);
        let (_, to) = self.rest.destination.take_if(is_proven)?;
        self.rest.moved = Some(now);
        Some(to)
    }

    /// The address that the client nominated last.
    pub fn nominated(&self) -> Option<SocketAddr> {
        self.rest.nominated
    }

    /// Path of media: the latest nominated address once it is proven; until then the previous path, or the latest
    /// proven address.
    pub fn media(&self) -> Option<SendPath> {
        self.media
    }

    /// Address for the handshake: the latest nominated address, or else the latest address.
    pub fn handshake(&self) -> Option<SocketAddr> {
        let latest = || self.rest.paths.last().map(|path| path.remote);
        self.rest.nominated.or_else(latest)
    }

    /// Our address that `remote` sends to. Media and handshake to `remote` are sent from it.
    pub fn local_for(&self, remote: SocketAddr) -> Option<IpAddr> {
        self.get(remote).and_then(|path| path.local)
    }

    /// Our address that the latest check from `remote` was sent to. The response is sent from it.
    pub fn local_for_response(&self, remote: SocketAddr) -> Option<IpAddr> {
        self.get(remote).and_then(|path| path.checked_local)
    }

    /// True if `bytes` may be sent to `remote` now. The bytes are then counted.
    pub fn may_send(&mut self, remote: SocketAddr, bytes: usize) -> bool {
        match self.get_mut(remote).map(|path| &mut path.proof) {
            None => false,
            Some(Proof::Proven) => true,
            Some(Proof::Missing(challenge)) => {
                let sent_bytes = challenge.sent_bytes.saturating_add(bytes);
                let limit = challenge.received_bytes.saturating_mul(AMPLIFICATION_LIMIT);
                if sent_bytes > limit {
                    return false;
                }
                challenge.sent_bytes = sent_bytes;
                true
            }
        }
    }

    /// Records that a DTLS datagram was sent to `remote`.
    pub fn handshake_sent(&mut self, remote: SocketAddr) {
        self.rest.handshake = match self.rest.handshake {
            HandshakeTo::Nowhere => HandshakeTo::Only(remote),
            HandshakeTo::Only(only) if only == remote => HandshakeTo::Only(only),
            HandshakeTo::Only(_) | HandshakeTo::Several => HandshakeTo::Several,
        };
    }

    /// A datagram from `remote` completed the DTLS handshake, so its sender has received ours. If ours were sent to one
    /// address only, that address is proven.
    pub fn handshake_done(&mut self, remote: SocketAddr) {
        if self.rest.handshake == HandshakeTo::Only(remote) {
            self.prove(remote);
        }
    }

    /// A response to the request `transaction` arrived from `remote`. True when it proves the address: only a receiver
    /// at the address can know the transaction.
    pub fn answered(
        &mut self,
        remote: SocketAddr,
        transaction: TransactionId,
        now: Instant,
    ) -> bool {
        let is_ours = self.expects(remote, transaction);
        if is_ours {
            let sent = self.get(remote).and_then(Path::request_sent);
            let rtt = sent.map(|at| now.saturating_duration_since(at));
            self.rest.rtt = rtt.or(self.rest.rtt);
            self.prove(remote);
        }
        is_ours
    }

    /// Time of the last authenticated packet on the media path; `None` if there was none.
    pub fn last_received_on_media_path(&self) -> Option<Instant> {
        self.media_last_received
    }

    /// Round trip time of the latest answered request, if known.
    pub fn rtt(&self) -> Option<Duration> {
        self.rest.rtt
    }

    /// A check arrived from a known address: it carries datagrams now, so our next request to it comes soon, even if the last
    /// ones were lost.
    pub fn checked(&mut self, remote: SocketAddr, now: Instant) {
        if self.unproven > 0
            && let Some(Path {
                proof: Proof::Missing(challenge),
                ..
            }) = self.get_mut(remote)
        {
            let soon = now + FIRST_PAUSE;
            challenge.next = Some(challenge.next.map_or(now, |next| next.min(soon)));
        }
    }

    /// The client's credentials are known, so requests can be made.
    pub fn can_request(&mut self) {
        self.can_request = true;
    }

    /// The next due request: address and transaction ID. Call it until it returns `None`.
    pub fn poll_request(&mut self, now: Instant) -> Option<(SocketAddr, TransactionId)> {
        if self.unproven == 0 || !self.can_request {
            return None;
        }
        self.rest.paths.iter_mut().find_map(|path| {
            let Proof::Missing(challenge) = &mut path.proof else {
                return None;
            };
            challenge.next.filter(|at| *at <= now)?;
            let is_last = challenge.pause > LAST_PAUSE;
            challenge.next = (!is_last).then(|| now + challenge.pause);
            let is_first = challenge.pause == FIRST_PAUSE;
            challenge.sent_once = is_first.then_some(now);
            challenge.pause = (challenge.pause * 2).min(LAST_PAUSE * 2);
            Some((path.remote, challenge.transaction))
        })
    }

    /// Time of the next request.
    pub fn deadline(&self) -> Option<Instant> {
        if self.unproven == 0 || !self.can_request {
            return None;
        }
        let next = |path: &Path| match path.proof {
            Proof::Missing(challenge) => challenge.next,
            Proof::Proven => None,
        };
        self.rest.paths.iter().filter_map(next).min()
    }

    fn prove(&mut self, remote: SocketAddr) {
        if let Some(path) = self.get_mut(remote) {
            path.proof = Proof::Proven;
        }
        self.count();
        self.select();
    }

    fn count(&mut self) {
        let unproven = self.rest.paths.iter().filter(|path| !path.is_proven());
        self.unproven = unproven.count();
    }

    fn select(&mut self) {
        let proven = |remote: SocketAddr| self.get(remote).filter(|path| path.is_proven());
        let nominated = match is_planted(Mutant::MediaToUnprovenAddress) {
            true => self.rest.nominated.and_then(|remote| self.get(remote)),
            false => self.rest.nominated.and_then(proven),
        };
        let current = || self.media.and_then(|path| proven(path.remote));
        let latest = || self.rest.paths.iter().rev().find(|path| path.is_proven());
        let current = match self.rest.nominated {
            Some(_) => nominated.or_else(current).or_else(latest),
            None => latest(),
        };
        let media = current.map(|path| SendPath {
            remote: path.remote,
            local: path.local,
        });
        let (remote, last_received) = (media.map(|path| path.remote), self.media_last_received);
        if let Some(SendPath { remote: before, .. }) =
            self.media.filter(|before| Some(before.remote) != remote)
        {
            self.media_last_received = None;
            if let Some(path) = self.get_mut(before) {
                path.last_received = path.last_received.max(last_received);
            }
        }
        self.media = media;
    }

    fn is_media(&self, remote: SocketAddr) -> bool {
        self.media.is_some_and(|media| media.remote == remote)
    }

    fn last_received_on(&self, path: &Path) -> Option<Instant> {
        let media_last_received = self
            .media_last_received
            .filter(|_| self.is_media(path.remote));
        path.last_received.max(media_last_received)
    }

    /// The address to remove when there are too many: the oldest unproven one, else the oldest that nothing is sent to.
    fn least_useful(&self) -> SocketAddr {
        let in_use =
            |path: &&Path| Some(path.remote) == self.rest.nominated || self.is_media(path.remote);
        let idle = || self.rest.paths.iter().filter(|path| !in_use(path));
        let unproven = idle().find(|path| !path.is_proven());
        let path = unproven.or_else(|| idle().next());
        path.expect("at most two of many addresses are in use")
            .remote
    }

    fn get(&self, remote: SocketAddr) -> Option<&Path> {
        self.rest.paths.iter().find(|path| path.remote == remote)
    }

    fn get_mut(&mut self, remote: SocketAddr) -> Option<&mut Path> {
        self.rest
            .paths
            .iter_mut()
            .find(|path| path.remote == remote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: TransactionId = TransactionId([1; 12]);
    const OTHER: TransactionId = TransactionId([2; 12]);

    fn send_path(remote: SocketAddr, local: Option<IpAddr>) -> Option<SendPath> {
        Some(SendPath { remote, local })
    }

    fn addr(number: usize) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 1_000 + u16::try_from(number).unwrap()))
    }

    fn checked(remote: SocketAddr) -> Checked {
        Checked {
            remote,
            local: None,
            nominates: false,
            is_proven: false,
        }
    }

    fn with(count: usize, now: Instant) -> Paths {
        let mut paths = Paths::default();
        paths.can_request();
        for number in 0..count {
            paths.add(checked(addr(number)), OURS, now);
        }
        paths
    }

    #[test]
    fn an_unproven_address_gets_three_times_what_it_sent_and_no_media() {
        let mut paths = with(1, Instant::now());
        let client = addr(0);
        assert!(!paths.may_send(client, 1), "nothing came from there");
        paths.received(client, 100);
        paths.nominate(client, Instant::now());
        assert_eq!(paths.media(), None);
        assert!(paths.may_send(client, 250));
        assert!(!paths.may_send(client, 51));
        assert!(paths.may_send(client, 50));
        assert!(!paths.may_send(client, 1));
        assert!(!paths.may_send(addr(1), 0), "nobody is known there");
        assert!(!paths.answered(client, OTHER, Instant::now()));
        assert!(!paths.answered(addr(1), OURS, Instant::now()));
        assert_eq!(paths.media(), None);
        assert!(paths.answered(client, OURS, Instant::now()));
        assert_eq!(paths.media(), send_path(client, None));
        assert!(paths.may_send(client, usize::MAX));
        assert!(!paths.answered(client, OURS, Instant::now()), "once");
    }

    #[test]
    fn media_stays_until_the_nominated_address_is_proven() {
        let now = Instant::now();
        let mut paths = with(2, now);
        paths.nominate(addr(0), Instant::now());
        assert!(paths.answered(addr(0), OURS, Instant::now()));
        paths.nominate(addr(1), Instant::now());
        assert_eq!(paths.media(), send_path(addr(0), None));
        assert!(paths.answered(addr(1), OURS, Instant::now()));
        assert_eq!(paths.media(), send_path(addr(1), None));
        paths.nominate(addr(7), Instant::now());
        assert_eq!(paths.nominated(), Some(addr(1)), "nobody is known there");
        paths.remove(addr(1));
        assert_eq!(paths.media(), send_path(addr(0), None));
    }

    #[test]
    fn a_handshake_proves_an_address_when_it_went_nowhere_else() {
        let mut paths = with(2, Instant::now());
        paths.handshake_done(addr(0));
        assert_eq!(paths.media(), None, "nothing was sent there");
        paths.handshake_sent(addr(0));
        paths.handshake_sent(addr(0));
        paths.handshake_done(addr(1));
        assert_eq!(paths.media(), None, "what was sent went elsewhere");
        paths.handshake_done(addr(0));
        assert_eq!(paths.media(), send_path(addr(0), None));

        let mut paths = with(2, Instant::now());
        paths.handshake_sent(addr(0));
        paths.handshake_sent(addr(1));
        paths.handshake_done(addr(1));
        assert_eq!(paths.media(), None, "it was seen at the other address");
    }

    #[test]
    fn a_stream_takes_the_place_of_a_datagram_path_when_that_is_dead() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut paths = with(1, start);
        let stream = crate::turn::StreamId(3);
        let stream = Alias::new(ShardId(0), stream).address(addr(0));
        let checked = Checked {
            remote: stream,
            local: None,
            nominates: true,
            is_proven: true,
        };
        paths.add(checked, OURS, start);
        paths.nominate(stream, at(0));
        assert_eq!(paths.nominated(), Some(stream));
        paths.nominate(addr(0), at(10));
        paths.nominate(stream, at(20));
        assert_eq!(paths.nominated(), Some(addr(0)), "both were nominated");
        assert_eq!(
            paths.media().unwrap().remote,
            stream,
            "until the other is proven"
        );
        assert!(paths.answered(addr(0), OURS, at(30)));
        assert_eq!(paths.media().unwrap().remote, addr(0));
        paths.record_received(addr(0), at(5_000));
        paths.nominate(stream, at(7_999));
        assert_eq!(paths.nominated(), Some(addr(0)));
        paths.nominate(stream, at(8_000));
        assert_eq!(paths.media().unwrap().remote, stream);
    }

    #[test]
    fn a_request_that_was_sent_once_measures_the_rtt() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut paths = with(2, start);
        while paths.poll_request(at(0)).is_some() {}
        assert!(paths.answered(addr(0), OURS, at(30)));
        assert_eq!(paths.rtt(), Some(Duration::from_millis(30)));
        while paths.poll_request(at(60)).is_some() {}
        assert!(paths.answered(addr(1), OURS, at(70)));
        let known = Some(Duration::from_millis(30));
        assert_eq!(paths.rtt(), known, "nobody knows which of two was answered");
    }

    #[test]
    fn requests_are_repeated_a_few_times_and_again_after_a_check() {
        let start = Instant::now();
        let mut paths = with(1, start);
        let mut now = start;
        let mut sent = Vec::new();
        while let Some(at) = paths.deadline() {
            now = now.max(at);
            assert_eq!(paths.poll_request(now), Some((addr(0), OURS)));
            assert_eq!(paths.poll_request(now), None);
            sent.push(now.duration_since(start).as_millis());
        }
        assert_eq!(sent, [0, 50, 150, 350, 750, 1_550, 3_150]);
        paths.checked(addr(0), now);
        assert_eq!(paths.poll_request(now), Some((addr(0), OURS)));
        assert_eq!(paths.deadline(), None, "one for each check from now on");
        assert!(paths.answered(addr(0), OURS, Instant::now()));
        paths.checked(addr(0), now);
        assert_eq!(paths.poll_request(now), None);
    }

    #[test]
    fn a_check_brings_the_next_request_forward_but_not_before_the_first_pause() {
        let start = Instant::now();
        let mut paths = with(1, start);
        let mut now = start;
        while paths.poll_request(now).is_some() {
            now = paths.deadline().unwrap_or(now);
            if now >= start + LAST_PAUSE {
                break;
            }
        }
        let late = paths.deadline().unwrap();
        let checked = start + LAST_PAUSE / 2;
        assert!(
            late > checked + FIRST_PAUSE,
            "the requests have become rare"
        );
        paths.checked(addr(0), checked);
        paths.checked(addr(0), checked);
        assert_eq!(paths.deadline(), Some(checked + FIRST_PAUSE));
        assert_eq!(paths.poll_request(checked), None, "checks cannot hurry it");
    }

    #[test]
    fn many_addresses_push_out_unproven_ones_first_and_never_what_is_in_use() {
        let now = Instant::now();
        let mut paths = with(MAX_ADDRESSES_PER_SESSION, now);
        assert!(paths.answered(addr(0), OURS, Instant::now()));
        assert!(paths.answered(addr(1), OURS, Instant::now()));
        paths.nominate(addr(0), Instant::now());
        paths.nominate(addr(2), Instant::now());
        for number in 0..MAX_ADDRESSES_PER_SESSION * 3 {
            let new = addr(500 + number);
            let evicted = paths.add(checked(new), OURS, now);
            assert!(evicted.is_some_and(|evicted| evicted != addr(0)));
        }
        for kept in [0, 1, 2] {
            assert!(paths.knows(addr(kept)), "{kept}");
        }
        assert_eq!(paths.addresses().count(), MAX_ADDRESSES_PER_SESSION);
    }

    #[test]
    fn what_came_from_an_address_keeps_it_for_a_while() {
        let start = Instant::now();
        let mut paths = with(1, start);
        assert!(!paths.is_in_use(addr(0), start), "it is not proven");
        assert_eq!(paths.take_unreported_activity(addr(0), start), None);
        assert!(paths.answered(addr(0), OURS, Instant::now()));
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(paths.take_unreported_activity(addr(0), start), Some(start));
        assert!(paths.is_in_use(addr(0), at(1_999)) && !paths.is_in_use(addr(0), at(2_000)));
        assert!(!paths.is_in_use(addr(1), start));
        paths.record_received(addr(0), at(100));
        assert_eq!(
            paths.take_unreported_activity(addr(0), at(100)),
            None,
            "it was told just now"
        );
        paths.record_received(addr(0), at(700));
        assert_eq!(
            paths.take_unreported_activity(addr(0), at(701)),
            None,
            "nothing came with this one"
        );
        assert_eq!(
            paths.take_unreported_activity(addr(0), at(700)),
            Some(at(700))
        );
        assert!(paths.is_in_use(addr(0), at(2_699)));
    }

    #[test]
    fn media_leaves_from_where_the_nomination_came_to_and_answers_from_where_the_check_did() {
        let now = Instant::now();
        let mut paths = with(1, now);
        let [first, second] = ["198.51.100.1", "198.51.100.2"].map(|ip| ip.parse().unwrap());
        let check = |local, nominates| Checked {
            local: Some(local),
            nominates,
            ..checked(addr(0))
        };
        paths.add(check(first, true), OURS, now);
        paths.nominate(addr(0), Instant::now());
        assert!(paths.answered(addr(0), OURS, Instant::now()));
        paths.add(check(second, false), OURS, now);
        assert_eq!(paths.media(), send_path(addr(0), Some(first)));
        assert_eq!(paths.local_for_response(addr(0)), Some(second));
        paths.add(check(second, true), OURS, now);
        assert_eq!(paths.media(), send_path(addr(0), Some(second)));
    }

    #[test]
    fn a_session_moves_once_its_nominated_address_is_proven_and_not_too_often() {
        let start = Instant::now();
        let mut paths = with(2, start);
        paths.nominate(addr(0), Instant::now());
        paths.nominated_on(addr(0), ShardId(1));
        assert_eq!(paths.take_destination(start), None, "it is not proven");
        assert!(paths.answered(addr(0), OURS, Instant::now()));
        assert_eq!(paths.take_destination(start), Some(ShardId(1)));
        assert_eq!(paths.take_destination(start), None, "once");
        assert!(paths.answered(addr(1), OURS, Instant::now()));
        paths.nominate(addr(1), Instant::now());
        paths.nominated_on(addr(1), ShardId(2));
        assert_eq!(paths.take_destination(start + MOVE_INTERVAL / 2), None);
        assert_eq!(
            paths.take_destination(start + MOVE_INTERVAL),
            Some(ShardId(2))
        );
        paths.nominated_on(addr(1), ShardId(3));
        paths.nominate(addr(0), Instant::now());
        let later = start + MOVE_INTERVAL * 3;
        assert_eq!(
            paths.take_destination(later),
            None,
            "the nomination came in here"
        );
    }

    #[test]
    fn the_last_packet_of_an_address_is_known_after_media_has_moved() {
        let start = Instant::now();
        let mut paths = with(2, start);
        assert!(paths.answered(addr(0), OURS, Instant::now()));
        let later = start + ADDRESS_HOLD_TIME;
        paths.record_received(addr(0), later);
        paths.nominate(addr(1), Instant::now());
        assert!(paths.answered(addr(1), OURS, Instant::now()));
        assert_eq!(paths.media(), send_path(addr(1), None));
        assert!(paths.is_in_use(addr(0), later) && !paths.is_in_use(addr(1), later));
        paths.record_received(addr(1), later);
        assert!(paths.is_in_use(addr(1), later));
        paths.remove(addr(1));
        assert!(paths.is_in_use(addr(0), later));
        assert!(!paths.is_in_use(addr(0), later + ADDRESS_HOLD_TIME));
    }

    #[test]
    fn nothing_is_due_before_requests_can_be_made() {
        let now = Instant::now();
        let mut paths = Paths::default();
        paths.add(checked(addr(0)), OURS, now);
        assert_eq!((paths.deadline(), paths.poll_request(now)), (None, None));
        paths.can_request();
        assert_eq!(paths.deadline(), Some(now));
        assert_eq!(paths.poll_request(now), Some((addr(0), OURS)));
    }
}
