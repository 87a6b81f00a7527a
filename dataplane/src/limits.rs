//! Limits of the data plane, with their units.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Maximum number of shards of a node: the mesh stores a bitmap of shards in 64 bits.
pub const MAX_SHARDS: usize = 64;
/// Maximum number of simulcast layers of a track.
pub const MAX_LAYERS: usize = 3;
/// Maximum bytes of a received datagram; longer ones are dropped as truncated.
pub const MAX_DATAGRAM_BYTES: usize = 2_048;
/// Maximum bytes of a message, which may be several datagrams joined by the kernel.
pub const MAX_MESSAGE_BYTES: usize = 65_535;
/// Maximum number of messages received by one system call.
pub const RECEIVE_BATCH: usize = 32;
/// Maximum number of receive calls per socket in one turn of a shard's loop.
pub const RECEIVES_PER_TURN: usize = 4;
/// Number of datagrams, joined by the kernel or not, after which a turn receives no more.
pub const DATAGRAMS_PER_TURN: usize = 128;
/// Sessions that one turn of a shard's loop seals for, plus those that complete a batch. The loop handles received
/// packets before it serves the others.
pub const SESSIONS_PER_TURN: usize = 64;
/// Packets sealed in one turn, plus those that complete a batch.
pub const PACKETS_PER_TURN: usize = 512;
/// Maximum number of media packets that wait for the subscribers of a shard; later ones are dropped. Enough for the
/// packets that arrive while a host stops for a few tenths of a second, because the shard can catch up after that.
pub const BACKLOG_PACKETS: usize = 8_192;
/// Maximum time that a packet waits in the backlog. Then the shard is overloaded, and drops incoming media until the
/// packet is sent.
pub const BACKLOG_TIME: Duration = Duration::from_millis(500);
/// Tracks with at most this many subscribers on a shard are served before tracks with more.
pub const FEW_SUBSCRIBERS: usize = 64;
/// Maximum number of messages sent by one system call.
pub const SEND_BATCH: usize = 32;
/// Number of bytes after which a partial batch is sent, while the sealed packets are still in the L2 cache when the
/// kernel copies them.
pub const SEND_BATCH_BYTES: usize = 96 << 10;
/// Maximum number of datagrams joined in one message (UDP_MAX_SEGMENTS of kernels before 6.9).
pub const MAX_RUN_DATAGRAMS: usize = 64;
/// Maximum bytes of a message to send. The kernel would accept 64 KiB, but beyond a dozen packets a longer message
/// saves nothing more, and its memory is less likely to be in the cache, so each packet costs more and a shard that is
/// late falls further behind.
pub const MAX_RUN_BYTES: usize = 20_000;
/// Bytes of sealed datagrams that can wait for one socket; later ones are dropped.
pub const SEND_ARENA_BYTES: usize = 4 << 20;
/// Maximum number of destinations remembered as refusing joined datagrams.
pub const MAX_DESTINATIONS_WITHOUT_RUNS: usize = 4_096;
/// Maximum number of the host's routes that a shard searches for the next hop of a frame; with more, the kernel's stack
/// sends.
pub const MAX_ROUTES: usize = 512;
/// Maximum number of routes that are read to find local prefixes of the host. With more routes, only addresses of
/// interfaces are known to the TURN server.
pub const MAX_OWN_ROUTES: usize = 65_536;
/// Maximum bytes of RTP padding per packet, to make the packets of a run equally long, on a shard that is not busy:
/// enough for the packets of one video frame. Also used while a socket is full.
pub const IDLE_PADDING_BYTES: usize = 8;
/// Maximum bytes of padding per packet on a shard that has been awake for [`BUSY_STRETCH`]: a pass through the network
/// stack costs more than sealing and copying ten times as many bytes.
pub const BUSY_PADDING_BYTES: usize = 160;
/// A shard that has been awake for this long is busy: CPU time then matters more than padding bytes.
pub const BUSY_STRETCH: Duration = Duration::from_micros(500);
/// Number of media packets per layer that are kept for retransmission while a track has subscribers.
pub const HISTORY_PACKETS: usize = 512;
/// Number of sealed datagrams kept per video m-line of a subscriber without RTX.
pub const KEPT_DATAGRAMS: usize = 128;
/// Maximum number of RTCP senders (SSRCs) in one subscribe session; browsers have one or two.
pub const MAX_RTCP_SENDERS: usize = 32;
/// Maximum number of SSRCs that a publish session uses in its life, for media and RTX. A client with three layers that
/// changes all its SSRCs every minute reaches it after more than eleven hours. One more ends the session.
pub const MAX_SSRCS_PER_SESSION: usize = 4_096;
/// Maximum number of packets that one RTCP datagram can request again.
pub const MAX_NACKED: usize = 512;
/// Size of the ring of media packets to one shard; when it is full, packets are dropped and counted.
pub const MESH_MEDIA: usize = 8_192;
/// Size of the ring of letters to one shard or to the control thread; when it is full, letters wait at the sender.
pub const MESH_LETTERS: usize = 4_096;
/// Maximum number of letters that wait at a sender; beyond it, letters with datagrams are dropped and counted.
pub const MAX_LETTER_BACKLOG: usize = 65_536;
/// Maximum number of waiting letters with media for a client of another shard: each may be a run of 20 kB.
pub const MAX_OUTWARD_BACKLOG: usize = 1_024;
/// Maximum number of letters and media packets that a shard takes from its mailbox in one turn.
pub const MESH_PER_TURN: usize = 1_024;
/// Maximum number of sessions whose timers are handled in one turn.
pub const TIMERS_PER_TURN: usize = 64;
/// Maximum number of addresses that a shard knows of sessions on other shards.
pub const MAX_FOREIGN_ADDRESSES: usize = 65_536;
/// A session keeps an address with authenticated datagrams within this time: checks of other sessions cannot take it.
pub const ADDRESS_HOLD_TIME: Duration = Duration::from_secs(2);
/// Minimum time between two moves of a session to another shard, because each move must be reported to other threads.
pub const MOVE_INTERVAL: Duration = Duration::from_secs(2);
/// Maximum number of sessions that claim an address of another session and have not proven it; more are refused.
pub const MAX_CLAIMS: usize = 4_096;
/// Bytes that may be sent to an unproven address, for each byte that arrived from it.
pub const AMPLIFICATION_LIMIT: usize = 3;
/// Number of ICE generations that a session answers: the latest one and the one before, until the client knows of a
/// restart.
pub const MAX_UFRAGS_PER_SESSION: usize = 2;
/// Maximum number of addresses from which one session receives: candidates of a multi-homed, roaming client.
pub const MAX_ADDRESSES_PER_SESSION: usize = 32;
/// Maximum bytes of a line of an SDP: a BUNDLE group with as many m-lines as a session may have.
pub const MAX_SDP_LINE_BYTES: usize = 16 * 1_024;
/// Maximum number of lines of one m-line, without candidates. Browsers write up to 250.
pub const MAX_SDP_LINES_PER_SECTION: usize = 512;
/// Maximum number of lines of one m-line about SSRCs and groups of SSRCs. Three layers with RTX have up to 27.
pub const MAX_SSRC_LINES_PER_M_LINE: usize = 64;
/// Maximum bytes of a track's mid. The MID header extension carries 16 in its one-byte form (RFC 8285 section 4.2).
pub const MAX_MID_BYTES: usize = 32;
/// Maximum bytes of a rid (RFC 8852 section 3).
pub const MAX_RID_BYTES: usize = 255;
/// Maximum bytes of an offer: 32 tracks of a browser.
pub const MAX_OFFER_BYTES: usize = 256 * 1_024;
/// Bytes of offers per second that a session may send. Parsing an offer costs up to 0.13 µs per byte.
pub const OFFER_BYTES_PER_SECOND: u32 = 64 * 1_024;
/// Time of unused [`OFFER_BYTES_PER_SECOND`] that a session can accumulate: two of the longest offers at once.
pub const OFFER_SAVED_TIME: Duration = Duration::from_secs(8);
/// Maximum characters of a media stream id and of a CNAME (RFC 8830 section 2).
pub const MAX_SYNC_NAME_BYTES: usize = 64;
/// Maximum bytes of an answer for each m-line that was offered.
pub const ANSWER_BYTES_PER_M_LINE: usize = 4 * 1_024;
/// Maximum bytes of an answer in addition to [`ANSWER_BYTES_PER_M_LINE`] for each m-line.
pub const ANSWER_BYTES_BESIDES: usize = 8 * 1_024;
/// Maximum number of invalid answers to one offer; one more ends the session.
pub const MAX_BAD_ANSWERS: usize = 4;
/// Maximum number of offers for one subscription because its publisher sends a codec that the subscriber did not
/// negotiate.
pub const MAX_REOFFERS: u8 = 4;
/// Maximum bytes of an SDP.
pub const MAX_SDP_BYTES: usize = 256 * 1_024;
/// Maximum number of m-lines of a client's offer; a subscribe session may have more, because we offer them.
pub const MAX_OFFER_MEDIA_LINES: usize = 64;
/// Maximum bytes of an ICE candidate line.
pub const MAX_CANDIDATE_BYTES: usize = 1_024;
/// Maximum bytes of an annotation.
pub const MAX_ANNOTATION_BYTES: usize = 16 * 1_024;
/// Maximum bytes of a session or track id.
pub const MAX_ID_BYTES: usize = 128;
/// Maximum number of subscriptions of one session.
pub const MAX_SUBSCRIPTIONS_PER_SESSION: usize = 2_048;
/// Maximum number of owners with a lease.
pub const MAX_LEASES: usize = 1_024;
/// Range of the duration of a lease.
pub const LEASE_TIME: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3_600);
/// A pause of all renewals of this length means that the control plane was down. Servers renew every 2 s.
pub const LEASE_SILENCE: Duration = Duration::from_secs(6);
/// Maximum number of events that wait for a slow reader; then the reader is disconnected.
pub const EVENT_BUFFER: usize = 8_192;
/// Maximum number of requests that wait for the control thread.
pub const COMMAND_QUEUE: usize = 1_024;

/// Time limit for the first connectivity check of a session in the lobby.
pub const LOBBY_WAIT: Duration = Duration::from_secs(60);
/// Minimum time between two keyframe requests for one layer.
pub const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);
/// Time after which an unanswered keyframe request is repeated.
pub const KEYFRAME_RETRY: Duration = Duration::from_millis(1_000);
/// Maximum age of a keyframe that a new subscription starts with. With an older one a new keyframe is requested, which
/// costs all subscribers bandwidth.
pub const YOUNG_KEYFRAME: Duration = Duration::from_millis(300);
/// Interval of the periodic work: levels, bit rates and layers.
pub const TICK: Duration = Duration::from_millis(100);
/// Interval of the periodic work on an idle shard.
pub const QUIET_TICK: Duration = Duration::from_secs(1);
/// Window over which the bit rate of a layer is measured.
pub const BITRATE_WINDOW: Duration = Duration::from_millis(500);
/// Interval of audio level reports.
pub const LEVEL_INTERVAL: Duration = Duration::from_millis(300);
/// Interval of a shard's reports, if its counters changed.
pub const REPORT_INTERVAL: Duration = Duration::from_millis(250);
/// Maximum time that the control thread waits for the reply of a shard.
pub const SHARD_REPLY: Duration = Duration::from_secs(5);

/// Maximum number of relay sockets that are read in one turn.
pub const RELAY_SOCKETS_PER_TURN: usize = 64;
/// Maximum number of receives from each relay socket in one turn, joined by the kernel or not.
pub const RECEIVES_PER_RELAY_SOCKET: usize = 16;
/// Bytes of a receive buffer: the maximum that the kernel joins.
pub const RELAY_SOCKET_RECEIVE_BYTES: usize = 64 << 10;
/// Maximum number of streams (TCP, TLS) of one shard.
pub const MAX_STREAMS: usize = 16_384;
/// Maximum number of streams of one shard from one IPv4 address or IPv6 /64: a company behind one address.
pub const MAX_STREAMS_PER_SOURCE: u16 = 1_024;
/// Maximum number of stream events that are handled in one turn.
pub const STREAM_EVENTS_PER_TURN: usize = 64;
/// Maximum number of streams that a listener accepts in one turn.
pub const ACCEPTS_PER_TURN: usize = 16;
/// Maximum number of TLS handshake steps in one turn: the one with the signature costs almost 1 ms of CPU, for which
/// media of other clients waits.
pub const HANDSHAKE_STEPS_PER_TURN: usize = 2;
/// Maximum bytes that are read from streams in one turn; a stream whose read has started is read to its own limit.
pub const STREAM_BYTES_PER_TURN: usize = 512 << 10;
/// Maximum number of reads from one stream in one turn.
pub const READS_PER_STREAM: usize = 4;
/// Maximum bytes of one read from a stream.
pub const STREAM_READ_BYTES: usize = 16 << 10;
/// Maximum bytes that wait in the queue of a stream; a message that does not fit is dropped. At 2 Mbit/s this is half a
/// second of media; media that is later is of no use.
pub const STREAM_OUTBOX_BYTES: usize = 128 << 10;
/// Maximum unsent bytes of a stream in the kernel: these can no longer be dropped or overtaken.
pub const STREAM_UNSENT_BYTES: u32 = 32 << 10;
/// Maximum bytes of HTTP that wait for one side before reading from the other side stops.
pub const PROXY_BYTES: usize = 64 << 10;
/// Maximum bytes of a message in a stream before its sender has authenticated.
pub const MAX_STRANGER_MESSAGE_BYTES: usize = 2_048;
/// Maximum number of TURN allocations of one shard, of all users together.
pub const MAX_ALLOCATIONS: usize = 100_000;
/// Maximum number of TURN allocations of one user on a shard: each device has one per transport that it tries, more for
/// address families and reconnections.
pub const MAX_ALLOCATIONS_PER_USER: u16 = 64;
/// Maximum number of TURN allocations of a shard from one IPv4 address or IPv6 /64: a company behind one address.
pub const MAX_ALLOCATIONS_PER_SOURCE: u16 = 4_096;
/// Maximum number of peer addresses that one allocation permits at a time.
pub const MAX_PERMISSIONS: usize = 32;
/// Maximum number of channels of one allocation.
pub const MAX_CHANNELS: usize = 32;
/// Maximum bytes per second that one allocation relays, both directions together: more than any subscriber receives.
pub const ALLOCATION_BYTES_PER_SECOND: u32 = 4_000_000;
/// Maximum bytes per second that all allocations of a shard relay, both directions together: 10 Gbit/s.
pub const TURN_BYTES_PER_SECOND: u32 = 1_250_000_000;
/// Maximum bytes of one relayed datagram: what a Data indication with an IPv6 address can carry.
pub const MAX_RELAYED_BYTES: usize = 65_500;
/// Maximum bytes of TURN's USERNAME (RFC 8489 section 14.3).
pub const MAX_USERNAME_BYTES: usize = 508;
/// Maximum bytes of TURN's REALM (RFC 8489 section 14.9).
pub const MAX_REALM_BYTES: usize = 763;
/// Maximum number of valid TURN secrets: the current one, and the previous one.
pub const MAX_TURN_SECRETS: usize = 2;
/// Minimum bytes of a TURN secret, against guessing.
pub const MIN_TURN_SECRET_BYTES: usize = 16;
/// Maximum grace time of a replaced TURN secret, in seconds: one week.
pub const MAX_TURN_SECRET_GRACE_S: u64 = 7 * 24 * 3_600;
/// Maximum number of configured NAT64 prefixes.
pub const MAX_NAT64_PREFIXES: usize = 16;
/// Maximum number of CIDRs that the operator denies as peers.
pub const MAX_DENIED_RANGES: usize = 256;
/// Table slots of 8 bytes that count the bytes sent to unproven sources; sources with the same hash share a slot.
pub const REFLECTION_SLOTS: usize = 16_384;
/// Bytes by which answers to an unproven network may exceed its requests in a burst: 400 first Allocates of clients
/// behind one address.
pub const REFLECTION_BURST_BYTES: u32 = 32 << 10;
/// Rate at which this budget refills, in bytes per second and network: 32 kbit/s towards a victim.
pub const REFLECTION_BYTES_PER_SECOND: u32 = 4 << 10;

/// Time limit for a session's DTLS handshake, from its first datagram on.
pub const DTLS_HANDSHAKE_TIME: Duration = Duration::from_secs(30);
/// Time limit for a TLS handshake, from the connection on.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Time limit for a stream to get an allocation or a session.
pub const PROVE_TIME: Duration = Duration::from_secs(30);
/// Time limit for a message in a stream, from its first byte to its last.
pub const MESSAGE_TIME: Duration = Duration::from_secs(10);
/// Time without a byte in either direction after which a proxied HTTP stream ends; WebSockets are never silent for that
/// long.
pub const PROXY_IDLE: Duration = Duration::from_secs(120);
/// Time limit for the HTTP upstream to accept a connection; then the client gets an error.
pub const UPSTREAM_TIME: Duration = Duration::from_secs(5);
/// Time limit for a client to finish its request after it got the response. Closing immediately would be a reset, which
/// discards the unread response.
pub const LINGER_TIME: Duration = Duration::from_secs(2);
/// Time without data from a session's client after which its stream ends; the client repeats its consent checks every
/// few seconds (RFC 7675).
pub const SESSION_SILENCE: Duration = Duration::from_secs(60);
/// Pause after accept failed because of a lack of descriptors or memory.
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

/// Maximum bytes of the forwarded header extensions of one packet, two bytes for each included: a dependency descriptor
/// with the structure of nine layers, and the others. More values are left out.
pub const CARRIED_EXTENSION_BYTES: usize = 192;

/// Maximum number of links to other nodes of a shard.
pub const MAX_LINKS: usize = 256;
/// Maximum number of media packets that wait for one link; more are dropped.
pub const LINK_PACKETS: usize = 8_192;
/// Maximum number of messages that wait for one link; one more breaks the link.
pub const LINK_MESSAGES: usize = 16_384;
/// Maximum number of tracks that one link imports, and that it exports.
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
