//! Base of the end-to-end tests: data planes, servers, and clients with real sessions.

pub mod attacker; // hostile participants, and what they cost other participants
pub mod caller; // participants of signaling servers that reconnect by themselves
pub mod call; // clients that publish and subscribe through the control API
pub mod clock; // time in which the host ran
pub mod node; // a data plane process
pub mod servers; // signaling servers and a load balancer
pub mod redis; // Redis servers, alone or as a cluster
pub mod sentinel; // Redis servers with sentinels, and an address that moves between servers
pub mod tls; // certificates, and clients that check them
pub mod turn; // a scripted TURN client
