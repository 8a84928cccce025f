//! libFuzzer's way into `targets::auth_session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::auth_session(bytes));
