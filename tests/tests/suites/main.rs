//! The suites of `scripts/test` that need several processes, but no browser. Each module is a
//! suite. They are one program, because linking takes most of the time.

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
