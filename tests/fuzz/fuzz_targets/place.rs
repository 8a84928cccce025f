//! libFuzzer's way into `targets::place`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::place(bytes));
