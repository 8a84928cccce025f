//! libFuzzer's way into `targets::authres`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::authres(bytes));
