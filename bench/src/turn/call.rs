//! A call of participants that all use a relay to an SFU: the cost of a packet in all processes on the path. Without
//! the relay, it is the cost of the SFU.

use std::net::SocketAddrV4;
use std::time::Duration;

use super::client::{self, Goal};
use super::crowd::{self, Arrival, RelayServer};
use crate::fanout::Setup;
use crate::fanout::farm::Farm;
use crate::fanout::measure::{Measurement, measure};
use crate::net::detour::Detour;

/// Participants of the call.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Number of participants that receive the media of one publisher.
    pub subscribers: usize,
    /// Allocations per second while clients start.
    pub per_second: u32,
    /// Duration of the measurement.
    pub time: Duration,
    /// The media address of the SFU.
    pub media: SocketAddrV4,
}

/// Measures the call through the relay, or directly to the SFU without one.
pub fn once(
    setup: &Setup,
    server: Option<RelayServer<'_>>,
    call: Call,
) -> anyhow::Result<Measurement> {
    let mut system = setup.system()?;
    let mut farm = Farm::new(setup.server(), setup.sources(), setup.load())?;
    if let Some(server) = server {
        let detour = Detour {
            relay: server.server,
            peer: call.media,
            channel: client::channel(),
        };
        farm.go_through(detour, |socket, addresses| {
            let arrival = Arrival {
                addresses,
                clients: call.subscribers + 1,
                per_second: call.per_second,
                burst: 1,
                stride: 1, // as the farm assigns them
            };
            let goal = Goal::Channel(call.media);
            crowd::arrive(socket, server, arrival, goal).map(drop)
        })?;
    }
    farm.add_publishers(1)?;
    farm.add_subscribers(call.subscribers)?;
    measure(&mut farm, &mut system, call.time, 1)
}
