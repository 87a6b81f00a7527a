//! Requests of TURN, which a server reads before it knows who asks.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spillway_wire::hostile::turn_fields(bytes));
