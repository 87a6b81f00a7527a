//! A message of a client: parsing, authentication, and the response.

use spillway_wire::stun::{Class, Fingerprint, Message, Method, Writer, kinds};
use spillway_wire::turn::Fields;

use super::auth::{Claim, IntegrityKind, PASSWORD_ALGORITHMS, Seal};
use super::client::{Client, Transport};
use super::deny::DenyReason;
use super::{Now, Outcome, Relay, Server};

/// A parsed STUN request or indication.
pub(super) struct Request<'a> {
    pub(super) now: Now,
    pub(super) client: Client,
    pub(super) method: Method,
    pub(super) message: Message<'a>,
    pub(super) fields: Fields<'a>,
    /// Whether the request had a FINGERPRINT; its response then has one, too.
    fingerprint: Fingerprint,
}

/// Result of a message that was granted.
pub(super) enum Done {
    /// The response is in the scratch buffer.
    Replied,
    Relay(Relay),
}

/// Value of SOFTWARE in our responses.
const SOFTWARE: &[u8] = b"spillway";
/// The first two bits of ChannelData; in STUN they are zero (RFC 7983).
const CHANNEL_BITS: u8 = 0x40;

impl Server {
    /// Handles a datagram or stream message of `client`.
    pub fn handle_client(&mut self, now: Now, client: &Client, bytes: &[u8]) -> Outcome<'_> {
        let done = match bytes.first() {
            Some(first) if first & 0xc0 == CHANNEL_BITS => self
                .channel_data(now.instant, client, bytes)
                .map(Done::Relay),
            Some(_) | None => self.stun(now, client, bytes),
        };
        match done {
            Ok(Done::Relay(relay)) => Outcome::Relay(relay),
            Ok(Done::Replied) => Outcome::Reply(&self.scratch),
            Err(reason) => {
                self.counts.deny(reason);
                Outcome::Silent(reason)
            }
        }
    }

    fn stun(&mut self, now: Now, client: &Client, bytes: &[u8]) -> Result<Done, DenyReason> {
        let message = Message::parse(bytes).map_err(|_framing| DenyReason::Malformed)?;
        let fingerprint = message.fingerprint();
        if fingerprint == Fingerprint::Wrong {
            return Err(DenyReason::WrongFingerprint);
        }
        let method = Method::of(message.kind()).ok_or(DenyReason::Unexpected)?;
        let request = Request {
            now,
            client: *client,
            method,
            message,
            fields: Fields::read(&message),
            fingerprint,
        };
        match (method, Class::of(message.kind())) {
            (Method::Send, Class::Indication) => self.send_indication(&request).map(Done::Relay),
            (Method::Binding, Class::Request) => self.binding(&request),
            (
                Method::Allocate | Method::Refresh | Method::CreatePermission | Method::ChannelBind,
                Class::Request,
            ) => self.authenticated(&request),
            (
                Method::Binding
                | Method::Allocate
                | Method::Refresh
                | Method::Send
                | Method::Data
                | Method::CreatePermission
                | Method::ChannelBind,
                Class::Request | Class::Indication | Class::Success | Class::Error,
            ) => Err(DenyReason::Unexpected),
        }
    }

    /// RFC 8489 section 3: a Binding request needs no authentication.
    fn binding(&mut self, request: &Request<'_>) -> Result<Done, DenyReason> {
        if !request.fields.unknown.is_empty() {
            return self.refuse_unproven(request, DenyReason::UnknownAttribute);
        }
        let mut writer = request.answer(&mut self.scratch, Class::Success);
        writer.xor_address(kinds::XOR_MAPPED_ADDRESS, request.client.remote);
        request.finish(writer, None);
        self.reply_to_unproven(request)
    }

    fn authenticated(&mut self, request: &Request<'_>) -> Result<Done, DenyReason> {
        let seal = match self.authenticate(request) {
            Ok(seal) => seal,
            Err(reason) => return self.refuse_unproven(request, reason),
        };
        let done = request
            .check_attributes()
            .and_then(|()| match request.method {
                Method::Allocate => self.allocate(request, &seal),
                Method::Refresh => self.refresh(request, &seal),
                Method::CreatePermission => self.create_permission(request, &seal),
                Method::ChannelBind => self.channel_bind(request, &seal),
                Method::Binding | Method::Send | Method::Data => Err(DenyReason::Unexpected),
            });
        match done {
            Ok(()) => Ok(Done::Replied),
            Err(reason) => {
                self.refuse(request, reason, Some(&seal))?;
                Ok(Done::Replied)
            }
        }
    }

    /// Authenticates `request`. The nonce is checked first: this costs little, and without a valid nonce the address is
    /// not proven.
    fn authenticate(&mut self, request: &Request<'_>) -> Result<Seal, DenyReason> {
        let claim = Claim::read(&request.fields)?;
        let (now, remote) = (request.now, request.client.remote);
        if !self.nonces.is_good(claim.nonce, now.unix_s, remote) {
            return Err(DenyReason::StaleNonce);
        }
        let known = self
            .allocation_of(&request.client, now.instant)
            .map(|id| self.allocations[id.index()].known());
        self.authority.verify(&claim, &request.message, known, now)
    }

    /// An error response to a client with an unproven address.
    fn refuse_unproven(
        &mut self,
        request: &Request<'_>,
        reason: DenyReason,
    ) -> Result<Done, DenyReason> {
        self.refuse(request, reason, None)?;
        self.reply_to_unproven(request)
    }

    /// Sends the response in the scratch buffer, if it is not too long for an unproven address.
    fn reply_to_unproven(&mut self, request: &Request<'_>) -> Result<Done, DenyReason> {
        let (now, source) = (request.now.instant, request.client.remote);
        let question = request.message.bytes().len();
        let excess = self.scratch.len().saturating_sub(question);
        let is_proven = match request.client.transport {
            Transport::Udp => false,
            Transport::Tcp | Transport::Tls => true, // the handshake of a connection has proven the address
        };
        if is_proven || excess == 0 || self.reflection.spend(now, source, excess) {
            Ok(Done::Replied)
        } else {
            Err(DenyReason::ReflectionBudget)
        }
    }

    /// Writes an error response, and counts it.
    fn refuse(
        &mut self,
        request: &Request<'_>,
        reason: DenyReason,
        seal: Option<&Seal>,
    ) -> Result<(), DenyReason> {
        let (code, text) = reason.answer().ok_or(reason)?;
        self.counts.deny(reason);
        let mut writer = request.answer(&mut self.scratch, Class::Error);
        writer.error(code, text);
        if reason == DenyReason::UnknownAttribute {
            let (value, length) = request.fields.unknown.value();
            writer.attribute(kinds::UNKNOWN_ATTRIBUTES, &value[..length]);
        }
        // RFC 8489 section 9.2.4: attributes that the client needs to try again.
        if matches!(code, 401 | 438) {
            let nonce = self.nonces.make(request.now.unix_s, request.client.remote);
            writer
                .attribute(kinds::REALM, self.authority.realm())
                .attribute(kinds::NONCE, &nonce)
                .attribute(kinds::PASSWORD_ALGORITHMS, &PASSWORD_ALGORITHMS);
        }
        request.finish(writer, seal);
        Ok(())
    }
}

impl Request<'_> {
    /// Starts the response in `scratch`.
    pub(super) fn answer<'s>(&self, scratch: &'s mut Vec<u8>, class: Class) -> Writer<'s> {
        scratch.clear();
        Writer::new(scratch, self.method.kind(class), self.message.transaction())
    }

    /// Ends the response with the same integrity attribute and FINGERPRINT as the request.
    pub(super) fn finish(&self, mut writer: Writer<'_>, seal: Option<&Seal>) {
        if let Some(seal) = seal {
            match seal.integrity {
                IntegrityKind::Sha1 => writer.integrity_sha1(seal.key.bytes()),
                IntegrityKind::Sha256 => writer.integrity_sha256(seal.key.bytes()),
            };
        }
        if self.fingerprint == Fingerprint::Fits {
            writer.fingerprint();
        }
    }

    /// Checks attributes that all methods share.
    fn check_attributes(&self) -> Result<(), DenyReason> {
        if !self.fields.unknown.is_empty() {
            return Err(DenyReason::UnknownAttribute);
        }
        match self.fields.malformed {
            Some(_) => Err(DenyReason::BadRequest),
            None => Ok(()),
        }
    }
}

/// Adds SOFTWARE; only responses to an Allocate have it.
pub(super) fn software(writer: &mut Writer<'_>) {
    writer.attribute(kinds::SOFTWARE, SOFTWARE);
}
