//! Fuzz target: media payloads of a publisher.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spillway_wire::hostile::payload(bytes));
