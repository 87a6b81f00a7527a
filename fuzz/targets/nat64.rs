//! Fuzz target: IPv4 addresses behind a NAT64 prefix.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spillway_wire::hostile::nat64(bytes));
