//! The loop of a shard: what it does with messages, sockets and time, in which order. Stands on [`path`](crate::path) and
//! [`shard`](crate::shard); only [`run`] knows the runtime.

mod divert; // clients that are reached through TURN, a stream or another shard
mod mailbox; // what other threads ask
pub mod run; // the loop
mod session_events; // what sessions report while they are driven
mod sessions; // sessions that come, move and go
mod tick; // what is looked at every 100 ms
mod timers; // sessions with due timers
mod turn; // TURN's clients and their peers
#[cfg(test)]
mod tests; // a whole shard in one thread
