//! The suites of `scripts/test` that are neither of one crate nor of a browser: a module is a suite. They are one
//! program, because building it is what takes long.

mod contracts;
mod hostile;
mod server_kill;
mod redis;
mod redis_cluster;
mod redis_failover;
mod redis_outage;
mod redis_tls;
mod security;
mod sessions;
mod tls;
mod turn_hostile;
