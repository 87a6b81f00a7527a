//! What receivers say about what they got.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spillway_wire::hostile::rtcp(bytes));
