//! The gRPC schema between the control plane and a data plane, generated from
//! `proto/dataplane.proto`, which documents it.

#![allow(missing_docs, unreachable_pub, clippy::all)]

tonic::include_proto!("spillway.dataplane.v1");
