//! Media payloads, which a publisher makes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spillway_wire::hostile::payload(bytes));
