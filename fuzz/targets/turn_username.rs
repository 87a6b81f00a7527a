//! Fuzz target: usernames of TURN credentials.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spillway_wire::hostile::turn_username(bytes));
