//! See `cellwall_tests::fuzz::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cellwall_tests::fuzz::frames::check(bytes));
