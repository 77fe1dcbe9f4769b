//! What the finished eBPF object can do at all, read from its instructions.

use std::collections::BTreeSet;

use aya_obj::Object;
use aya_obj::generated::{BPF_CALL, BPF_JMP, BPF_PSEUDO_CALL};
use cellwall_datapath::abi::maps;
use cellwall_datapath::kernel::OBJECT;

/// Numbers of the helpers that a kernel has to offer (`enum bpf_func_id`).
const HELPERS: [(i32, &str); 8] = [
    (1, "bpf_map_lookup_elem"),
    (2, "bpf_map_update_elem"),
    (3, "bpf_map_delete_elem"),
    (5, "bpf_ktime_get_ns"),
    (7, "bpf_get_prandom_u32"),
    (26, "bpf_skb_load_bytes"),
    (130, "bpf_ringbuf_output"),
    (160, "bpf_ktime_get_coarse_ns"),
];

fn called() -> BTreeSet<i32> {
    let object = Object::parse(OBJECT).unwrap();
    // The two of the hooks, and the one that does nothing.
    assert_eq!(object.programs.len(), 3);
    let instructions = object.functions.values().flat_map(|function| &function.instructions);
    let calls = instructions.filter(|instruction| u32::from(instruction.code) == BPF_JMP | BPF_CALL);
    let helpers = calls.filter(|call| u32::from(call.src_reg()) != BPF_PSEUDO_CALL);
    helpers.map(|call| call.imm).collect()
}

#[test]
fn case_75_the_programs_decide_by_themselves() {
    // No helper here hands a packet to anybody (queues, redirects, clones), or waits for anybody.
    let known: BTreeSet<i32> = HELPERS.iter().map(|(number, _)| *number).collect();
    assert_eq!(called(), known);
}

/// Instructions of a function of the object.
fn length(object: &Object, name: &str) -> usize {
    let program = &object.programs[name];
    object.functions[&program.function_key()].instructions.len()
}

#[test]
fn the_programs_grow_only_when_somebody_says_so() {
    // With the pinned compiler these are exact; whoever makes them longer says here by how much.
    let object = Object::parse(OBJECT).unwrap();
    for (name, instructions) in [(maps::FROM_POD, 1_860), (maps::TO_POD, 1_890), (maps::NOTHING, 3)] {
        let found = length(&object, name);
        println!("{name}: {found} instructions");
        assert!(
            found <= instructions && found * 10 >= instructions * 9,
            "{name}: {found} instructions, {instructions} are allowed for"
        );
    }
    let all: usize = object
        .functions
        .values()
        .map(|function| function.instructions.len())
        .sum();
    println!("all: {all} instructions");
    assert!((15_900..=17_200).contains(&all), "{all} instructions in all");
}

/// Every file of the packet path, by name.
fn sources() -> Vec<(String, String)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../datapath-ebpf/src");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let sources = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    sources
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn case_29_the_mark_that_others_use_is_neither_read_nor_written() {
    const FIELDS: [&str; 9] = [
        "data",
        "data_end",
        "gso_size",
        "ifindex",
        "ingress_ifindex",
        "len",
        "protocol",
        "tc_index",
        "vlan_present",
    ];
    let mut read = BTreeSet::new();
    for (name, text) in sources() {
        if name == "skb.rs" {
            let fields = text.split("field!(self, ").skip(1);
            read.extend(fields.map(|rest| rest.split(')').next().unwrap_or_default().to_owned()));
        } else {
            assert!(
                !text.contains("(*skb") && !text.contains(").mark"),
                "{name} looks into a socket buffer"
            );
        }
    }
    assert_eq!(read.iter().map(String::as_str).collect::<Vec<_>>(), FIELDS);
}

#[test]
fn case_83_time_is_the_monotonic_clocks() {
    const TAI: i32 = 208;
    const BOOT: i32 = 125;
    let called = called();
    // A step of the date moves none of the clocks that are asked.
    assert!(called.contains(&5) && !called.contains(&TAI) && !called.contains(&BOOT));
}
