//! The first bytes of anything.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spillway_wire::hostile::demux(bytes));
