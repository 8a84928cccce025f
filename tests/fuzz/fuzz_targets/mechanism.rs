//! libFuzzer's way into `targets::mechanism`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::mechanism(bytes));
