//! Connectivity checks of a controlling agent (RFC 8445), against an ICE-lite agent with one candidate.

use std::time::Duration;

use spillway_wire::stun::{Class, Message, Method, TransactionId, Writer, kinds};

use crate::clock::Time;
use crate::rng::Rng;

/// The ICE agent of one session.
#[derive(Debug)]
pub struct Ice {
    rng: Rng,
    ours: Credentials,
    theirs: Option<Credentials>,
    /// Transactions without a response, the latest last.
    asked: Vec<TransactionId>,
    next_check: Time,
    is_connected: bool,
}

/// ICE credentials of one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// ICE username fragment of this side.
    pub ufrag: String,
    /// ICE password of this side.
    pub pwd: String,
}

/// Pause between checks before the first response.
const FIRST_CHECKS: Duration = Duration::from_millis(50);
/// Pause between checks of consent (RFC 7675 section 5.1), without its random part.
const CONSENT: Duration = Duration::from_millis(2_500);
/// Number of transactions whose responses are accepted.
const MAX_ASKED: usize = 16;
/// PRIORITY of a host candidate (RFC 8445 section 5.1.2.1).
const PRIORITY: u32 = 126 << 24 | 65_535 << 8 | 255;

impl Ice {
    /// An agent that waits for the other side's credentials.
    pub fn new(ours: Credentials, rng: Rng) -> Self {
        Self {
            rng,
            ours,
            theirs: None,
            asked: Vec::new(),
            next_check: Time::ZERO,
            is_connected: false,
        }
    }

    /// Sets the other side's credentials. Checks begin at `now`.
    pub fn set_remote(&mut self, theirs: Credentials, now: Time) {
        if self.theirs.as_ref() != Some(&theirs) {
            self.theirs = Some(theirs);
            self.is_connected = false;
            self.next_check = now;
        }
    }

    /// Forgets the path, as after a change of the client's address.
    pub fn restart_checks(&mut self, now: Time) {
        self.asked.clear();
        self.is_connected = false;
        self.next_check = now;
    }

    /// True after a response to a check on the present path.
    pub fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Time of the next [`handle_timeout`](Self::handle_timeout); `None` before the credentials are known.
    pub fn deadline(&self) -> Option<Time> {
        self.theirs.as_ref().map(|_| self.next_check)
    }

    /// The next check, if it is due.
    pub fn handle_timeout(&mut self, now: Time) -> Option<Vec<u8>> {
        let theirs = self.theirs.as_ref().filter(|_| self.next_check <= now)?;
        self.next_check = now
            + if self.is_connected {
                CONSENT
            } else {
                FIRST_CHECKS
            };
        let transaction = TransactionId(self.rng.bytes());
        if self.asked.len() == MAX_ASKED {
            self.asked.remove(0);
        }
        self.asked.push(transaction);
        let mut out = Vec::new();
        let username = format!("{}:{}", theirs.ufrag, self.ours.ufrag);
        let kind = Method::Binding.kind(Class::Request);
        Writer::new(&mut out, kind, transaction)
            .attribute(kinds::USERNAME, username.as_bytes())
            .number(kinds::PRIORITY, PRIORITY)
            .attribute(kinds::ICE_CONTROLLING, &[1; 8])
            .attribute(kinds::USE_CANDIDATE, &[])
            .integrity_sha1(theirs.pwd.as_bytes())
            .fingerprint();
        Some(out)
    }

    /// Handles a STUN message. Returns the response to a request.
    pub fn handle_packet(&mut self, bytes: &[u8], now: Time) -> Option<Vec<u8>> {
        let message = Message::parse(bytes).ok()?;
        if message.is_binding_request() {
            return self.respond(&message);
        }
        let theirs = self.theirs.as_ref()?;
        let is_success = message.kind() == Method::Binding.kind(Class::Success);
        let place = self
            .asked
            .iter()
            .position(|one| *one == message.transaction());
        let fits = message.integrity()?.fits(theirs.pwd.as_bytes());
        if let Some(place) = place.filter(|_| is_success && fits) {
            self.asked.remove(place);
            if !self.is_connected {
                self.is_connected = true;
                self.next_check = now + CONSENT;
            }
        }
        None
    }

    fn respond(&self, request: &Message<'_>) -> Option<Vec<u8>> {
        if !request.integrity()?.fits(self.ours.pwd.as_bytes()) {
            return None;
        }
        let mut out = Vec::new();
        let kind = Method::Binding.kind(Class::Success);
        // The mapped address is not read by an agent that already knows its candidates.
        Writer::new(&mut out, kind, request.transaction())
            .integrity_sha1(self.ours.pwd.as_bytes())
            .fingerprint();
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    fn credentials(name: &str) -> Credentials {
        Credentials {
            ufrag: name.to_owned(),
            pwd: format!("password of {name}"),
        }
    }

    fn agent() -> Ice {
        Ice::new(credentials("ours"), Seed(1).stream("ice"))
    }

    #[test]
    fn checks_are_sent_until_one_is_answered_and_seldom_from_then_on() {
        let mut ice = agent();
        assert_eq!(ice.handle_timeout(Time::from_ms(9)), None);
        ice.set_remote(credentials("theirs"), Time::from_ms(10));
        let first = ice.handle_timeout(Time::from_ms(10)).unwrap();
        let check = Message::parse(&first).unwrap();
        assert_eq!(check.username(), Some("theirs:ours"));
        assert!(check.has_use_candidate());
        assert!(check.integrity().unwrap().fits(b"password of theirs"));
        assert_eq!(ice.handle_timeout(Time::from_ms(59)), None);
        assert!(ice.handle_timeout(Time::from_ms(60)).is_some());

        let mut response = Vec::new();
        let kind = Method::Binding.kind(Class::Success);
        let mut forged = Vec::new();
        Writer::new(&mut forged, kind, check.transaction()).integrity_sha1(b"guess");
        ice.handle_packet(&forged, Time::from_ms(65));
        assert!(!ice.is_connected());
        Writer::new(&mut response, kind, check.transaction())
            .integrity_sha1(b"password of theirs")
            .fingerprint();
        ice.handle_packet(&response, Time::from_ms(70));
        assert!(ice.is_connected());
        assert_eq!(ice.deadline(), Some(Time::from_ms(2_570)));
    }

    #[test]
    fn a_request_with_our_password_is_answered() {
        let mut ice = agent();
        let request = |password: &[u8]| {
            let mut out = Vec::new();
            let kind = Method::Binding.kind(Class::Request);
            Writer::new(&mut out, kind, TransactionId([4; 12])).integrity_sha1(password);
            out
        };
        assert_eq!(ice.handle_packet(&request(b"guess"), Time::ZERO), None);
        let response = ice.handle_packet(&request(b"password of ours"), Time::ZERO);
        let response = response.unwrap();
        let response = Message::parse(&response).unwrap();
        assert_eq!(response.transaction(), TransactionId([4; 12]));
        assert!(response.integrity().unwrap().fits(b"password of ours"));
    }
}
