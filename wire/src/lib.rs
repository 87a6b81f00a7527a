//! Bytes <-> types that cross a process boundary.
//!
//! No IO, no clock. What a stranger can send is parsed here by checked views that never allocate.

pub mod dataplane;
