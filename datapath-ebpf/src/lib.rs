//! The packet path over small traits: parse, track, decide. Runs on the host in tests, in the kernel for real.
//!
//! One packet takes this way ([`path::from_pod`], [`path::to_pod`]): the active generation and the interface's endpoint
//! are read once; the frame is parsed (nothing passes that was not fully read); forged addresses are refused; a packet
//! of a live flow passes on one table lookup; every other one is judged by the compiled tables and, where it opens a
//! flow, remembered.
//!
//! What the verifier asks of this code: no panics, bounded loops, functions of at most five scalar or pointer
//! arguments that answer one scalar, and less than 512 bytes of stack along any chain of calls. Hence
//! `#[inline(never)]` around what is rare, and words instead of byte arrays: the target loads arrays of bytes one by one.
#![no_std]
#![allow(
    clippy::inline_always,
    reason = "the fast path is one function, whatever the inliner thinks"
)]

#[cfg(any(test, feature = "memory"))]
extern crate std;

pub mod arp;
pub mod chain;
pub mod family;
pub mod fragment;
pub mod guard;
pub mod judge;
pub mod layout;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
pub mod packet;
pub mod parse;
pub mod passed;
pub mod path;
pub mod quote;
pub mod scene;
pub mod tables;
pub mod tell;
#[cfg(test)]
mod tests;
pub mod track;
pub mod transport;
pub mod verdict;
pub mod who;
