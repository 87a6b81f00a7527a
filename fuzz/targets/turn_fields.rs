//! Fuzz target: TURN requests, which a server parses before authentication.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spillway_wire::hostile::turn_fields(bytes));
