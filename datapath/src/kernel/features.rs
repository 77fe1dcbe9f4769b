//! What the running kernel has, found by trying, never by its version.

use aya::maps::MapType;
use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported};
use rustix::thread::{MembarrierQuery, membarrier_query};

use crate::attach::Mechanism;

/// A feature, and whether it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// What it is, in a few words.
    pub name: &'static str,
    /// Whether nothing works without it.
    pub needed: bool,
    /// Whether the kernel has it; none: it does not tell.
    pub present: Option<bool>,
}

/// All features that anything here depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features(pub Vec<Feature>);

impl Features {
    /// Tries each.
    pub fn probe() -> Self {
        let map = |name, kind| feature(name, true, is_map_supported(kind).ok());
        let helper = |name, needed, helper| {
            let present = is_helper_supported(ProgramType::SchedClassifier, helper).ok();
            feature(name, needed, present)
        };
        let classifier = is_program_supported(ProgramType::SchedClassifier).ok();
        let tcx = Mechanism::of_this_kernel() == Mechanism::Tcx;
        Self(vec![
            feature("TC programs", true, classifier),
            map("ring buffers", MapType::RingBuf),
            map("longest-prefix tries", MapType::LpmTrie),
            map("LRU hashes", MapType::LruHash),
            map("per-CPU arrays", MapType::PerCpuArray),
            helper("bpf_skb_load_bytes", true, BpfHelper::BPF_FUNC_skb_load_bytes),
            helper(
                "bpf_ktime_get_coarse_ns",
                false,
                BpfHelper::BPF_FUNC_ktime_get_coarse_ns,
            ),
            feature("TCX links", false, Some(tcx)),
            feature(
                "membarrier",
                false,
                Some(membarrier_query().contains(MembarrierQuery::GLOBAL)),
            ),
        ])
    }

    /// Needed ones that are not there.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        let needed = self.0.iter().filter(|one| one.needed && one.present == Some(false));
        needed.map(|one| one.name)
    }

    /// Those that only make things better and are not there.
    pub fn done_without(&self) -> impl Iterator<Item = &'static str> {
        let other = self.0.iter().filter(|one| !one.needed && one.present == Some(false));
        other.map(|one| one.name)
    }
}

fn feature(name: &'static str, needed: bool, present: Option<bool>) -> Feature {
    Feature { name, needed, present }
}
