//! Addresses that carry an IPv4 address behind a prefix of a translator.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spillway_wire::hostile::nat64(bytes));
