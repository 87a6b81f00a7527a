//! Fuzz target: a client's offer gets one answer m-line for each offered one, or a named error.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(error) = spillway_dataplane::peer::hostile::offer(text) {
        assert!(!error.to_string().is_empty());
    }
});
