//! The loop of a shard: order of messages, sockets and timers. Uses [`path`](crate::path) and [`shard`](crate::shard).
//! Only [`run`] depends on the async runtime.

mod redirect; // clients reached through TURN, a stream or another shard
mod mailbox; // messages from other threads
pub mod run; // the loop
mod session_events; // events of sessions
mod sessions; // sessions that start, move and end
mod tick; // periodic work, every 100 ms
mod timers; // sessions with due timers
mod turn; // TURN clients and their peers
#[cfg(test)]
mod tests; // tests: a whole shard in one thread
