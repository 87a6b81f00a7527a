//! Binds the UDP sockets of all shards to one port.

use anyhow::Context as _;

use crate::config::Config;
use crate::io::udp::{self, GroupOptions};

/// Binds the UDP sockets of all shards to `port`, the value of the setting `setting`.
pub(super) fn bind(
    config: &Config,
    setting: &str,
    port: u16,
) -> anyhow::Result<(u16, Vec<udp::Pair>)> {
    let options = GroupOptions {
        port,
        setting,
        steering: config.steering,
        buffer_bytes: config.socket_buffer_bytes,
    };
    let (port, pairs, warnings) = udp::bind_group(options, &config.cores)
        .with_context(|| format!("cannot bind {setting} {port}"))?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok((port, pairs))
}
