//! Every maximum of the data plane, with its unit.

use std::time::Duration;

/// Shards a node can have: the mesh keeps a bitmap of them in a word.
pub const MAX_SHARDS: usize = 64;
/// Simulcast layers of a track.
pub const MAX_LAYERS: usize = 3;
/// Bytes of a datagram that is received whole; longer ones are dropped as truncated.
pub const MAX_DATAGRAM_BYTES: usize = 2_048;
/// Bytes of a message, which may be several datagrams that the kernel joined.
pub const MAX_MESSAGE_BYTES: usize = 65_535;
/// Messages received by one system call.
pub const RECEIVE_BATCH: usize = 32;
/// Receive calls per socket in one turn of a shard's loop: what bounds a turn.
pub const RECEIVES_PER_TURN: usize = 4;
/// Datagrams, joined by the kernel or not, after which a turn receives no more.
pub const DATAGRAMS_PER_TURN: usize = 1_024;
/// Messages sent by one system call.
pub const SEND_BATCH: usize = 32;
/// Bytes that are sent without waiting for a whole batch: what was sealed is still in the second-level
/// cache when the kernel copies it.
pub const SEND_BATCH_BYTES: usize = 96 << 10;
/// Datagrams joined in one message to one destination (UDP_MAX_SEGMENTS of kernels before 6.9).
pub const MAX_RUN_DATAGRAMS: usize = 64;
/// Bytes of such a message. The kernel would take 64 KiB, but past a dozen packets a longer message saves
/// nothing any more, and its pages are colder each time: it costs more a packet, and a shard that is
/// behind falls further behind.
pub const MAX_RUN_BYTES: usize = 20_000;
/// Sealed bytes of one socket that wait for room in its send buffer; later ones are dropped.
pub const SEND_ARENA_BYTES: usize = 4 << 20;
/// Destinations remembered to refuse joined datagrams.
pub const MAX_DESTINATIONS_WITHOUT_RUNS: usize = 4_096;
/// RTP padding that makes a packet as long as its neighbours, in bytes a packet: what a shard with little
/// to do spends, enough for the packets of one video frame. A link that is full gets no more either.
pub const IDLE_PADDING_BYTES: usize = 8;
/// What a shard spends after a turn that took [`BUSY_TURN`]: a trip through the network stack costs more
/// than sealing and copying as many bytes ten times over.
pub const BUSY_PADDING_BYTES: usize = 160;
/// A turn that took so long is one of a shard whose time is scarce.
pub const BUSY_TURN: Duration = Duration::from_micros(500);
/// Media packets per layer kept for retransmission, where the track has subscribers.
pub const HISTORY_PACKETS: usize = 512;
/// Sequence numbers one RTCP datagram can ask for again.
pub const MAX_NACKED: usize = 512;
/// Media packets on their way to one shard; when full, packets are dropped and counted.
pub const MESH_MEDIA: usize = 8_192;
/// Letters on their way to one shard or to the control thread; when full, they wait at the sender.
pub const MESH_LETTERS: usize = 4_096;
/// Letters that wait at a sender for room; beyond that datagram letters are dropped and counted.
pub const MAX_LETTER_BACKLOG: usize = 65_536;
/// Letters and media packets a shard takes from the mesh in one turn.
pub const MESH_PER_TURN: usize = 1_024;
/// Due sessions whose timers are handled in one turn.
pub const TIMERS_PER_TURN: usize = 1_024;
/// Addresses a shard remembers for sessions that live on another shard.
pub const MAX_FOREIGN_ADDRESSES: usize = 65_536;
/// Addresses from which one session may receive: candidates of a multi-homed, roaming client.
pub const MAX_ADDRESSES_PER_SESSION: usize = 32;
/// Bytes of an SDP.
pub const MAX_SDP_BYTES: usize = 256 * 1_024;
/// m-lines of a client's offer; subscribe sessions may have more, as offered by us.
pub const MAX_OFFER_MEDIA_LINES: usize = 64;
/// Bytes of an ICE candidate line.
pub const MAX_CANDIDATE_BYTES: usize = 1_024;
/// Bytes of an annotation.
pub const MAX_ANNOTATION_BYTES: usize = 16 * 1_024;
/// Bytes of a session or track id.
pub const MAX_ID_BYTES: usize = 128;
/// Subscriptions of one session.
pub const MAX_SUBSCRIPTIONS_PER_SESSION: usize = 2_048;
/// Events that wait for a slow reader before it is cut off.
pub const EVENT_BUFFER: usize = 8_192;
/// Commands that wait for the control thread.
pub const COMMAND_QUEUE: usize = 1_024;

/// How long a session waits in the lobby for its first connectivity check.
pub const LOBBY_WAIT: Duration = Duration::from_secs(60);
/// Least time between two keyframe requests for one layer.
pub const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);
/// Time after which an unanswered keyframe request is repeated.
pub const KEYFRAME_RETRY: Duration = Duration::from_millis(1_000);
/// How often levels, bitrates and allocations are looked at.
pub const TICK: Duration = Duration::from_millis(100);
/// How often layer bitrates are measured.
pub const BITRATE_WINDOW: Duration = Duration::from_millis(500);
/// How often audio levels are reported.
pub const LEVEL_INTERVAL: Duration = Duration::from_millis(300);
/// How often a shard reports its counters.
pub const REPORT_INTERVAL: Duration = Duration::from_millis(250);
/// Longest wait for a shard to answer the control thread.
pub const SHARD_REPLY: Duration = Duration::from_secs(5);

const _: () = assert!(MAX_SHARDS <= u64::BITS as usize);
const _: () = assert!(MAX_LAYERS <= u8::BITS as usize);
const _: () = assert!(MAX_DATAGRAM_BYTES > 1_500, "an Ethernet frame must fit");
const _: () = assert!(RECEIVE_BATCH * RECEIVES_PER_TURN <= MESH_PER_TURN);
const _: () = assert!(
    DATAGRAMS_PER_TURN <= MESH_PER_TURN,
    "a shard must take from the mesh what another sends in a turn"
);
const _: () = assert!(
    BUSY_PADDING_BYTES <= 255,
    "the count of padding bytes is one byte"
);
const _: () = assert!(KEYFRAME_INTERVAL.as_millis() < KEYFRAME_RETRY.as_millis());
