//! libFuzzer's way into `targets::auth_configuration`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::auth_configuration(bytes));
