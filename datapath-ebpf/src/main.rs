//! The two TC programs of a pod interface, seen from its host side. Both answer "next" on pass, so that another
//! program in the chain still has its say.
#![no_std]
#![no_main]
// The entry points are unmangled symbols in named ELF sections.
#![allow(unsafe_code)]
// Their macro writes a public function of its own, which no other crate can reach and which bears no doc comment.
#![allow(missing_docs, unreachable_pub)]

use aya_ebpf::{macros::classifier, programs::TcContext};

/// `TCX_NEXT` and `TC_ACT_UNSPEC` alike: go on with the next program of the chain.
const NEXT: i32 = -1;

/// What the pod sends.
#[classifier]
fn cellwall_from_pod(_ctx: TcContext) -> i32 {
    NEXT
}

/// What reaches the pod.
#[classifier]
fn cellwall_to_pod(_ctx: TcContext) -> i32 {
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
