//! libFuzzer's way into `targets::tag_list`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::tag_list(bytes));
