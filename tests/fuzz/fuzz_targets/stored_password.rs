//! libFuzzer's way into `targets::stored_password`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::stored_password(bytes));
