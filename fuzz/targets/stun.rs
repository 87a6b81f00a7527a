//! Fuzz target: STUN messages of unauthenticated senders.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spillway_wire::hostile::stun(bytes));
