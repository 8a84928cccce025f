//! libFuzzer's way into `targets::header_and_body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::header_and_body(bytes));
