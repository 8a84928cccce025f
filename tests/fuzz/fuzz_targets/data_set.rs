//! libFuzzer's way into `targets::data_set`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::data_set(bytes));
