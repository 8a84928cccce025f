//! libFuzzer's way into `targets::policy_requests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::policy_requests(bytes));
