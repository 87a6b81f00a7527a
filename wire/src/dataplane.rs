//! The gRPC schema between the control plane and a data plane, generated from
//! `proto/dataplane.proto`, which documents it.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::too_many_lines)]

tonic::include_proto!("spillway.dataplane.v1");
