//! Memory of an agent and of its maps.

use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::maps::MapData;
use cellwall_datapath::kernel::Place;
use cellwall_datapath::port::MapName;
use cellwall_datapath_common::maps;

/// Resident memory of a process, in bytes.
pub fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    number_after(&status, "VmRSS:") * 1024
}

/// What the kernel says a pinned map takes, in bytes; for those that grow with use, by their entries now.
pub fn of_map(place: &Place, name: &str) -> u64 {
    let map = MapData::from_pin(place.map(name)).expect("a pinned map");
    let number = map.fd().as_fd().as_raw_fd();
    let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).expect("what the kernel says of a map");
    number_after(&told, "memlock:")
}

/// All maps of an instance together.
pub fn of_maps(place: &Place) -> u64 {
    let names = MapName::ALL.iter().map(|map| map.name()).chain([maps::RECORDS]);
    names.map(|name| of_map(place, name)).sum()
}

/// The number behind a word that begins a line.
fn number_after(text: &str, word: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(word));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no {word} in {text}"))
}
