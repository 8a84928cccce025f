//! libFuzzer's way into `targets::variables`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::variables(bytes));
