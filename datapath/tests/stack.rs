//! How deep the stack of the finished programs is. Kernels before 6.8 round every frame up to 32 bytes, and refuse a
//! program whose deepest calls need more than 512 together: newer ones are more generous, so this is reckoned here.

use std::collections::{BTreeMap, HashSet};

use aya_obj::generated::{BPF_CALL, BPF_JMP, BPF_PSEUDO_CALL, BPF_PSEUDO_FUNC, bpf_insn};
use aya_obj::{Function, Object};
use cellwall_datapath::kernel::OBJECT;

const LIMIT: u32 = 512;
const ROUNDED: u32 = 32;
const FRAME_POINTER: u8 = 10;

/// One function of a program, and whom it calls.
#[derive(Debug, Default)]
struct Frame {
    name: String,
    bytes: u32,
    calls: Vec<usize>,
}

fn is_call(instruction: bpf_insn) -> bool {
    u32::from(instruction.code) == BPF_JMP | BPF_CALL && u32::from(instruction.src_reg()) == BPF_PSEUDO_CALL
}

/// Where the call at `at` goes.
fn target(instructions: &[bpf_insn], at: usize) -> usize {
    let from = isize::try_from(at).unwrap() + 1;
    usize::try_from(from + isize::try_from(instructions[at].imm).unwrap()).unwrap()
}

/// Bytes below the frame pointer that these instructions reach for.
fn depth(instructions: &[bpf_insn]) -> u32 {
    const LOAD: u8 = 1;
    const STORE_IMMEDIATE: u8 = 2;
    const STORE: u8 = 3;
    const MOVE: u8 = 0xbf;
    const ADD: u8 = 0x07;
    let mut deepest = 0;
    for (at, instruction) in instructions.iter().enumerate() {
        let below = match instruction.code & 7 {
            LOAD if instruction.src_reg() == FRAME_POINTER => i32::from(instruction.off),
            STORE | STORE_IMMEDIATE if instruction.dst_reg() == FRAME_POINTER => i32::from(instruction.off),
            _ if instruction.code == MOVE && instruction.src_reg() == FRAME_POINTER => match instructions.get(at + 1) {
                Some(next) if next.code == ADD && next.dst_reg() == instruction.dst_reg() => next.imm,
                _ => 0,
            },
            _ => 0,
        };
        deepest = deepest.max(below.min(0).unsigned_abs());
    }
    deepest
}

/// The functions of a linked program by where they begin.
fn frames(program: &Function, names: &BTreeMap<Vec<u8>, String>) -> BTreeMap<usize, Frame> {
    let all = &program.instructions;
    assert!(
        all.iter()
            .all(|i| u32::from(i.src_reg()) != BPF_PSEUDO_FUNC || i.code != 0x18)
    );
    let calls: Vec<usize> = (0..all.len()).filter(|at| is_call(all[*at])).collect();
    let mut starts: Vec<usize> = calls.iter().map(|at| target(all, *at)).chain([0]).collect();
    starts.sort_unstable();
    starts.dedup();
    let ends = starts.iter().skip(1).copied().chain([all.len()]);
    let each = starts.iter().copied().zip(ends);
    each.map(|(start, end)| {
        let own = &all[start..end];
        let calls = (start..end).filter(|at| is_call(all[*at])).map(|at| target(all, at));
        let codes: Vec<u8> = own.iter().map(|instruction| instruction.code).collect();
        let frame = Frame {
            name: names.get(&codes).cloned().unwrap_or_else(|| "the program".to_owned()),
            bytes: depth(own).max(1).next_multiple_of(ROUNDED),
            calls: calls.collect(),
        };
        (start, frame)
    })
    .collect()
}

/// The deepest way down from `at`: bytes, and the frames on it.
fn deepest(frames: &BTreeMap<usize, Frame>, at: usize) -> (u32, Vec<String>) {
    let frame = &frames[&at];
    let below = frame
        .calls
        .iter()
        .map(|call| deepest(frames, *call))
        .max_by_key(|(bytes, _)| *bytes);
    let (bytes, mut path) = below.unwrap_or_default();
    path.insert(0, format!("{} {}", frame.bytes, frame.name));
    (bytes + frame.bytes, path)
}

#[test]
fn case_65_the_deepest_calls_fit_the_stack_of_kernels_that_round_frames_up() {
    let mut object = Object::parse(OBJECT).unwrap();
    let names = object.functions.values().map(|function| {
        let codes = function.instructions.iter().map(|instruction| instruction.code);
        (codes.collect(), function.name.clone())
    });
    let names = names.collect();
    let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_calls(&sections).unwrap();
    for (name, program) in &object.programs {
        let frames = frames(&object.functions[&program.function_key()], &names);
        let (bytes, path) = deepest(&frames, 0);
        println!("{name}: {bytes} bytes of stack: {path:#?}");
        assert!(bytes <= LIMIT, "{name}: {bytes} bytes of stack\n{path:#?}");
    }
}
