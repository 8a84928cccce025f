//! libFuzzer's way into `targets::policy_import`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::policy_import(bytes));
