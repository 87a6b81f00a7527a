//! Fuzz target: RTCP packets of receivers.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spillway_wire::hostile::rtcp(bytes));
