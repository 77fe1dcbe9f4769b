//! The two TC programs of a pod interface, seen from its host side. Both answer "next" on pass, so that another
//! program in the chain still has its say.
#![no_std]
#![no_main]
// One instruction that the compiler has no name for: see `maps::one_more`.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
// The entry points are unmangled symbols in named ELF sections, and maps and packets are reached by pointers.
#![allow(unsafe_code)]
// Their macro writes a public function of its own, which no other crate can reach and which bears no doc comment.
#![allow(missing_docs, unreachable_pub)]
#![allow(
    clippy::inline_always,
    reason = "the fast path is one function, whatever the inliner thinks"
)]

mod maps;
mod skb;

use aya_ebpf::{macros::classifier, programs::TcContext};
use cellwall_datapath_ebpf::path;

use crate::maps::Maps;
use crate::skb::Skb;

/// `TCX_NEXT` and `TC_ACT_UNSPEC` alike: go on with the next program of the chain.
const NEXT: i32 = -1;
/// `TCX_DROP` and `TC_ACT_SHOT` alike.
const SHOT: i32 = 2;

/// What the pod sends.
#[classifier]
fn cellwall_from_pod(context: TcContext) -> i32 {
    if path::from_pod(Maps, Skb(context.skb.skb)) {
        NEXT
    } else {
        SHOT
    }
}

/// What reaches the pod.
#[classifier]
fn cellwall_to_pod(context: TcContext) -> i32 {
    if path::to_pod(Maps, Skb(context.skb.skb)) {
        NEXT
    } else {
        SHOT
    }
}

/// Does nothing: what a hook costs by itself, beside which the other two are measured. Nobody attaches it but a benchmark.
#[classifier]
const fn cellwall_nothing(_context: TcContext) -> i32 {
    NEXT
}

/// The kernel asks for a GPL-compatible licence only where a program calls a GPL-only helper. These call none: from
/// Linux 5.8 on, time, packet, map, per-CPU, loop and ring buffer helpers are free of that condition.
// SAFETY: the section and the symbol are what a loader looks for, and nothing else defines them.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
pub static LICENSE: [u8; 11] = *b"Apache-2.0\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
