//! Fuzz target: a stream of messages that arrives in pieces.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spillway_wire::hostile::turn_stream(bytes));
