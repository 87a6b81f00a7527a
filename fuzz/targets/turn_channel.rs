//! Fuzz target: ChannelData messages of TURN.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spillway_wire::hostile::turn_channel(bytes));
