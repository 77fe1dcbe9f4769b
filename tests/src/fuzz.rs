//! What a fuzzer holds to be true of any bytes: frames are read as the second opinion reads them, manifests are refused
//! or in force, worlds compile to what the reference says. The fuzzer is in `fuzz/` and links these; `tests/tests/fuzz`
//! feeds them what is kept under `fuzz/cases`, and needs no root.

pub mod compile;
pub mod frames;
pub mod manifests;
