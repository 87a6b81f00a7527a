//! Command line options of the benchmark.

use std::net::SocketAddr;

use crate::canary::token::TokenSource;

/// The servers and the load.
#[derive(clap::Args, Debug)]
#[command(args_override_self = true)]
pub struct Options {
    /// A signaling server, IP:PORT; participants of a room are assigned to the servers in turn
    #[arg(long = "server", required = true)]
    pub(super) servers: Vec<SocketAddr>,
    /// Process of a server on this host, to read its memory; one per server
    #[arg(long = "pid")]
    pub(super) pids: Vec<u32>,
    /// The Redis that the servers share, IP:PORT, to measure its own delivery rate
    #[arg(long)]
    pub(super) redis: Option<SocketAddr>,
    /// API key of the servers
    #[arg(long)]
    pub(super) api_key: String,
    /// Secret of the API key
    #[arg(long)]
    pub(super) api_secret: String,
    /// Number of participants on all servers
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(super) connections: u32,
    /// Participants of a room
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    pub(super) room_size: u32,
    /// Joins per second of all participants
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) joins_per_second: u32,
    /// Messages sent per second [default: increases until messages are late]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) messages_per_second: Option<u32>,
    /// Bytes of padding in a message
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=8_000))]
    pub(super) message_bytes: u32,
    /// Length of each window
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(super) seconds: u64,
    /// Send no messages: measure the memory of connections
    #[arg(long)]
    pub(super) idle: bool,
    /// Participants of one large room, in addition to rooms of --room-size; they leave and join, and send no messages
    #[arg(long, value_parser = clap::value_parser!(u32).range(500..=50_000), conflicts_with_all = ["connections", "idle"])]
    pub(super) room: Option<u32>,
    /// Number of rooms of --room-size beside that of --room
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100), requires = "room")]
    pub(super) beside: u32,
    /// Events per second that the room of --room delivers; the other rooms together deliver as many
    #[arg(long, default_value_t = 40_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000), requires = "room")]
    pub(super) deliveries_per_second: u32,
}

impl Options {
    /// Participants of all rooms.
    pub(super) fn participants(&self) -> usize {
        let participants = match self.room {
            Some(large) => large + self.beside * self.room_size,
            None => self.connections,
        };
        participants as usize
    }

    /// The server that a participant joins.
    pub(super) fn server(&self, participant: usize) -> SocketAddr {
        self.servers[participant % self.servers.len()]
    }

    /// Name of the store.
    pub(super) fn store(&self) -> &'static str {
        match self.redis {
            Some(_) => "redis",
            None => "memory",
        }
    }

    /// Source of the participants' tokens.
    pub(super) fn tokens(&self) -> TokenSource {
        TokenSource::Key {
            key: self.api_key.clone(),
            secret: self.api_secret.clone(),
        }
    }
}
