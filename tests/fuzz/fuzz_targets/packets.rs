//! libFuzzer's way into `targets::packets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::packets(bytes));
