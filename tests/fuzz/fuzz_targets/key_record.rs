//! libFuzzer's way into `targets::key_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::key_record(bytes));
