//! Limits of the control plane, with their units.
//!
//! Limits that an operator may change are settings (`config.rs`); their ranges are here.

use std::ops::RangeInclusive;
use std::time::Duration;

// Limits of clients' messages.

/// Bytes of a room's name or an identity in UTF-8: 128 characters of any script, and the 255 that a `sub` of OpenID
/// Connect may have.
pub const NAME_BYTES: usize = 512;
/// Characters of a display name.
pub const DISPLAY_NAME_CHARS: usize = 128;
/// Arrays and objects inside each other in a JSON text: what serde_json reads.
pub const JSON_DEPTH: usize = 127;
/// Characters of a message's topic.
pub const TOPIC_CHARS: usize = 64;
/// Bytes of a message's payload, encoded.
pub const PAYLOAD_BYTES: usize = 8 * 1024;
/// Identities a private message may name.
pub const MESSAGE_RECIPIENTS: usize = 100;
/// m-lines in a client's publish offer.
pub const OFFER_M_LINES: usize = 64;
/// m-lines in a client's answer to a subscribe offer.
pub const ANSWER_M_LINES: usize = 2_048;
/// Bytes of a trickled candidate.
pub const CANDIDATE_BYTES: usize = 1_024;
/// Tracks named in one `subscribe` or `unsubscribe`.
pub const SUBSCRIBE_TRACKS: usize = 1_000;
/// Simulcast layers of a track.
pub const TRACK_LAYERS: usize = 3;
/// Characters of a mid.
pub const MID_CHARS: usize = 32;
/// Characters of a rid (RFC 8852 section 3).
pub const RID_CHARS: usize = 255;
/// Bytes of a token.
pub const TOKEN_BYTES: usize = 8 * 1024;
/// Bytes of a message before `join`: a token and a resume key fit.
pub const FIRST_MESSAGE_BYTES: usize = 16 * 1024;
/// Bytes a socket may send in all before its `join`.
pub const UNJOINED_BYTES: usize = 64 * 1024;
/// A message counts as one more for each of so many bytes, for the work of reading it.
pub const BYTES_PER_MESSAGE: usize = 64 * 1024;
/// A frame this many times the message limit ends the socket without being read to its end.
pub const FRAME_FACTOR: usize = 2;
/// Pixels of the tallest layer.
pub const LAYER_HEIGHT: u32 = 16_384;

// Limits of one socket.

/// Messages waiting for a slow reader before it is closed with 4503.
pub const SEND_QUEUE_MESSAGES: usize = 512;
/// Bytes waiting for a slow reader before it is closed with 4503.
pub const SEND_QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// Bytes a socket reads at once and keeps for it while idle; a larger message makes room for itself.
pub const READ_BUFFER_BYTES: usize = 1_024;
/// Time for a batch of messages to be written.
pub const WRITE_TIME: Duration = Duration::from_secs(10);
/// Time from the socket's opening to `join`.
pub const JOIN_TIME: Duration = Duration::from_secs(10);
/// Without hearing anything from the client.
pub const IDLE_TIME: Duration = Duration::from_secs(30);
/// Between WebSocket pings; their pongs count as being heard.
pub const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Time for the close frames of both sides.
pub const CLOSE_TIME: Duration = Duration::from_secs(1);
/// Messages a client may send at once, as a multiple of its rate per second.
pub const BURST_SECONDS: u32 = 2;
/// Messages over the rate, at once, before the socket is closed with 4429; one is forgiven a second.
pub const STRIKES: u32 = 20;

// Limits of one room.

/// Events kept for sockets that come back.
pub const HISTORY_EVENTS: usize = 1_024;
/// Pause between messages of a busy room, per socket: a write costs about 15 µs, so a room takes a bounded part of a
/// core.
pub const NEWS_INTERVAL_PER_SOCKET: Duration = Duration::from_millis(1);
/// Maximum: clients see no difference above 20 updates a second.
pub const NEWS_INTERVAL: Duration = Duration::from_millis(50);
/// Much happens where something did within this time.
pub const NEWS_STREAM: Duration = Duration::from_millis(100);
/// Bytes of news that do not wait for more.
pub const NEWS_BYTES: usize = 64 * 1024;
/// Minimum time between two changes of a session's subscriptions; changes meanwhile are one command.
pub const SUBSCRIBE_INTERVAL: Duration = Duration::from_millis(200);
/// Maximum delay of a substitute for a private message.
pub const PRIVATE_INTERVAL: Duration = Duration::from_secs(2);
/// Bytes of it that do not wait.
pub const PRIVATE_BYTES: usize = 16 * 1024;
/// Inputs waiting for a room's task.
pub const ROOM_INPUTS: usize = 4_096;
/// Calls of one session waiting for the data plane.
pub const LANE_CALLS: usize = 64;
/// Tracks changed by one `PutSubscriptions`.
pub const SUBSCRIPTION_BATCH: usize = 1_000;
/// Time for a client to offer its tracks again after its media was lost.
pub const REOFFER_TIME: Duration = Duration::from_secs(30);
/// A participant's presence in the store, without being touched.
pub const PRESENCE_TIME: Duration = Duration::from_secs(30);
/// A room's life in a shared store after the last server that served it was heard of.
pub const ROOM_LIFE: Duration = Duration::from_secs(10 * 60);
/// A server's claim to read a room, without being renewed.
pub const READER_LEASE: Duration = Duration::from_secs(60);
/// Events of one room that wait for a store that cannot be reached.
pub const ISLAND_EVENTS: usize = 2_048;
/// Commands that share one pipeline to a server of the store.
pub const PIPELINE_COMMANDS: usize = 256;
/// Pipelines to one server that are on their way at once.
pub const PIPELINES: usize = 2;
/// Ephemeral messages that wait for one server of the store; more are not sent to other servers.
pub const UNANSWERED_COMMANDS: usize = 4_096;
/// Events of one room in one call to the store, which does nothing else meanwhile.
pub const APPEND_EVENTS: usize = 64;
/// Time that a write waits for a store that hands over, before the room continues without it.
pub const STORE_PATIENCE: Duration = Duration::from_secs(3);
/// Time that a write waits for a store that does not answer.
pub const SILENT_STORE_PATIENCE: Duration = Duration::from_secs(1);
/// Speakers in one `speakers` message.
pub const SPEAKERS: usize = 16;

/// Budgets of a room's identities, per message a second that a participant may send.
pub mod budget {
    /// Gain of an account per second.
    #[derive(Debug, Clone, Copy)]
    pub struct Rate {
        /// Events times their receivers.
        pub deliveries: f64,
        /// Bytes per second of these messages.
        pub bytes: f64,
    }

    /// Share of each identity that others cannot use: 2,000 deliveries and 800 KiB a second by default.
    pub const SHARE: Rate = Rate {
        deliveries: 40.0,
        bytes: 16.0 * 1024.0,
    };
    /// Extra of each identity, as long as the pool lasts: 20,000 deliveries and 3.1 MiB a second by default.
    pub const EXTRA: Rate = Rate {
        deliveries: 400.0,
        bytes: 64.0 * 1024.0,
    };
    /// Pool of a whole room, beyond the shares: 100,000 deliveries and 15.6 MiB a second by default.
    pub const POOL: Rate = Rate {
        deliveries: 2_000.0,
        bytes: 320.0 * 1024.0,
    };
    /// Changes of an identity: 10 a second by default.
    pub const CHANGES_PER_MESSAGE: f64 = 0.2;
    /// Changes of an identity at once, at least.
    pub const CHANGES_AT_ONCE: f64 = 100.0;
    /// Accounts hold what so many seconds fill into them.
    pub const SECONDS: f64 = 8.0;
    /// A share is enough for a join and an offer of this many tracks, in a room of any size: an empty pool keeps no
    /// participant out of a room.
    pub const SHARE_TRACKS: u64 = 2;
    /// Accounts are at least those of this many messages a second.
    pub const LEAST_MESSAGES: u32 = 10;
    /// Bytes of an event, its payload aside.
    pub const EVENT_BYTES: u64 = 300;
    /// Bytes of what stands for a message to others.
    pub const STAND_IN_BYTES: u64 = 64;
    /// Deliveries of a join per participant: all get the event, the joiner gets the list of all, and the leave is not
    /// charged separately.
    pub const JOIN_DELIVERIES: u64 = 3;
    /// Deliveries of an event that makes others subscribe: each is offered the track and answers.
    pub const PUBLISH_DELIVERIES: u64 = 4;
    /// Changes that a join counts as.
    pub const JOIN_CHANGES: u64 = 8;
    /// Changes that coming back counts as.
    pub const RESUME_CHANGES: u64 = 4;
}

// Credentials.

/// A resume key's life.
pub const RESUME_KEY_SECONDS: u64 = 24 * 60 * 60;
/// Maximum stay without another valid token, from the first join on, in seconds.
pub const STAY_SECONDS: u64 = 24 * 60 * 60;
/// `token-leeway-seconds`: clocks of token issuers may differ by this much.
pub const TOKEN_LEEWAY_SECONDS: RangeInclusive<u64> = 0..=300;
/// Bytes of the shortest API secret that is not guessed.
pub const SECRET_BYTES: usize = 16;

// HTTP.

/// Connections at once, WebSockets included.
pub const CONNECTIONS: usize = 65_536;
/// Descriptors that connections leave for everything else.
pub const RESERVED_FILES: u64 = 256;
/// Connections at once from an IPv4 address or an IPv6 /64, unless the setting says otherwise.
pub const CONNECTIONS_PER_SOURCE: usize = 4_096;
/// Time for a TLS handshake, from the connection's first packet on.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Time for a request's head, including its first byte and the pause since the last answer.
pub const HEADER_TIME: Duration = Duration::from_secs(10);
/// Lines in a request's head.
pub const HEADERS: usize = 64;
/// Time to answer a request other than a WebSocket.
pub const REQUEST_TIME: Duration = Duration::from_secs(10);
/// Time for a client to read its answer, from the first write that did not fit.
pub const RESPONSE_TIME: Duration = Duration::from_secs(20);
/// Bytes of a request's head, and of answers that wait for their reader.
pub const HEAD_BYTES: usize = 64 * 1024;
/// Bytes of a request's body; none of the routes wants one.
pub const BODY_BYTES: usize = 16 * 1024;
/// Time for a room to answer the admin API.
pub const REPORT_TIME: Duration = Duration::from_secs(2);

// The data plane.

/// Time for the answer of a gRPC call.
pub const CALL_TIME: Duration = Duration::from_secs(5);
/// Between renewals of the lease that keeps our participants' sessions.
pub const LEASE_RENEWAL: Duration = Duration::from_secs(2);
/// Margin of the lease beyond the grace time: the last renewal may be 2 s old when a server dies, and the data plane
/// treats 6 s without a renewal as time without a control plane.
pub const LEASE_MARGIN: Duration = Duration::from_secs(8);
/// Events of nodes that are not yet with the rooms. More wait at the nodes, which disconnect a slow reader.
pub const NODE_UPDATES: usize = 1_024;
/// Requests of a socket that wait while what its join needs is read; more are refused.
pub const JOINING_REQUESTS: usize = 64;
/// Appends of a room that the store has not numbered yet; with so many the room takes no more input.
pub const UNPLACED_APPENDS: usize = 256;
/// Bytes of one gRPC reply; `GetState` of a full node is the largest.
pub const REPLY_BYTES: usize = 256 * 1024 * 1024;
/// Pause before reconnecting to the data plane, doubled up to the second.
pub const RECONNECT_PAUSE: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_secs(1));
/// Time that a join waits at start for the data plane's state, so that all participants are known.
pub const SETTLE_TIME: Duration = Duration::from_secs(3);
/// Pause before restarting a data plane that died, doubled up to the second.
pub const RESTART_PAUSE: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(5));
/// A data plane that lived this long is restarted without a pause again.
pub const STABLE_TIME: Duration = Duration::from_secs(10);
/// Time for the data plane to end by itself before it is killed.
pub const STOP_TIME: Duration = Duration::from_secs(5);
/// Time for the data plane's control socket to appear.
pub const START_TIME: Duration = Duration::from_secs(10);
/// Bytes of the data plane's log before it is started anew at the next start.
pub const CHILD_LOG_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of a unix socket's path, terminator included (`sun_path` of unix(7)).
pub const SOCKET_PATH_BYTES: usize = 108;

// Ranges of settings.

/// `shards`: as many as a data plane takes.
pub const SHARDS: RangeInclusive<u16> = 1..=64;
/// Range of the setting `max-participants-per-room`.
pub const PARTICIPANTS_PER_ROOM: RangeInclusive<usize> = 1..=1_000_000;
/// Range of the setting `max-tracks-per-participant`.
pub const TRACKS_PER_PARTICIPANT: RangeInclusive<usize> = 1..=OFFER_M_LINES;
/// Range of the setting `max-message-bytes`, in bytes.
pub const MESSAGE_BYTES: RangeInclusive<usize> = 16 * 1024..=16 * 1024 * 1024;
/// Range of the setting `messages-per-second`.
pub const MESSAGES_PER_SECOND: RangeInclusive<u32> = 1..=10_000;
/// `turn-ttl-seconds`, and any other TURN credential: the relay takes none that lasts longer.
pub const TURN_TTL_SECONDS: RangeInclusive<u64> = 60..=86_400;
/// Bytes of a TURN user: what a USERNAME (RFC 8489) holds beside a date.
pub const TURN_USER_BYTES: usize = 480;
/// Characters of a TURN secret, at least.
pub const TURN_SECRET_BYTES: usize = 16;
/// Secrets of TURN credentials: one, and the one before it.
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
