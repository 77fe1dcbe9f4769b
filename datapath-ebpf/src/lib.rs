//! The packet path over small traits: parse, track, decide. Runs on the host in tests, in the kernel for real.
#![no_std]
