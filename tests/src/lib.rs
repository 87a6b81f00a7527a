//! What the end-to-end tests stand on: a data plane of their own, and clients with real sessions.

pub mod call; // clients that publish and subscribe through the control API
pub mod node; // a data plane process
pub mod redis; // Redis servers, alone or as a cluster
pub mod signaling; // signaling nodes, a load balancer, and participants that come back
