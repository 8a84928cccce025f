//! libFuzzer's way into `targets::policy_state`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::policy_state(bytes));
