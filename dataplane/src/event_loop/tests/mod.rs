//! A whole shard in the test's thread: its steps are called one by one, its clients are real sessions on
//! loopback sockets.

mod allocations; // what one packet allocates
mod faults; // subscribers that misbehave and publishers that overdo it
mod rig; // the shard, a publisher, subscribers
mod relayed; // clients behind TURN
mod quiet; // empty and idle shards
mod numbers; // a publisher's numbers that begin anew
mod repair; // what subscribers get again, and how they start
mod order; // order of the sessions in a turn
mod hostile; // what others cannot do to them
mod links; // tracks from and for other nodes
mod extensions; // header extensions that are carried
