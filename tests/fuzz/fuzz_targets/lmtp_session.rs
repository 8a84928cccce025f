//! libFuzzer's way into `targets::lmtp_session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::lmtp_session(bytes));
