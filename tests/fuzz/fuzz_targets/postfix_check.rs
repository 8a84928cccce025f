//! libFuzzer's way into `targets::postfix_check`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::postfix_check(bytes));
