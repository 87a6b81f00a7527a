//! A call whose participants all go through a relay to an SFU: what a packet costs all processes on the way
//! together. Past the relay, it costs what the SFU does.

use std::net::SocketAddrV4;
use std::time::Duration;

use super::client::{self, Goal};
use super::crowd::{self, Arrival, Door};
use crate::fanout::Setup;
use crate::fanout::farm::Farm;
use crate::fanout::measure::{Measurement, measure};
use crate::net::detour::Detour;

/// Who is in it.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Participants that receive what one sends.
    pub subscribers: usize,
    /// How many relays are asked a second, while they come.
    pub per_second: u32,
    /// How long it is measured.
    pub time: Duration,
    /// The media address of the SFU.
    pub media: SocketAddrV4,
}

/// Measures the call; without a door, past the relays.
pub fn once(setup: &Setup, door: Option<Door<'_>>, call: Call) -> anyhow::Result<Measurement> {
    let mut system = setup.system()?;
    let mut farm = Farm::new(setup.server(), setup.sources(), setup.load())?;
    if let Some(door) = door {
        let detour = Detour {
            relay: door.server,
            peer: call.media,
            channel: client::channel(),
        };
        farm.go_through(detour, |socket, addresses| {
            let arrival = Arrival {
                addresses,
                clients: call.subscribers + 1,
                per_second: call.per_second,
                burst: 1,
                stride: 1, // as the farm hands them out
            };
            let goal = Goal::Channel(call.media);
            crowd::arrive(socket, door, arrival, goal).map(drop)
        })?;
    }
    farm.add_publishers(1)?;
    farm.add_subscribers(call.subscribers)?;
    measure(&mut farm, &mut system, call.time, 1)
}
