//! ICE of a session. Answers the client's connectivity checks as an ICE-lite agent (RFC 8445 section 7.3), and sends
//! requests that prove that the client is at the source address of its checks.
//!
//! The session layer has its own ICE agent. That agent sees each accepted check as if all came from one address, so it
//! knows that the session is alive and nominated, and its cost does not grow with the number of client addresses.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use spillway_wire::stun::{self, Class, Message, Method, TransactionId, Writer, kinds};

use crate::ice::credentials::{Credentials, IceKey, Ufrag};
use crate::io::entropy::Entropy;
use crate::limits::MAX_UFRAGS_PER_SESSION;

/// ICE state of a session.
pub(super) struct Checks {
    key: IceKey,
    entropy: Entropy,
    /// Our ufrags, the latest last. After an ICE restart the previous one is answered until the client has the new one.
    ufrags: Vec<Ufrag>,
    /// The client's credentials; `None` before its SDP arrived.
    remote: Option<Credentials>,
    /// Client address and our candidate as the session layer sees them: the addresses of the first accepted check.
    pair: Option<(SocketAddr, SocketAddr)>,
    /// Checks that arrived before the client's SDP: the latest of each address.
    waiting: Vec<WaitingCheck>,
    /// The latest check that was passed to the session layer, and the time.
    shown: Option<(Vec<u8>, Instant)>,
}

/// A check that arrived before the client's SDP.
pub(super) struct WaitingCheck {
    pub(super) source: SocketAddr,
    pub(super) candidate: SocketAddr,
    pub(super) bytes: Box<[u8]>,
}

/// Result of a check.
pub(super) enum Verdict {
    /// The check is accepted and answered.
    Answer {
        /// Success response to the check, complete with MESSAGE-INTEGRITY and FINGERPRINT.
        response: Vec<u8>,
        /// True if the check belongs to the latest ICE generation, so it is passed to the session layer.
        is_current: bool,
        /// True if a check of the latest generation has a protected USE-CANDIDATE: the client nominates the path.
        nominates: bool,
    },
    /// The client must take the controlling role (RFC 8445 section 7.3.1.1).
    RoleConflict(Vec<u8>),
    /// The check waits until the client's SDP arrives.
    Wait,
    /// The check is not from the client's agent, or lacks a required attribute.
    Refuse,
}

/// Maximum number of waiting checks per session; one for each client address is enough.
const MAX_WAITING_CHECKS: usize = 8;
/// PRIORITY of our requests: type preference of a peer-reflexive candidate (110), local preference 65,535, component 1.
const OUR_PRIORITY: u32 = 110 << 24 | 65_535 << 8 | 255;
/// We are never in the controlling role: the client must resolve a conflict, so the tie-breaker can have any value.
const TIE_BREAKER: [u8; 8] = [0xff; 8];
/// Interval at which the latest check is passed to the session layer again while the client sends other packets. The
/// session layer ends a session after 15 s without a check, and agents without consent checks (RFC 7675), such as
/// libnice, send none while media flows.
const SHOW_INTERVAL: Duration = Duration::from_secs(4);
/// STUN error code of a role conflict (RFC 8445 section 7.3.1.1).
const ROLE_CONFLICT: u16 = 487;

/// Source and destination of a datagram from the client.
#[derive(Debug, Clone, Copy)]
pub(super) struct PacketAddresses {
    /// Address of the client.
    pub(super) source: SocketAddr,
    /// Our address, as advertised to the client.
    pub(super) candidate: SocketAddr,
}

impl Checks {
    pub(super) fn new(key: IceKey, ufrag: Ufrag, entropy: Entropy) -> Self {
        Self {
            key,
            entropy,
            ufrags: vec![ufrag],
            remote: None,
            pair: None,
            waiting: Vec::new(),
            shown: None,
        }
    }

    /// Our ufrags, the latest last.
    pub(super) fn ufrags(&self) -> &[Ufrag] {
        &self.ufrags
    }

    /// Creates credentials for an ICE restart. Also returns the ufrag that is no longer answered, if any.
    pub(super) fn restart(&mut self) -> (Credentials, Option<Ufrag>) {
        let credentials = self.key.credentials(&mut self.entropy);
        self.ufrags.push(Ufrag(credentials.ufrag.clone().into()));
        let is_over = self.ufrags.len() > MAX_UFRAGS_PER_SESSION;
        (credentials, is_over.then(|| self.ufrags.remove(0)))
    }

    /// Sets the client's ICE credentials from an accepted SDP.
    pub(super) fn set_remote(&mut self, credentials: Credentials) {
        self.remote = Some(credentials);
    }

    /// ICE username fragment of the client.
    #[cfg(test)]
    pub(super) fn remote_ufrag(&self) -> Option<&str> {
        self.remote.as_ref().map(|remote| &*remote.ufrag)
    }

    /// Removes the checks that waited for the client's credentials, to pass them to [`check`](Self::check) again.
    pub(super) fn take_waiting(&mut self) -> Vec<WaitingCheck> {
        match self.remote {
            Some(_) => std::mem::take(&mut self.waiting),
            None => Vec::new(),
        }
    }

    /// Records that `check` is passed to the session layer.
    pub(super) fn set_shown(&mut self, check: &[u8], now: Instant) {
        let (kept, at) = self.shown.get_or_insert((Vec::new(), now));
        kept.clear();
        kept.extend_from_slice(check);
        *at = now;
    }

    /// The latest check, to be passed to the session layer again. `None` before `SHOW_INTERVAL` has passed, or if the
    /// client has sent no packet since the check was passed (`last_received`).
    pub(super) fn repeat_check(
        &mut self,
        last_received: Option<Instant>,
        now: Instant,
    ) -> Option<Vec<u8>> {
        let (check, at) = self.shown.as_mut()?;
        let is_due = now.saturating_duration_since(*at) >= SHOW_INTERVAL;
        if !is_due || last_received.is_none_or(|last_received| last_received <= *at) {
            return None;
        }
        *at = now;
        Some(check.clone())
    }

    /// Client address and our candidate as the session layer sees them; `None` before the first accepted check.
    pub(super) fn pair(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.pair
    }

    /// Handles a check between `addresses`; the caller has verified its password.
    pub(super) fn check(&mut self, addresses: PacketAddresses, message: &Message<'_>) -> Verdict {
        let PacketAddresses { source, candidate } = addresses;
        let Some(remote) = &self.remote else {
            self.wait(WaitingCheck {
                source,
                candidate,
                bytes: message.bytes().into(),
            });
            return Verdict::Wait;
        };
        let Some((ours, theirs)) = message.username().and_then(|name| name.split_once(':')) else {
            return Verdict::Refuse;
        };
        let is_current = self.ufrags.last().is_some_and(|latest| *latest.0 == *ours);
        if is_current && theirs != remote.ufrag {
            return Verdict::Refuse;
        }
        // PRIORITY is required by RFC 8445 section 7.1.1.
        if message.find_protected(kinds::PRIORITY).is_none() {
            return Verdict::Refuse;
        }
        let password = self.key.password(ours);
        let response = |class: Class| {
            let mut out = Vec::new();
            let mut writer =
                Writer::new(&mut out, Method::Binding.kind(class), message.transaction());
            match class {
                Class::Success => writer.xor_address(kinds::XOR_MAPPED_ADDRESS, source),
                _ => writer.error(ROLE_CONFLICT, "Role Conflict"),
            };
            writer.integrity_sha1(password.as_bytes()).fingerprint();
            out
        };
        if message.find_protected(kinds::ICE_CONTROLLED).is_some() {
            return Verdict::RoleConflict(response(Class::Error));
        }
        if is_current {
            self.pair.get_or_insert((source, candidate));
        }
        Verdict::Answer {
            response: response(Class::Success),
            is_current,
            nominates: is_current && message.has_use_candidate(),
        }
    }

    /// True when `message` is a success response protected with the client's password. A transaction ID alone proves
    /// little, because any STUN server repeats it, and an error response only proves that something is at the address.
    pub(super) fn is_response(&self, message: &Message<'_>) -> bool {
        let is_success = message.kind() == Method::Binding.kind(Class::Success);
        let remote = self.remote.as_ref();
        let integrity = message.integrity();
        is_success
            && remote
                .zip(integrity)
                .is_some_and(|(remote, integrity)| integrity.fits(remote.pass.as_bytes()))
    }

    /// A Binding request to the client, whose response proves the address; `None` before the client's SDP arrived.
    pub(super) fn request(&self, transaction: TransactionId) -> Option<Vec<u8>> {
        let remote = self.remote.as_ref()?;
        let ours = self
            .ufrags
            .last()
            .expect("a session has a ufrag from the start");
        let mut out = Vec::new();
        Writer::new(&mut out, stun::BINDING_REQUEST, transaction)
            .attribute(
                kinds::USERNAME,
                format!("{}:{}", remote.ufrag, ours.0).as_bytes(),
            )
            .number(kinds::PRIORITY, OUR_PRIORITY)
            .attribute(kinds::ICE_CONTROLLED, &TIE_BREAKER)
            .integrity_sha1(remote.pass.as_bytes())
            .fingerprint();
        Some(out)
    }

    fn wait(&mut self, check: WaitingCheck) {
        self.waiting.retain(|other| other.source != check.source);
        if self.waiting.len() >= MAX_WAITING_CHECKS {
            self.waiting.remove(0);
        }
        self.waiting.push(check);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ice::credentials::tests::check_with;

    fn addresses(port: u16) -> PacketAddresses {
        PacketAddresses {
            source: addr(port),
            candidate: addr(7),
        }
    }

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn session() -> (Checks, Credentials) {
        let key = IceKey::generate(&mut Entropy::System);
        let ours = key.credentials(&mut Entropy::System);
        let ufrag = Ufrag(ours.ufrag.clone().into());
        (Checks::new(key, ufrag, Entropy::System), ours)
    }

    fn theirs() -> Credentials {
        Credentials {
            ufrag: "peer".into(),
            pass: "the password of the client".into(),
        }
    }

    fn verdict(checks: &mut Checks, bytes: &[u8]) -> Verdict {
        checks.check(addresses(9), &Message::parse(bytes).unwrap())
    }

    const PRIORITY: (u16, &[u8]) = (kinds::PRIORITY, &[0, 0, 0, 1]);
    const CONTROLLING: (u16, &[u8]) = (kinds::ICE_CONTROLLING, &[0; 8]);
    const CONTROLLED: (u16, &[u8]) = (kinds::ICE_CONTROLLED, &[0; 8]);
    const USE_CANDIDATE: (u16, &[u8]) = (kinds::USE_CANDIDATE, &[]);

    #[test]
    fn a_check_is_answered_with_its_address_under_our_password() {
        let (mut checks, ours) = session();
        checks.set_remote(theirs());
        let bytes = check_with(&ours, &[PRIORITY, CONTROLLING]);
        let Verdict::Answer {
            response,
            is_current: true,
            nominates: false,
        } = verdict(&mut checks, &bytes)
        else {
            panic!("no answer");
        };
        let response = Message::parse(&response).unwrap();
        let transaction = response.transaction();
        assert_eq!(response.kind(), 0x0101);
        assert_eq!(transaction, Message::parse(&bytes).unwrap().transaction());
        let mapped = response.find(kinds::XOR_MAPPED_ADDRESS).unwrap();
        assert_eq!(stun::xor_address(mapped.value, &transaction), Some(addr(9)));
        assert!(response.integrity().unwrap().fits(ours.pass.as_bytes()));
        assert_eq!(response.fingerprint(), stun::Fingerprint::Fits);
    }

    #[test]
    fn only_what_the_password_protects_nominates() {
        let (mut checks, ours) = session();
        checks.set_remote(theirs());
        let nominates = |checks: &mut Checks, bytes: &[u8]| {
            matches!(
                verdict(checks, bytes),
                Verdict::Answer {
                    nominates: true,
                    ..
                }
            )
        };
        let inside = check_with(&ours, &[PRIORITY, CONTROLLING, USE_CANDIDATE]);
        assert!(nominates(&mut checks, &inside));
        // Attributes behind MESSAGE-INTEGRITY are ignored: an attacker who sees a check can append them.
        let mut outside = check_with(&ours, &[PRIORITY, CONTROLLING]);
        outside.extend([0x00, 0x25, 0, 0]);
        let length = u16::try_from(outside.len() - 20).unwrap();
        outside[2..4].copy_from_slice(&length.to_be_bytes());
        assert!(!nominates(&mut checks, &outside));
    }

    #[test]
    fn what_is_not_a_check_of_the_client_is_refused() {
        let (mut checks, ours) = session();
        checks.set_remote(Credentials {
            ufrag: "other".into(),
            ..theirs()
        });
        let bytes = check_with(&ours, &[PRIORITY, CONTROLLING]);
        assert!(matches!(verdict(&mut checks, &bytes), Verdict::Refuse));
        checks.set_remote(theirs());
        let no_priority = check_with(&ours, &[CONTROLLING]);
        assert!(matches!(
            verdict(&mut checks, &no_priority),
            Verdict::Refuse
        ));
        let conflict = check_with(&ours, &[PRIORITY, CONTROLLED, USE_CANDIDATE]);
        let Verdict::RoleConflict(response) = verdict(&mut checks, &conflict) else {
            panic!("no conflict");
        };
        assert_eq!(Message::parse(&response).unwrap().kind(), 0x0111);
        assert_eq!(checks.pair(), None, "none of them was accepted");
    }

    #[test]
    fn checks_wait_for_the_credentials_of_the_client_and_few_of_them() {
        let (mut checks, ours) = session();
        let bytes = check_with(&ours, &[PRIORITY, CONTROLLING, USE_CANDIDATE]);
        let message = Message::parse(&bytes).unwrap();
        for port in (0..20).chain(0..20) {
            let verdict = checks.check(addresses(port), &message);
            assert!(matches!(verdict, Verdict::Wait));
        }
        assert_eq!(checks.take_waiting().len(), 0, "nothing is known yet");
        checks.set_remote(theirs());
        let waiting = checks.take_waiting();
        let from: Vec<_> = waiting.iter().map(|check| check.source.port()).collect();
        assert_eq!(from, (12..20).collect::<Vec<_>>());
    }

    #[test]
    fn an_ice_restart_keeps_the_generation_before_and_no_other() {
        let (mut checks, first) = session();
        checks.set_remote(theirs());
        let (second, retired) = checks.restart();
        assert_eq!(retired, None);
        let old = check_with(&first, &[PRIORITY, CONTROLLING, USE_CANDIDATE]);
        assert!(matches!(
            verdict(&mut checks, &old),
            Verdict::Answer {
                is_current: false,
                nominates: false,
                ..
            }
        ));
        let new = check_with(&second, &[PRIORITY, CONTROLLING, USE_CANDIDATE]);
        assert!(matches!(
            verdict(&mut checks, &new),
            Verdict::Answer {
                is_current: true,
                nominates: true,
                ..
            }
        ));
        let (_, retired) = checks.restart();
        assert_eq!(retired, Some(Ufrag(first.ufrag.into())));
        (0..100).for_each(|_| _ = checks.restart());
        assert_eq!(checks.ufrags().len(), MAX_UFRAGS_PER_SESSION);
    }

    #[test]
    fn only_a_success_under_the_clients_password_is_a_response() {
        let (mut checks, _) = session();
        let response = |class: Class, password: Option<&str>| {
            let mut out = Vec::new();
            let transaction = TransactionId([3; 12]);
            let mut writer = Writer::new(&mut out, Method::Binding.kind(class), transaction);
            writer.xor_address(kinds::XOR_MAPPED_ADDRESS, addr(9));
            if let Some(password) = password {
                writer.integrity_sha1(password.as_bytes());
            }
            writer.fingerprint();
            out
        };
        let pass = theirs().pass;
        let good = response(Class::Success, Some(&pass));
        let is_response =
            |checks: &Checks, bytes: &[u8]| checks.is_response(&Message::parse(bytes).unwrap());
        assert!(!is_response(&checks, &good), "the client is not known yet");
        checks.set_remote(theirs());
        assert!(is_response(&checks, &good));
        // Responses that prove nothing: without integrity, with another agent's password, and an error response.
        assert!(!is_response(&checks, &response(Class::Success, None)));
        assert!(!is_response(
            &checks,
            &response(Class::Success, Some("other"))
        ));
        assert!(!is_response(&checks, &response(Class::Error, Some(&pass))));
    }

    #[test]
    fn our_request_is_one_that_the_client_can_verify() {
        let (mut checks, ours) = session();
        let transaction = TransactionId([3; 12]);
        assert_eq!(checks.request(transaction), None);
        checks.set_remote(theirs());
        let bytes = checks.request(transaction).unwrap();
        let request = Message::parse(&bytes).unwrap();
        assert!(request.is_binding_request());
        let name = format!("peer:{}", ours.ufrag);
        assert_eq!(request.username(), Some(&*name));
        assert!(request.integrity().unwrap().fits(theirs().pass.as_bytes()));
        assert_eq!(request.fingerprint(), stun::Fingerprint::Fits);
    }
}
