//! libFuzzer's way into `targets::sieve_script`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::sieve_script(bytes));
