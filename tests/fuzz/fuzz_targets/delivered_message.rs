//! libFuzzer's way into `targets::delivered_message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::delivered_message(bytes));
