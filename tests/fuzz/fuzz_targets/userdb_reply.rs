//! libFuzzer's way into `targets::userdb_reply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::userdb_reply(bytes));
