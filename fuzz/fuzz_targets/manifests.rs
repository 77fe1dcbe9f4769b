//! See `cellwall_tests::fuzz::manifests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cellwall_tests::fuzz::manifests::check(bytes));
