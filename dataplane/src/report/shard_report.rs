//! Counters of one shard, as plain integers.

use super::histogram::{LatencyHistogram, RunHistogram};
use super::quality::Quality;
use crate::drop_reason::Drops;
use crate::dtls::handshake::FailureKind;
use crate::key::ShardId;
use crate::stream;
use crate::turn::Counts;

/// Counters of one shard since its start, and current gauges.
#[derive(Debug, Clone)]
pub struct ShardReport {
    /// Shard of the counters.
    pub shard: ShardId,
    /// Datagrams and bytes from and to the network.
    pub traffic: Traffic,
    /// Dropped packets, by reason.
    pub drops: Drops,
    /// Datagrams that the kernel dropped because a socket's receive buffer was full.
    pub kernel_drops: u64,
    /// Media packets copied to other shards.
    pub mesh_packets: u64,
    /// Media packets queued for other nodes.
    pub link_packets: u64,
    /// Failed DTLS handshakes, in the order of [`FailureKind::ALL`].
    pub handshake_failures: [u64; FailureKind::ALL.len()],
    /// Packets retransmitted after a NACK.
    pub resent: u64,
    /// Bytes of padding: packets padded to the size of a run, and bandwidth probes.
    pub padding_bytes: u64,
    /// Runs that the kernel refused; they were sent again as single datagrams.
    pub refused_runs: u64,
    /// Messages sent as Ethernet frames.
    pub frames: u64,
    /// Datagrams per message that was passed to the kernel.
    pub runs: RunHistogram,
    /// Current number of sessions on the shard.
    pub sessions: usize,
    /// Current number of tracks published on the shard.
    pub tracks: usize,
    /// Current number of subscriptions of the shard's sessions.
    pub subscriptions: usize,
    /// Fraction of the last interval spent working, 0 to 1.
    pub busy_fraction: f64,
    /// Time from the arrival of media to its transmission.
    pub latency: LatencyHistogram,
    /// Quality of calls for subscribers.
    pub quality: Quality,
    /// Counters of TURN; `None` if TURN is off.
    pub turn: Option<Box<Counts>>,
    /// Counters of TCP and TLS streams.
    pub streams: stream::Counts,
}

/// Datagrams, and bytes of UDP payload.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traffic {
    /// Datagrams received from the network.
    pub packets_in: u64,
    /// Datagrams the kernel accepted for sending.
    pub packets_out: u64,
    /// Bytes received from the network.
    pub bytes_in: u64,
    /// Bytes the kernel accepted for sending.
    pub bytes_out: u64,
}

impl ShardReport {
    /// A report with all counters at zero.
    pub fn new(shard: ShardId) -> Self {
        Self {
            shard,
            traffic: Traffic::default(),
            drops: Drops::default(),
            kernel_drops: 0,
            mesh_packets: 0,
            link_packets: 0,
            handshake_failures: Default::default(),
            resent: 0,
            padding_bytes: 0,
            refused_runs: 0,
            frames: 0,
            runs: RunHistogram::default(),
            sessions: 0,
            tracks: 0,
            subscriptions: 0,
            busy_fraction: 0.0,
            latency: LatencyHistogram::default(),
            quality: Quality::default(),
            turn: None,
            streams: stream::Counts::default(),
        }
    }
}
