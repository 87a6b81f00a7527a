//! Limits of the control plane: each maximum, time and range, with its unit.
//!
//! Limits that an operator can change are settings (`config/`). Their ranges are here.

use std::ops::RangeInclusive;
use std::time::Duration;

// Limits of clients' messages.

/// Maximum size of a room's name or an identity in UTF-8. It fits 128 characters of any script, and
/// the 255 characters of an OpenID Connect `sub`.
pub const NAME_BYTES: usize = 512;
/// Maximum length of a display name, in characters.
pub const DISPLAY_NAME_CHARS: usize = 128;
/// Maximum nesting of arrays and objects in JSON; serde_json has the same limit.
pub const JSON_DEPTH: usize = 127;
/// Maximum length of a message's topic, in characters.
pub const TOPIC_CHARS: usize = 64;
/// Maximum size of a message's payload as JSON text.
pub const PAYLOAD_BYTES: usize = 8 * 1024;
/// Maximum number of recipients of a private message.
pub const MESSAGE_RECIPIENTS: usize = 100;
/// Maximum number of m-lines in a client's publish offer.
pub const OFFER_M_LINES: usize = 64;
/// Maximum number of m-lines in a client's answer to a subscribe offer.
pub const ANSWER_M_LINES: usize = 2_048;
/// Maximum size of an ICE candidate.
pub const CANDIDATE_BYTES: usize = 1_024;
/// Maximum number of tracks in one `subscribe` or `unsubscribe`.
pub const SUBSCRIBE_TRACKS: usize = 1_000;
/// Maximum number of simulcast layers of a track.
pub const TRACK_LAYERS: usize = 3;
/// Maximum length of a mid.
pub const MID_CHARS: usize = 32;
/// Maximum length of a rid (RFC 8852 section 3).
pub const RID_CHARS: usize = 255;
/// Maximum size of a token.
pub const TOKEN_BYTES: usize = 8 * 1024;
/// Maximum size of a message before `join`. A token and a resume key fit.
pub const FIRST_MESSAGE_BYTES: usize = 16 * 1024;
/// Maximum number of bytes that a socket may send before its `join`.
pub const UNJOINED_BYTES: usize = 64 * 1024;
/// A message counts as one additional message for each of so many bytes, because they must be
/// parsed.
pub const BYTES_PER_MESSAGE: usize = 64 * 1024;
/// A frame larger than the message limit times this closes the socket before the frame is read
/// completely.
pub const FRAME_FACTOR: usize = 2;
/// Maximum height of a simulcast layer in pixels.
pub const LAYER_HEIGHT: u32 = 16_384;

// Limits of one socket.

/// Maximum number of messages queued for a socket. More close the socket with 4503.
pub const SEND_QUEUE_MESSAGES: usize = 512;
/// Maximum number of bytes queued for a socket. More close the socket with 4503.
pub const SEND_QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// Read buffer of a socket. It grows for a larger message.
pub const READ_BUFFER_BYTES: usize = 1_024;
/// Time limit for writing a batch of messages.
pub const WRITE_TIME: Duration = Duration::from_secs(10);
/// Time from the opening of a socket to its `join`.
pub const JOIN_TIME: Duration = Duration::from_secs(10);
/// A socket is closed after this time without any frame from the client.
pub const IDLE_TIME: Duration = Duration::from_secs(30);
/// Interval between WebSocket pings. The client's pongs count as frames.
pub const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Time for the close frames of both sides.
pub const CLOSE_TIME: Duration = Duration::from_secs(1);
/// Burst of messages: a multiple of the rate per second.
pub const BURST_SECONDS: u32 = 2;
/// Number of messages above the rate after which the socket is closed with 4429. One is forgiven
/// per second.
pub const STRIKES: u32 = 20;

// Limits of one room.

/// Number of latest events that are kept for clients that resume.
pub const HISTORY_EVENTS: usize = 1_024;
/// Interval between broadcasts of a busy room, per socket. A write costs about 15 µs, so a room
/// uses a bounded part of a core.
pub const BROADCAST_INTERVAL_PER_SOCKET: Duration = Duration::from_millis(1);
/// Maximum interval between broadcasts: clients notice no difference above 20 updates per second.
pub const BROADCAST_INTERVAL: Duration = Duration::from_millis(50);
/// A room is busy if its last broadcast is younger than this.
pub const BUSY_TIME: Duration = Duration::from_millis(100);
/// Number of buffered bytes that are broadcast without waiting.
pub const BROADCAST_BYTES: usize = 64 * 1024;
/// Minimum time between two commands that change a session's subscriptions. Changes meanwhile are
/// one command.
pub const SUBSCRIBE_INTERVAL: Duration = Duration::from_millis(200);
/// Maximum delay of placeholders for private messages.
pub const PLACEHOLDER_INTERVAL: Duration = Duration::from_secs(2);
/// Number of buffered bytes of placeholders that are sent without waiting.
pub const PLACEHOLDER_BYTES: usize = 16 * 1024;
/// Maximum number of inputs queued for a room's task.
pub const ROOM_INPUTS: usize = 4_096;
/// Maximum number of a client's jobs queued for one session.
pub const SESSION_JOBS: usize = 64;
/// Maximum number of tracks in one `PutSubscriptions`.
pub const SUBSCRIPTION_BATCH: usize = 1_000;
/// Time for a client to offer its tracks again after its media was lost.
pub const REOFFER_TIME: Duration = Duration::from_secs(30);
/// TTL of a participant's presence in the store.
pub const PRESENCE_TIME: Duration = Duration::from_secs(30);
/// TTL of a room's keys in a shared store.
pub const ROOM_LIFE: Duration = Duration::from_secs(10 * 60);
/// TTL of a server's registration as a reader of a room.
pub const READER_LEASE: Duration = Duration::from_secs(60);
/// Maximum number of events of one room that wait while the store is unavailable.
pub const OFFLINE_EVENTS: usize = 2_048;
/// Maximum number of commands sent together to one Redis server.
pub const PIPELINE_COMMANDS: usize = 256;
/// Maximum number of command batches in flight to one Redis server.
pub const PIPELINES: usize = 2;
/// Maximum number of ephemeral messages queued for one Redis server. More are not sent to other
/// servers.
pub const UNANSWERED_COMMANDS: usize = 4_096;
/// Maximum number of events of one room in one script call, which blocks the Redis server.
pub const APPEND_EVENTS: usize = 64;
/// Time that a write waits during a failover of the store. Then the room continues without the
/// store.
pub const STORE_PATIENCE: Duration = Duration::from_secs(3);
/// Time that a write waits for a store that does not answer. Then the room continues without the
/// store.
pub const SILENT_STORE_PATIENCE: Duration = Duration::from_secs(1);
/// Maximum number of speakers in one `speakers` message.
pub const SPEAKERS: usize = 16;

/// Budgets of identities and rooms. Rates are per message and second that a participant may send.
pub mod budget {
    /// Rate at which an account fills.
    #[derive(Debug, Clone, Copy)]
    pub struct Rate {
        /// Events times their receivers, per second.
        pub deliveries: f64,
        /// Bytes of these deliveries, per second.
        pub bytes: f64,
    }

    /// Share of an identity, which others cannot use: 2,000 deliveries and 800 KiB per second by
    /// default.
    pub const SHARE: Rate = Rate {
        deliveries: 40.0,
        bytes: 16.0 * 1024.0,
    };
    /// Extra of an identity, limited by the pool: 20,000 deliveries and 3.1 MiB per second by
    /// default.
    pub const EXTRA: Rate = Rate {
        deliveries: 400.0,
        bytes: 64.0 * 1024.0,
    };
    /// Pool of a room, beyond the shares: 100,000 deliveries and 15.6 MiB per second by default.
    pub const POOL: Rate = Rate {
        deliveries: 2_000.0,
        bytes: 320.0 * 1024.0,
    };
    /// Changes of an identity: 10 per second by default.
    pub const CHANGES_PER_MESSAGE: f64 = 0.2;
    /// Minimum capacity of an identity's account of changes.
    pub const CHANGES_AT_ONCE: f64 = 100.0;
    /// Capacity of an account: what it gains in so many seconds.
    pub const SECONDS: f64 = 8.0;
    /// Number of tracks in an offer that a share must suffice for, together with a join, in a room
    /// of any size. So an empty pool does not keep anyone out of a room.
    pub const SHARE_TRACKS: u64 = 2;
    /// Minimum rate of messages for the size of accounts.
    pub const LEAST_MESSAGES: u32 = 10;
    /// Size of an event without its payload, in bytes.
    pub const EVENT_BYTES: u64 = 300;
    /// Size of a placeholder for a private message, in bytes.
    pub const PLACEHOLDER_EVENT_BYTES: u64 = 64;
    /// Deliveries of a join, per participant: all receive the event, the new participant receives
    /// the list of all, and the leave is not charged separately.
    pub const JOIN_DELIVERIES: u64 = 3;
    /// Deliveries of a published track, per participant: each gets an event, an offer and more, and
    /// answers.
    pub const PUBLISH_DELIVERIES: u64 = 4;
    /// Changes that a join counts as.
    pub const JOIN_CHANGES: u64 = 8;
    /// Changes that a resume counts as.
    pub const RESUME_CHANGES: u64 = 4;
}

// Credentials.

/// Lifetime of a resume key.
pub const RESUME_KEY_SECONDS: u64 = 24 * 60 * 60;
/// Maximum stay without a new valid token, from the first join on, in seconds.
pub const STAY_SECONDS: u64 = 24 * 60 * 60;
/// Range of the setting `token-leeway-seconds`, in seconds.
pub const TOKEN_LEEWAY_SECONDS: RangeInclusive<u64> = 0..=300;
/// Minimum length of API secrets and admin tokens, in bytes.
pub const SECRET_BYTES: usize = 16;

// HTTP.

/// Maximum number of open connections, WebSockets included.
pub const CONNECTIONS: usize = 65_536;
/// File descriptors reserved for everything but connections.
pub const RESERVED_FILES: u64 = 256;
/// Default of `max-connections-per-source`: open connections from an IPv4 address or an IPv6 /64.
pub const CONNECTIONS_PER_SOURCE: usize = 4_096;
/// Time limit of a TLS handshake.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Time limit of a request head, including the idle time before it.
pub const HEADER_TIME: Duration = Duration::from_secs(10);
/// Maximum number of header lines of a request.
pub const HEADERS: usize = 64;
/// Time limit of a handler, except for WebSockets.
pub const REQUEST_TIME: Duration = Duration::from_secs(10);
/// Time limit for a client to read a response, from the first write that the kernel did not accept
/// completely.
pub const RESPONSE_TIME: Duration = Duration::from_secs(20);
/// Maximum size of a request head, and of buffered responses.
pub const HEAD_BYTES: usize = 64 * 1024;
/// Maximum size of a request body. No route reads one.
pub const BODY_BYTES: usize = 16 * 1024;
/// Time limit for a room to answer the admin API.
pub const REPORT_TIME: Duration = Duration::from_secs(2);

// The data plane.

/// Time limit of a gRPC call.
pub const CALL_TIME: Duration = Duration::from_secs(5);
/// Interval at which the lease of this server's sessions is renewed.
pub const LEASE_RENEWAL: Duration = Duration::from_secs(2);
/// Lease time beyond the grace time. The last renewal may be 2 s old when a server dies, and the
/// data plane treats 6 s without a renewal as time without a control plane.
pub const LEASE_MARGIN: Duration = Duration::from_secs(8);
/// Maximum number of node events that rooms have not received. More wait at the nodes, which
/// disconnect a slow reader.
pub const NODE_UPDATES: usize = 1_024;
/// Maximum number of requests of a socket that wait for the reads of its join. More are refused.
pub const JOINING_REQUESTS: usize = 64;
/// Maximum number of appends of a room in flight. Above that the room takes no inputs.
pub const APPENDS_IN_FLIGHT: usize = 256;
/// Maximum size of a gRPC reply; the largest one is `GetState` of a full node.
pub const REPLY_BYTES: usize = 256 * 1024 * 1024;
/// First and longest pause before a reconnect to a data plane; doubled each time.
pub const RECONNECT_PAUSE: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_secs(1));
/// Maximum time that a join waits, after the start of the server, until the state of a node was
/// read.
pub const NODE_WAIT_TIME: Duration = Duration::from_secs(3);
/// First and longest pause before a data plane is restarted; doubled each time.
pub const RESTART_PAUSE: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(5));
/// A data plane that has lived this long is restarted after the first pause again.
pub const STABLE_TIME: Duration = Duration::from_secs(10);
/// Time after SIGTERM for the data plane to end. Then it is killed.
pub const STOP_TIME: Duration = Duration::from_secs(5);
/// Time limit for connecting to the control socket.
pub const START_TIME: Duration = Duration::from_secs(10);
/// Size of the data plane's log at which the next start truncates it.
pub const CHILD_LOG_BYTES: u64 = 16 * 1024 * 1024;
/// Maximum length of a unix socket's path, with its terminator (`sun_path`, unix(7)).
pub const SOCKET_PATH_BYTES: usize = 108;

// Ranges of settings.

/// Range of the setting `shards`.
pub const SHARDS: RangeInclusive<u16> = 1..=64;
/// Range of the setting `max-participants-per-room`.
pub const PARTICIPANTS_PER_ROOM: RangeInclusive<usize> = 1..=1_000_000;
/// Range of the setting `max-tracks-per-participant`.
pub const TRACKS_PER_PARTICIPANT: RangeInclusive<usize> = 1..=OFFER_M_LINES;
/// Range of the setting `max-message-bytes`, in bytes.
pub const MESSAGE_BYTES: RangeInclusive<usize> = 16 * 1024..=16 * 1024 * 1024;
/// Range of the setting `messages-per-second`.
pub const MESSAGES_PER_SECOND: RangeInclusive<u32> = 1..=10_000;
/// Range of the setting `turn-ttl-seconds`, in seconds. The TURN server accepts no longer
/// credentials.
pub const TURN_TTL_SECONDS: RangeInclusive<u64> = 60..=86_400;
/// Maximum size of a TURN user: a USERNAME (RFC 8489) without the expiry.
pub const TURN_USER_BYTES: usize = 480;
/// Minimum length of a TURN secret.
pub const TURN_SECRET_BYTES: usize = 16;
/// Maximum number of TURN secrets: the current and the previous one.
pub const TURN_SECRETS: usize = 2;
/// Range of the setting `drain-seconds`, in seconds.
pub const DRAIN_SECONDS: RangeInclusive<u64> = 0..=3_600;
/// Range of the setting `resume-allowance-seconds`, in seconds.
pub const RESUME_ALLOWANCE_SECONDS: RangeInclusive<u64> = 0..=STAY_SECONDS;
/// Range of the setting `grace-seconds`, in seconds.
pub const GRACE_SECONDS: RangeInclusive<u64> = 1..=600;

const _: () = assert!(PAYLOAD_BYTES < *MESSAGE_BYTES.start());
const _: () = assert!(2 * TOKEN_BYTES <= FIRST_MESSAGE_BYTES);
const _: () = assert!(FIRST_MESSAGE_BYTES <= *MESSAGE_BYTES.start());
const _: () = assert!(FIRST_MESSAGE_BYTES < UNJOINED_BYTES);
const _: () = assert!(PING_INTERVAL.as_secs() * 2 < IDLE_TIME.as_secs());
