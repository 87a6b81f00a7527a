//! State machine of one TURN client, without a socket.
//!
//! Sends an Allocate, gets a nonce with the 401, repeats the request with credentials, and continues to its goal. Uses
//! UDP, so the owner of the socket must repeat unanswered requests.

use std::net::{SocketAddr, SocketAddrV4};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use spillway_wire::stun::{Class, Key, Message, Method, TransactionId, Writer, kinds, xor_address};
use spillway_wire::turn::ChannelNumber;

/// The channel number that every client binds on its allocation.
pub const CHANNEL: u16 = 0x4001;
/// Value of REQUESTED-TRANSPORT for UDP (RFC 8656).
const UDP: [u8; 4] = [17, 0, 0, 0];
/// Maximum number of retries with a new nonce.
const MAX_REFUSALS: u8 = 3;

/// TURN credentials with an expiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `expiry:user`, the expiry in seconds since 1970.
    pub username: String,
    /// The password: base64(HMAC-SHA1(secret, username)).
    pub password: String,
}

/// Goal of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// An allocation with a channel to that peer.
    Channel(SocketAddrV4),
    /// An allocation, which is ended immediately.
    Cycle,
}

/// State of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Allocating,
    Binding,
    Ending,
    Done,
}

/// A TURN client with its allocation.
#[derive(Debug)]
pub struct Client {
    credentials: Credentials,
    goal: Goal,
    step: Step,
    key: Option<Key>,
    realm: Vec<u8>,
    nonce: Vec<u8>,
    refusals: u8,
    transaction: TransactionId,
    relayed: Option<SocketAddr>,
    /// The request that awaits a response.
    request: Vec<u8>,
}

/// Effect of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// [`Client::request`] must be sent.
    SendRequest,
    /// The client has reached its goal.
    Done,
    /// The message is not a response to the pending request.
    Nothing,
}

/// Reason why a client cannot reach its goal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The server answered with an error code.
    #[error("the server answers {code} {reason}")]
    Code {
        /// RFC 8489 section 14.8.
        code: u16,
        /// Reason phrase of the error.
        reason: String,
    },
    /// A required attribute is missing in a response.
    #[error("an answer has no {0}")]
    Lacks(&'static str),
}

impl Credentials {
    /// Creates credentials for `user` with the server's `secret`.
    pub fn mint(secret: &[u8], user: &str, expiry_s: u64) -> Self {
        Self::of(secret, format!("{expiry_s}:{user}"))
    }

    /// Makes the credentials of any `username`.
    pub fn of(secret: &[u8], username: String) -> Self {
        // SHA-1 is required by the credential scheme that all TURN servers use.
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
        let password = STANDARD.encode(hmac::sign(&key, username.as_bytes()));
        Self { username, password }
    }
}

impl Client {
    /// A client; the caller sends its [`Client::request`].
    pub fn new(credentials: Credentials, goal: Goal) -> Self {
        let mut client = Self {
            credentials,
            goal,
            step: Step::Allocating,
            key: None,
            realm: Vec::new(),
            nonce: Vec::new(),
            refusals: 0,
            transaction: TransactionId([0; 12]),
            relayed: None,
            request: Vec::new(),
        };
        client.ask();
        client
    }

    /// The request that awaits a response.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// The relayed address; `None` without an allocation.
    pub fn relayed(&self) -> Option<SocketAddr> {
        self.relayed
    }

    /// True when the goal is reached.
    pub fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    /// Starts to end the allocation.
    pub fn end(&mut self) {
        self.step = Step::Ending;
        self.ask();
    }

    /// Handles a datagram from the server.
    pub fn handle(&mut self, datagram: &[u8]) -> Result<Progress, Refused> {
        let Ok(message) = Message::parse(datagram) else {
            return Ok(Progress::Nothing);
        };
        if message.transaction() != self.transaction || self.step == Step::Done {
            return Ok(Progress::Nothing);
        }
        match Class::of(message.kind()) {
            Class::Success => self.advance(&message),
            Class::Error => self.refused(&message),
            Class::Request | Class::Indication => Ok(Progress::Nothing),
        }
    }

    fn advance(&mut self, message: &Message<'_>) -> Result<Progress, Refused> {
        self.step = match (self.step, self.goal) {
            (Step::Allocating, goal) => {
                let relayed = message
                    .find(kinds::XOR_RELAYED_ADDRESS)
                    .and_then(|found| xor_address(found.value, &message.transaction()));
                self.relayed = Some(relayed.ok_or(Refused::Lacks("relayed address"))?);
                match goal {
                    Goal::Channel(_) => Step::Binding,
                    Goal::Cycle => Step::Ending,
                }
            }
            (Step::Binding | Step::Ending | Step::Done, _) => Step::Done,
        };
        if self.step == Step::Done {
            return Ok(Progress::Done);
        }
        self.ask();
        Ok(Progress::SendRequest)
    }

    /// 401 and 438 contain the nonce for the next request.
    fn refused(&mut self, message: &Message<'_>) -> Result<Progress, Refused> {
        let error = message.find(kinds::ERROR_CODE);
        let Some([_, _, class, number, reason @ ..]) = error.as_ref().map(|error| error.value)
        else {
            return Err(Refused::Lacks("error code"));
        };
        let code = u16::from(*class) * 100 + u16::from(*number);
        self.refusals += 1;
        if !matches!(code, 401 | 438) || self.refusals > MAX_REFUSALS {
            let reason = String::from_utf8_lossy(reason).into_owned();
            return Err(Refused::Code { code, reason });
        }
        let value = |kind, name| {
            let attribute = message.find(kind).ok_or(Refused::Lacks(name))?;
            Ok(attribute.value.to_vec())
        };
        self.nonce = value(kinds::NONCE, "nonce")?;
        self.realm = value(kinds::REALM, "realm")?;
        let Credentials { username, password } = &self.credentials;
        self.key = Some(Key::md5(
            username.as_bytes(),
            &self.realm,
            password.as_bytes(),
        ));
        self.ask();
        Ok(Progress::SendRequest)
    }

    fn ask(&mut self) {
        let mut id = [0; 12];
        id.fill_with(|| fastrand::u8(..));
        self.transaction = TransactionId(id);
        self.request.clear();
        let method = match self.step {
            Step::Allocating => Method::Allocate,
            Step::Binding => Method::ChannelBind,
            Step::Ending | Step::Done => Method::Refresh,
        };
        let kind = method.kind(Class::Request);
        let mut writer = Writer::new(&mut self.request, kind, self.transaction);
        match (self.step, self.goal) {
            (Step::Allocating, _) => writer.attribute(kinds::REQUESTED_TRANSPORT, &UDP),
            (Step::Binding, Goal::Channel(peer)) => writer
                .number(kinds::CHANNEL_NUMBER, u32::from(CHANNEL) << 16)
                .xor_address(kinds::XOR_PEER_ADDRESS, peer.into()),
            (Step::Binding, Goal::Cycle) | (Step::Ending | Step::Done, _) => {
                writer.number(kinds::LIFETIME, 0)
            }
        };
        if let Some(key) = &self.key {
            writer
                .attribute(kinds::USERNAME, self.credentials.username.as_bytes())
                .attribute(kinds::REALM, &self.realm)
                .attribute(kinds::NONCE, &self.nonce)
                .integrity_sha1(key.bytes());
        }
    }
}

/// The channel number [`CHANNEL`] of all clients.
pub fn channel() -> ChannelNumber {
    ChannelNumber::new(CHANNEL).expect("it is in the range")
}

#[cfg(test)]
mod tests {
    use spillway_wire::turn::Fields;

    use super::*;

    fn answer(client: &Client, class: Class, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let asked = Message::parse(client.request()).unwrap();
        let method = Method::of(asked.kind()).unwrap();
        let mut out = Vec::new();
        write(&mut Writer::new(
            &mut out,
            method.kind(class),
            asked.transaction(),
        ));
        out
    }

    fn challenge(writer: &mut Writer<'_>) {
        writer
            .error(401, "who?")
            .attribute(kinds::REALM, b"spillway")
            .attribute(kinds::NONCE, b"once");
    }

    fn peer() -> SocketAddrV4 {
        "192.0.2.9:7882".parse().unwrap()
    }

    #[test]
    fn a_refusal_becomes_a_signed_request_and_that_a_channel() {
        let credentials = Credentials::mint(b"secret", "me", 1_790_000_000);
        let mut client = Client::new(credentials.clone(), Goal::Channel(peer()));
        let hello = Message::parse(client.request()).unwrap();
        assert!(!Fields::read(&hello).has_integrity);
        let refusal = answer(&client, Class::Error, challenge);
        assert_eq!(client.handle(&refusal), Ok(Progress::SendRequest));
        let key = Key::md5(
            credentials.username.as_bytes(),
            b"spillway",
            credentials.password.as_bytes(),
        );
        let signed = Message::parse(client.request()).unwrap();
        assert!(signed.integrity().unwrap().fits(key.bytes()));
        let fields = Fields::read(&signed);
        assert_eq!(fields.nonce, Some(&b"once"[..]));
        assert_eq!(fields.transport, Some(17));
        assert!(fields.unknown.is_empty() && fields.malformed.is_none());

        let relayed: SocketAddr = "192.0.2.1:50000".parse().unwrap();
        let granted = answer(&client, Class::Success, |writer| {
            writer.xor_address(kinds::XOR_RELAYED_ADDRESS, relayed);
        });
        assert_eq!(client.handle(&granted), Ok(Progress::SendRequest));
        assert_eq!(client.relayed(), Some(relayed));
        assert_eq!(
            client.handle(&granted),
            Ok(Progress::Nothing),
            "said before"
        );
        let bind = Message::parse(client.request()).unwrap();
        let fields = Fields::read(&bind);
        assert_eq!(Method::of(bind.kind()), Some(Method::ChannelBind));
        assert_eq!(
            (fields.channel, fields.peer),
            (Some(CHANNEL), Some(peer().into()))
        );
        let bound = answer(&client, Class::Success, |_| {});
        assert_eq!(client.handle(&bound), Ok(Progress::Done));
        assert!(client.is_done());
    }

    #[test]
    fn a_cycle_ends_with_a_lifetime_of_nothing() {
        let mut client = Client::new(Credentials::mint(b"secret", "me", 1), Goal::Cycle);
        let refusal = answer(&client, Class::Error, challenge);
        client.handle(&refusal).unwrap();
        let lacking = answer(&client, Class::Success, |_| {});
        assert_eq!(
            client.handle(&lacking),
            Err(Refused::Lacks("relayed address"))
        );
        let granted = answer(&client, Class::Success, |writer| {
            writer.xor_address(
                kinds::XOR_RELAYED_ADDRESS,
                "192.0.2.1:50000".parse().unwrap(),
            );
        });
        assert_eq!(client.handle(&granted), Ok(Progress::SendRequest));
        let end = Message::parse(client.request()).unwrap();
        assert_eq!(Method::of(end.kind()), Some(Method::Refresh));
        assert_eq!(Fields::read(&end).lifetime_s, Some(0));
    }

    #[test]
    fn what_no_nonce_mends_is_an_error_with_its_code() {
        let mut client = Client::new(Credentials::mint(b"secret", "me", 1), Goal::Cycle);
        let full = answer(&client, Class::Error, |writer| {
            writer.error(486, "full");
        });
        let error = client.handle(&full).unwrap_err().to_string();
        assert_eq!(error, "the server answers 486 full");
        for _ in 0..MAX_REFUSALS - 1 {
            let refusal = answer(&client, Class::Error, challenge);
            assert_eq!(client.handle(&refusal), Ok(Progress::SendRequest));
        }
        let refusal = answer(&client, Class::Error, challenge);
        assert!(client.handle(&refusal).is_err(), "it would never end");
    }

    #[test]
    fn credentials_are_what_other_servers_take() {
        // Computed by: printf 1790000000:me | openssl dgst -sha1 -hmac secret -binary | base64
        let Credentials { username, password } = Credentials::mint(b"secret", "me", 1_790_000_000);
        assert_eq!(username, "1790000000:me");
        assert_eq!(password, "RDn9tfbCK7VBPMjAOQrX8whaTXg=");
    }
}
