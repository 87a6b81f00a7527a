//! Messages between threads of the data plane: to a shard ([`ToShard`]), to the control thread ([`ToControl`]), and
//! events for the control plane ([`ShardEvent`]).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::dtls::handshake::FailureKind;
use crate::ice::credentials::Ufrag;
use crate::key::{LayerIndex, LayerSet, SessionKey, ShardId, TrackKey};
use crate::media::codec::CodecSpec;
use crate::media::track::{TrackInfo, TrackStatus};
use crate::peer::command::{Command, CommandResult};
use crate::peer::output::PeerState;
use crate::peer::session::Peer;
use crate::report::ShardReport;
use crate::send::queue::Run;
use crate::turn;

/// A received datagram that is passed to another thread.
#[derive(Debug, Clone)]
pub struct Datagram {
    /// Payload of the datagram.
    pub bytes: Box<[u8]>,
    /// Source address of the datagram.
    pub source: SocketAddr,
    /// The local address that the datagram was sent to, if known.
    pub local: Option<IpAddr>,
    /// True when the datagram came from inside the process, see [`Arrived`](crate::path::arrive::Arrived).
    pub inside: bool,
}

/// Datagrams to a client that only another shard can reach: it has the client's stream or TURN allocation.
#[derive(Debug, Clone)]
pub struct OutgoingDatagrams {
    /// Bytes of all datagrams of the run, one after another.
    pub bytes: Box<[u8]>,
    /// Sizes and destination of the run.
    pub run: Run,
}

/// Message to a shard, from another shard or from the control thread.
pub enum ToShard {
    /// Take over this session, which is new or has moved.
    Adopt {
        /// The session with all its state.
        peer: Box<Peer>,
        /// The connectivity check that made the session move; `None` if no check caused the move.
        first: Option<Datagram>,
    },
    /// A datagram for a session of the receiving shard, which arrived at shard `via`.
    Datagram {
        /// Session of the datagram.
        session: SessionKey,
        /// The shard that received the datagram.
        via: ShardId,
        /// The datagram with its addresses.
        datagram: Datagram,
    },
    /// Forward datagrams from `source` to the session's home from now on.
    Foreign {
        /// Source address of the datagrams to forward.
        source: SocketAddr,
        /// Session that the datagrams belong to.
        session: SessionKey,
        /// Shard that has the session.
        home: ShardId,
    },
    /// The home of a session received an authenticated packet from an address that the receiving shard forwards from.
    /// The address is proven to be the client's.
    AddressInUse {
        /// The address that the session received from.
        source: SocketAddr,
        /// Session that received from the address.
        session: SessionKey,
        /// Shard that has the session.
        home: ShardId,
        /// Time when the session received.
        at: Instant,
    },
    /// Stop forwarding to this session: it has ended, or moved away from the sending shard.
    NotHere(SessionKey),
    /// Answer to a claim: the claimed session has just ended.
    Unclaimed,
    /// A command of the control plane.
    Command {
        /// Number of the request, repeated in the reply.
        request: u64,
        /// Session of the command.
        session: SessionKey,
        /// The command to execute.
        command: Command,
    },
    /// Datagrams for a client that this shard reaches through TURN or a stream.
    OutgoingDatagrams(OutgoingDatagrams),
    /// Describe all sessions of the shard.
    Describe {
        /// Number of the request, repeated in the reply.
        request: u64,
    },
    /// Describe all TURN allocations.
    DescribeTurn {
        /// Number of the request, repeated in the reply.
        request: u64,
    },
    /// A track is published on `home`, or changed, or moved there.
    TrackHome {
        /// Shard of the publisher.
        home: ShardId,
        /// Description of the track.
        info: Arc<TrackInfo>,
        /// Latest measured values of the track.
        status: TrackStatus,
    },
    /// A track is no longer published.
    TrackGone {
        /// The track that ended.
        track: TrackKey,
        /// The shard that was the track's home.
        home: ShardId,
    },
    /// New measured values of a track.
    Status(TrackKey, TrackStatus),
    /// The sender needs these layers of a track that is published here.
    Interest {
        /// The track that is needed.
        track: TrackKey,
        /// The shard with subscribers of the track.
        shard: ShardId,
        /// All layers that the shard needs; an empty set ends the copies.
        layers: LayerSet,
    },
    /// The sender needs a keyframe.
    Keyframe(TrackKey, LayerIndex),
    /// Close all sessions and end.
    Stop,
}

/// Message to the control thread, from a shard.
pub enum ToControl {
    /// A connectivity check with a verified password, for a session that is not on `shard`.
    Claim {
        /// The shard that received the check.
        shard: ShardId,
        /// ICE ufrag of the claimed session.
        ufrag: Ufrag,
        /// The connectivity check that was received.
        datagram: Datagram,
    },
    /// A session was sent to another shard.
    Moved {
        /// The session that moved.
        session: SessionKey,
        /// The shard that has the session now.
        to: ShardId,
    },
    /// A session has a new ICE ufrag, after an ICE restart.
    NewUfrag {
        /// The session with new credentials.
        session: SessionKey,
        /// The new ICE ufrag.
        ufrag: Ufrag,
        /// The old ufrag whose checks are no longer answered.
        retired: Option<Ufrag>,
    },
    /// The publisher of a track now sends `codec`, one of its negotiated codecs.
    Sends {
        /// The track whose codec is known now.
        track: TrackKey,
        /// The codec that its publisher sends.
        codec: CodecSpec,
    },
    /// A command was carried out or refused.
    Reply {
        /// Number of the answered command.
        request: u64,
        /// Result of the command.
        result: CommandResult,
    },
    /// A command for a session that is not on the sending shard; the control thread sends it to the session's home.
    Bounced {
        /// Number of the command.
        request: u64,
        /// Session of the command.
        session: SessionKey,
        /// The command to execute.
        command: Command,
    },
    /// All sessions of a shard.
    Description {
        /// Number of the answered request.
        request: u64,
        /// State of each session on the shard.
        sessions: Vec<(SessionKey, PeerState)>,
    },
    /// All TURN allocations of a shard.
    Allocations {
        /// Number of the answered request.
        request: u64,
        /// Shard of the allocations.
        shard: ShardId,
        /// TURN allocations of the shard.
        allocations: Vec<turn::Description>,
    },
    /// An event for the control plane.
    Event(ShardEvent),
    /// Counters of the shard, since its start.
    Report(Box<ShardReport>),
    /// The loop of this shard has ended.
    Stopped(ShardId),
}

impl ToControl {
    /// Name of the message in logs.
    pub fn name(&self) -> &'static str {
        match self {
            ToControl::Claim { .. } => "claim",
            ToControl::Moved { .. } => "move",
            ToControl::NewUfrag { .. } => "new ufrag",
            ToControl::Sends { .. } => "codec",
            ToControl::Reply { .. } => "reply",
            ToControl::Bounced { .. } => "command",
            ToControl::Description { .. } => "description",
            ToControl::Allocations { .. } => "turn description",
            ToControl::Event(_) => "event",
            ToControl::Report(_) => "report",
            ToControl::Stopped(_) => "end",
        }
    }
}

/// An event of a shard, for the control plane.
#[derive(Debug)]
pub enum ShardEvent {
    /// ICE and DTLS of a session are established.
    Connected {
        /// The session that is connected.
        session: SessionKey,
        /// Shard that has the session.
        shard: ShardId,
    },
    /// A session ended without a command.
    Closed {
        /// The session that ended.
        session: SessionKey,
        /// Reason of the end, for logs.
        reason: String,
        /// Kind of the failure, if the handshake failed.
        failure: Option<FailureKind>,
    },
    /// A subscribe session sends an offer to its client.
    Offer {
        /// The session that offers.
        session: SessionKey,
        /// Number of the offer in its session.
        revision: u64,
        /// SDP of the offer.
        sdp: String,
        /// The track of each m-line.
        mids: Vec<(String, TrackKey)>,
    },
    /// The forwarded layer of a subscription changed.
    Layer {
        /// The session that subscribes.
        session: SessionKey,
        /// The track of the subscription.
        track: TrackKey,
        /// The rid of the forwarded layer; empty without simulcast.
        rid: String,
        /// False when no media is forwarded.
        active: bool,
        /// The reason, as in the gRPC schema, if no media can be forwarded; empty otherwise.
        reason: &'static str,
    },
    /// Audio levels of active speakers.
    Levels {
        /// Shard that measured the levels.
        shard: ShardId,
        /// Tracks and their levels in -dBov.
        levels: Vec<(TrackKey, u8)>,
    },
}
