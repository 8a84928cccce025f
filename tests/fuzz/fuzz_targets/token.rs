//! libFuzzer's way into `targets::token`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::token(bytes));
