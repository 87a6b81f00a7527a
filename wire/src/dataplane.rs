//! The gRPC schema between the control plane and a data plane. `proto/dataplane.proto` documents it, and
//! `generated.rs` is made from it by the test `generated`.

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::too_many_lines)]
#[rustfmt::skip]
mod generated; // from the schema; never edited

pub use generated::*;
