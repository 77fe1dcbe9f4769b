//! See `cellwall_tests::fuzz::compile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cellwall_tests::fuzz::compile::check(bytes));
