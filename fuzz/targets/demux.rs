//! Fuzz target: protocol of a datagram by its first bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spillway_wire::hostile::demux(bytes));
