//! The `cellwall` binary.
fn main() {}
