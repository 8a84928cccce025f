//! libFuzzer's way into `targets::passwd_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::passwd_file(bytes));
