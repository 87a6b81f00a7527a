//! Limits of the data plane, with their units.

use std::ops::RangeInclusive;
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
/// Receive calls per socket in one turn of a shard's loop.
pub const RECEIVES_PER_TURN: usize = 4;
/// Datagrams, joined by the kernel or not, after which a turn receives no more.
pub const DATAGRAMS_PER_TURN: usize = 128;
/// Sessions sealed in one turn of a shard's loop, plus those that complete a batch. Received packets are handled after
/// these.
pub const SESSIONS_PER_TURN: usize = 64;
/// Packets that are sealed in one turn, likewise.
pub const PACKETS_PER_TURN: usize = 512;
/// Media packets that subscribers of a shard have yet to get; more are dropped, the latest. As many as come in while a host
/// stands still for a few tenths of a second, for that can be made up for.
pub const BACKLOG_PACKETS: usize = 8_192;
/// Maximum time that a packet waits in the backlog. Beyond it, incoming media is dropped until the packet was sent:
/// the shard is overloaded.
pub const BACKLOG_TIME: Duration = Duration::from_millis(500);
/// A track with at most this many subscribers on a shard goes before tracks with more.
pub const FEW_SUBSCRIBERS: usize = 64;
/// Messages sent by one system call.
pub const SEND_BATCH: usize = 32;
/// Bytes after which a partial batch is sent: the sealed packets are still in the second-level cache when the kernel
/// copies them.
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
/// Routes of the host that a shard looks through for where a frame goes; with more, the kernel does.
pub const MAX_ROUTES: usize = 512;
/// Routes that are read to find prefixes of the host. With more routes, prefixes behind them without an interface are
/// unknown to the relay.
pub const MAX_OWN_ROUTES: usize = 65_536;
/// RTP padding that makes a packet as long as its neighbours, in bytes a packet: what a shard with little
/// to do spends, enough for the packets of one video frame. A link that is full gets no more either.
pub const IDLE_PADDING_BYTES: usize = 8;
/// Maximum padding of a packet on a shard that has been awake for [`BUSY_STRETCH`]: a pass through the network stack
/// costs more than sealing and copying ten times as many bytes.
pub const BUSY_PADDING_BYTES: usize = 160;
/// A shard that has been awake for this long is busy: CPU time costs more than padding bytes.
pub const BUSY_STRETCH: Duration = Duration::from_micros(500);
/// Media packets per layer kept for retransmission, where the track has subscribers.
pub const HISTORY_PACKETS: usize = 512;
/// Sealed datagrams kept for each m-line of video of a subscriber that takes no RTX.
pub const KEPT_DATAGRAMS: usize = 128;
/// Senders (SSRC) of RTCP in one subscribe session; browsers have one or two.
pub const MAX_RTCP_SENDERS: usize = 32;
/// SSRCs that a publish session uses in its life, media and RTX: a client that takes a new pair for each of three layers
/// every minute has more than eleven hours. One more ends the session.
pub const MAX_SSRCS_PER_SESSION: usize = 4_096;
/// Sequence numbers one RTCP datagram can ask for again.
pub const MAX_NACKED: usize = 512;
/// Media packets on their way to one shard; when full, packets are dropped and counted.
pub const MESH_MEDIA: usize = 8_192;
/// Letters on their way to one shard or to the control thread; when full, they wait at the sender.
pub const MESH_LETTERS: usize = 4_096;
/// Letters that wait at a sender for room; beyond that datagram letters are dropped and counted.
pub const MAX_LETTER_BACKLOG: usize = 65_536;
/// Maximum of these messages for a client of another shard, if one is media: it may be a run of 20 kB.
pub const MAX_OUTWARD_BACKLOG: usize = 1_024;
/// Letters and media packets a shard takes from the mesh in one turn.
pub const MESH_PER_TURN: usize = 1_024;
/// Sessions with due timers that are handled in one turn.
pub const TIMERS_PER_TURN: usize = 64;
/// Addresses a shard remembers for sessions that live on another shard.
pub const MAX_FOREIGN_ADDRESSES: usize = 65_536;
/// An address with authenticated datagrams within this time stays with its session: checks of other sessions do not
/// take it.
pub const OWNER_STAYS: Duration = Duration::from_secs(2);
/// A session moves to another shard at most once in this time: its subscribers or its publishers have to be told.
pub const MOVE_INTERVAL: Duration = Duration::from_secs(2);
/// Sessions that ask for an address which another session has, and were not proven yet; more are refused.
pub const MAX_CLAIMS: usize = 4_096;
/// Bytes sent to an address that was not proven to be the client's, for each byte that came from there.
pub const AMPLIFICATION_LIMIT: usize = 3;
/// ICE generations that a session answers: the latest, and the one before it, until the client has learnt of a restart.
pub const MAX_UFRAGS_PER_SESSION: usize = 2;
/// Addresses from which one session may receive: candidates of a multi-homed, roaming client.
pub const MAX_ADDRESSES_PER_SESSION: usize = 32;
/// Bytes of a line of an SDP: a BUNDLE group that names as many m-lines as a session may have.
pub const MAX_SDP_LINE_BYTES: usize = 16 * 1_024;
/// Lines of one m-line, without candidates. Browsers write up to 250.
pub const MAX_SDP_LINES_PER_SECTION: usize = 512;
/// Lines of one m-line about SSRCs, groups of them too. Three layers with RTX have up to 27.
pub const MAX_SSRC_LINES_PER_M_LINE: usize = 64;
/// Bytes of a mid that a track can have. The MID header extension carries 16 in its one-byte form (RFC 8285 section 4.2).
pub const MAX_MID_BYTES: usize = 32;
/// Bytes of a rid (RFC 8852 section 3).
pub const MAX_RID_BYTES: usize = 255;
/// Bytes of an offer: 32 tracks of a browser.
pub const MAX_OFFER_BYTES: usize = 256 * 1_024;
/// Bytes of offers that a session reads a second, and how long a quiet session saves them up: reading an offer costs up to
/// 0.13 µs a byte.
pub const OFFER_BYTES_PER_SECOND: u32 = 64 * 1_024;
/// See [`OFFER_BYTES_PER_SECOND`]: two of the longest offers at once.
pub const OFFER_SAVED_TIME: Duration = Duration::from_secs(8);
/// Characters of a media stream id and of a CNAME (RFC 8830 section 2).
pub const MAX_SYNC_NAME_BYTES: usize = 64;
/// Bytes of an answer: for each m-line that was offered, and besides.
pub const ANSWER_BYTES_PER_M_LINE: usize = 4 * 1_024;
/// Bytes of an answer besides [`ANSWER_BYTES_PER_M_LINE`] for each m-line.
pub const ANSWER_BYTES_BESIDES: usize = 8 * 1_024;
/// Answers to one offer that cannot be used; one more ends the session.
pub const MAX_BAD_ANSWERS: usize = 4;
/// Offers of one subscription that put first another codec than those before, because its publisher sends that one.
pub const MAX_REOFFERS: u8 = 4;
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
/// Owners with a lease at once.
pub const MAX_LEASES: usize = 1_024;
/// Range of the time of a lease.
pub const LEASE_TIME: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3_600);
/// A pause of all renewals that is so long is time without a control plane. Servers renew every 2 s.
pub const LEASE_SILENCE: Duration = Duration::from_secs(6);
/// Events that wait for a slow reader before it is cut off.
pub const EVENT_BUFFER: usize = 8_192;
/// Commands that wait for the control thread.
pub const COMMAND_QUEUE: usize = 1_024;

/// Time that a session waits in the lobby for its first connectivity check.
pub const LOBBY_WAIT: Duration = Duration::from_secs(60);
/// Least time between two keyframe requests for one layer.
pub const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);
/// Time after which an unanswered keyframe request is repeated.
pub const KEYFRAME_RETRY: Duration = Duration::from_millis(1_000);
/// A new subscription starts with a keyframe up to this age, instead of a new keyframe for all subscribers.
pub const YOUNG_KEYFRAME: Duration = Duration::from_millis(300);
/// Interval of the periodic work: levels, bit rates and layers.
pub const TICK: Duration = Duration::from_millis(100);
/// Interval of the periodic work on an idle shard.
pub const QUIET_TICK: Duration = Duration::from_secs(1);
/// Window of the measurement of a layer's bit rate.
pub const BITRATE_WINDOW: Duration = Duration::from_millis(500);
/// Interval of audio level reports.
pub const LEVEL_INTERVAL: Duration = Duration::from_millis(300);
/// Interval of a shard's reports, if its counters changed.
pub const REPORT_INTERVAL: Duration = Duration::from_millis(250);
/// Longest wait for a shard to answer the control thread.
pub const SHARD_REPLY: Duration = Duration::from_secs(5);

/// Sockets of relayed addresses that are looked at in one turn.
pub const REACHED_PER_TURN: usize = 64;
/// Receives from each of them, joined by the kernel or not.
pub const REACHED_SOCKET_BATCH: usize = 16;
/// Room for each: what the kernel joins at most.
pub const REACHED_JOINED_BYTES: usize = 64 << 10;
/// Streams (TCP, TLS) of one shard.
pub const MAX_STREAMS: usize = 16_384;
/// Streams of one shard from one address (IPv4) or /64 (IPv6): a company behind one address.
pub const MAX_STREAMS_PER_SOURCE: u16 = 1_024;
/// Events of streams that are looked at in one turn.
pub const STREAM_EVENTS_PER_TURN: usize = 64;
/// Streams that a listener accepts in one turn.
pub const ACCEPTS_PER_TURN: usize = 16;
/// Steps of TLS handshakes in one turn: the one with the signature takes most of a millisecond of a core
/// that others' media waits for.
pub const HANDSHAKE_STEPS_PER_TURN: usize = 2;
/// Bytes that are read from streams in one turn; one that was begun is read to its own bound.
pub const STREAM_BYTES_PER_TURN: usize = 512 << 10;
/// Reads from one stream in one turn.
pub const READS_PER_STREAM: usize = 4;
/// Bytes of one such read.
pub const STREAM_READ_BYTES: usize = 16 << 10;
/// Bytes that wait for the other end of a stream; a message that does not fit is dropped whole. At
/// 2 Mbit/s it is half a second of media, and later than that it is of no use.
pub const STREAM_OUTBOX_BYTES: usize = 128 << 10;
/// Unsent bytes of a stream in the kernel: these can no longer be dropped or overtaken.
pub const STREAM_UNSENT_BYTES: u32 = 32 << 10;
/// Bytes of HTTP that wait on either side before the other is read no further.
pub const PROXY_BYTES: usize = 64 << 10;
/// Bytes of a message in a stream before its sender has shown credentials.
pub const MAX_STRANGER_MESSAGE_BYTES: usize = 2_048;
/// TURN allocations of one shard, of all users together.
pub const MAX_ALLOCATIONS: usize = 100_000;
/// TURN allocations of one user of a shard: each device has one per transport it tries, and families and
/// reconnections come on top.
pub const MAX_ALLOCATIONS_PER_USER: u16 = 64;
/// TURN allocations from one address (IPv4) or /64 (IPv6) of a shard: a company behind one address.
pub const MAX_ALLOCATIONS_PER_SOURCE: u16 = 4_096;
/// Peer addresses one allocation may let in at a time.
pub const MAX_PERMISSIONS: usize = 32;
/// Channels of one allocation.
pub const MAX_CHANNELS: usize = 32;
/// Bytes a second that one allocation relays, both ways together: more than any subscriber receives.
pub const ALLOCATION_BYTES_PER_SECOND: u32 = 4_000_000;
/// Bytes a second that all allocations of a shard relay, both ways together: 10 Gbit/s.
pub const TURN_BYTES_PER_SECOND: u32 = 1_250_000_000;
/// Bytes of one relayed datagram: what a Data indication with an IPv6 address can carry.
pub const MAX_RELAYED_BYTES: usize = 65_500;
/// Bytes of TURN's USERNAME (RFC 8489 section 14.3).
pub const MAX_USERNAME_BYTES: usize = 508;
/// Bytes of TURN's REALM (RFC 8489 section 14.9).
pub const MAX_REALM_BYTES: usize = 763;
/// Secrets that TURN credentials may be minted with: one, and the one before it.
pub const MAX_TURN_SECRETS: usize = 2;
/// Minimum bytes of a TURN secret, against guessing.
pub const MIN_TURN_SECRET_BYTES: usize = 16;
/// Maximum grace of a replaced TURN secret, in seconds: one week.
pub const MAX_TURN_SECRET_GRACE_S: u64 = 7 * 24 * 3_600;
/// NAT64 prefixes of an operator's network.
pub const MAX_NAT64_PREFIXES: usize = 16;
/// CIDRs an operator may forbid as peers.
pub const MAX_DENIED_RANGES: usize = 256;
/// Table slots of 8 bytes that count the bytes sent to unproven sources; sources with the same hash share a slot.
pub const REFLECTION_SLOTS: usize = 16_384;
/// Bytes by which answers to a source may exceed its questions at once, before it has proven that it is where
/// it says: 400 first Allocates of clients behind one address.
pub const REFLECTION_BURST_BYTES: u32 = 32 << 10;
/// Rate of unproven answer bytes per network and second: 32 kbit/s towards a victim.
pub const REFLECTION_BYTES_PER_SECOND: u32 = 4 << 10;

/// Time for a session's DTLS handshake, from its first datagram on.
pub const DTLS_HANDSHAKE_TIME: Duration = Duration::from_secs(30);
/// Time for a TLS handshake, from the connection on.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Time for a stream to get an allocation or a session.
pub const PROVE_TIME: Duration = Duration::from_secs(30);
/// Time for a message in a stream, from its first byte to its last.
pub const MESSAGE_TIME: Duration = Duration::from_secs(10);
/// Time without a byte in either direction after which a proxied HTTP stream ends; WebSockets are never silent that
/// long.
pub const PROXY_IDLE: Duration = Duration::from_secs(120);
/// Time for the HTTP upstream to accept a connection, before the client gets an error.
pub const UPSTREAM_TIME: Duration = Duration::from_secs(5);
/// Time for a client to finish its request after it got its answer. Closing at once would be a reset, which discards
/// the unread answer.
pub const LINGER_TIME: Duration = Duration::from_secs(2);
/// Time without data from a session's client after which its stream ends; the client repeats its consent every few
/// seconds (RFC 7675).
pub const SESSION_SILENCE: Duration = Duration::from_secs(60);
/// Pause after accept failed for want of descriptors or memory.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Default and minimum lifetime of an allocation (RFC 8656 section 3.2).
pub const ALLOCATION_LIFETIME: Duration = Duration::from_secs(600);
/// Maximum lifetime that a client may request.
pub const MAX_ALLOCATION_LIFETIME: Duration = Duration::from_secs(3_600);
/// Time after a media node sent to a relayed address during which the session counts as live. Nodes answer only the
/// checks of live sessions; RFC 7675 sends one every 5 s. Backup paths are checked less often.
pub const SESSION_ANSWER_TIME: Duration = Duration::from_secs(60);
/// Lifetime of a permission (RFC 8656 section 9).
pub const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);
/// Lifetime of a channel (RFC 8656 section 12).
pub const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);
/// Time for which a nonce is valid.
pub const NONCE_LIFETIME: Duration = Duration::from_secs(600);
/// Maximum time from now to the expiry of TURN credentials; a later expiry is a mistake of the service that creates
/// credentials.
pub const MAX_CREDENTIAL_LIFETIME: Duration = Duration::from_secs(24 * 3_600);

/// Header extensions of one packet that are carried from a publisher to its subscribers, with two bytes for each: a
/// dependency descriptor with the structure of nine layers, and the others. More is left out.
pub const CARRIED_EXTENSION_BYTES: usize = 192;

/// Links to other nodes that a shard can have.
pub const MAX_LINKS: usize = 256;
/// Media packets that wait for one link; more are dropped.
pub const LINK_PACKETS: usize = 8_192;
/// Messages that wait for one link; a link with more is broken.
pub const LINK_MESSAGES: usize = 16_384;
/// Tracks that one link brings to a shard, or that it gets from it.
pub const MAX_TRACKS_PER_LINK: usize = 16_384;

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
const _: () = assert!(
    CARRIED_EXTENSION_BYTES <= 255,
    "the length of a value is one byte"
);
const _: () = assert!(KEYFRAME_INTERVAL.as_millis() < KEYFRAME_RETRY.as_millis());
const _: () = assert!(
    MAX_PERMISSIONS * 40 + MAX_CHANNELS * 64 + MAX_USERNAME_BYTES <= 3_840,
    "an allocation with everything it may have must fit into 4 KiB with its own few hundred bytes"
);
const _: () = assert!(REFLECTION_SLOTS.is_power_of_two());
const _: () = assert!(MAX_RELAYED_BYTES.next_multiple_of(4) + 24 + 4 <= u16::MAX as usize);
