//! Lists the TURN allocations of all shards for the control plane: asks each shard, and collects the replies.

use std::time::Instant;

use spillway_wire::dataplane as proto;
use tokio::sync::oneshot;

use super::{Control, Listing};
use crate::key::ShardId;
use crate::limits::SHARD_REPLY;
use crate::mesh::message::ToShard;
use crate::peer::command::CommandError;
use crate::turn::Description;

impl Control {
    pub(super) fn ask_allocations(
        &mut self,
        reply: oneshot::Sender<Result<proto::ListAllocationsReply, CommandError>>,
        now: Instant,
    ) {
        let request = self.new_request();
        let shards: Vec<_> = self.reports.iter().map(|report| report.shard).collect();
        let listing = Listing {
            reply,
            deadline: now + SHARD_REPLY,
            missing: shards.len(),
            allocations: Vec::new(),
        };
        self.listings.insert(request, listing);
        for shard in shards {
            self.send(shard, ToShard::DescribeTurn { request });
        }
    }

    pub(super) fn on_allocations(
        &mut self,
        request: u64,
        shard: ShardId,
        allocations: Vec<Description>,
    ) {
        let Some(listing) = self.listings.get_mut(&request) else {
            return; // the request has timed out
        };
        let described = allocations.into_iter().map(|one| describe(shard, one));
        listing.allocations.extend(described);
        listing.missing -= 1;
        if listing.missing == 0
            && let Some(listing) = self.listings.remove(&request)
        {
            let allocations = listing.allocations;
            let _ = listing
                .reply
                .send(Ok(proto::ListAllocationsReply { allocations }));
        }
    }
}

fn describe(shard: ShardId, one: Description) -> proto::Allocation {
    let few = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    proto::Allocation {
        shard: shard.0.into(),
        transport: one.client.transport.label().to_owned(),
        client: one.client.remote.to_string(),
        username: one.username,
        relayed: one.relayed.iter().map(ToString::to_string).collect(),
        permissions: few(one.permissions),
        channels: few(one.channels),
        to_peer_bytes: one.to_peer_bytes,
        to_client_bytes: one.to_client_bytes,
        expires_in_s: u32::try_from(one.expires_in_s).unwrap_or(u32::MAX),
    }
}
