//! A whole shard in the test's thread: its steps are called one by one. Its clients are real sessions on loopback
//! sockets.

mod allocations; // allocations per packet
mod faults; // misbehaving subscribers and publishers
mod rig; // the shard, a publisher, subscribers
mod relayed; // clients behind TURN
mod idle; // empty and idle shards
mod numbers; // restarts of a publisher's sequence numbers
mod repair; // retransmissions, and first packets of a subscription
mod order; // order of the sessions in a turn
mod hostile; // attacks on sessions
mod links; // tracks from and for other nodes
mod extensions; // header extensions that are forwarded
