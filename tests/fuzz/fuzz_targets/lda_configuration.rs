//! libFuzzer's way into `targets::lda_configuration`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::lda_configuration(bytes));
