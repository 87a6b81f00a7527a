//! A client's offer: one answer m-line for each that was offered, or an error that says what is wrong.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(error) = spillway_dataplane::peer::hostile::offer(text) {
        assert!(!error.to_string().is_empty());
    }
});
