//! What a change costs, counted and not timed: writes into the kernel's maps by the kind of change, the same in clusters
//! of different sizes; and memory asked for while compiling. A change that makes any of it dearer has to say so here.

use allocation_counter::measure;
use cellwall_datapath::apply::Realiser;
use cellwall_datapath::memory::MemoryKernel;
use cellwall_policy::compile::Compiler;
use cellwall_policy::generate::Scale;
use cellwall_policy::world::DocumentKey;

const RULES: usize = 300;
/// What compiling 4,000 pods and as many rules as above from nothing asks for: a tenth more than it did when this was
/// written.
const ALLOCATIONS: u64 = 118_500;
const BYTES: u64 = 15_800_000;

struct Node {
    scale: Scale,
    compiler: Compiler,
    kernel: MemoryKernel,
    realiser: Realiser,
}

impl Node {
    fn new(scale: Scale) -> Self {
        let kernel = MemoryKernel::new();
        let realiser = Realiser::adopt(&kernel).unwrap();
        let mut node = Self {
            scale,
            compiler: Compiler::new("node-0"),
            kernel,
            realiser,
        };
        node.update(&[]);
        node
    }

    /// Realises a change, cleaning included. Answers the writes.
    fn update(&mut self, touched: &[DocumentKey]) -> usize {
        let next = self.realiser.next_generation();
        let update = self
            .compiler
            .update(&self.scale.world, touched, &self.scale.links, next);
        self.realiser.want(update.changes);
        let realised = self.realiser.realise(&mut self.kernel).unwrap().total();
        realised + self.realiser.settle(&mut self.kernel).unwrap().total()
    }
}

#[test]
fn a_pod_that_comes_or_goes_costs_the_same_few_writes_in_any_cluster() {
    for pods in [500, 5_000] {
        let mut node = Node::new(Scale::new(pods, RULES, false));
        for round in 0..10 {
            let came = node.scale.pod_comes();
            // An address of each family, and the flip; what goes is deleted besides, a grace period later.
            let writes = node.update(&[came]);
            assert!((3..=5).contains(&writes), "{pods} pods, round {round}: {writes} writes");
            let went = node.scale.pod_goes();
            let writes = node.update(&[went]);
            assert!((3..=8).contains(&writes), "{pods} pods, round {round}: {writes} writes");
        }
    }
}

#[test]
fn a_rule_that_changes_costs_writes_by_what_it_selects_and_not_by_the_size_of_the_cluster() {
    let most = |pods| {
        let mut node = Node::new(Scale::new(pods, RULES, false));
        let writes = (0..40).map(|round| {
            let key = node.scale.rule_changes(round % 2 == 0);
            node.update(&[key])
        });
        let mut writes: Vec<usize> = writes.collect();
        writes.sort_unstable();
        writes[writes.len() / 2]
    };
    let (small, large) = (most(500), most(5_000));
    assert!(small.max(large) <= 40, "{small} and {large} writes");
}

#[test]
fn a_policy_of_a_thousand_entries_replaced_costs_a_write_for_each_table_and_entry() {
    const ENTRIES: usize = 1_000;
    let mut node = Node::new(Scale::singles(ENTRIES));
    let touched = node.scale.all_rules_turn();
    let writes = node.update(&touched);
    assert!((2 * ENTRIES..4 * ENTRIES).contains(&writes), "{writes} writes");
}

#[test]
fn compiling_a_cluster_asks_for_so_much_memory_and_no_more() {
    let scale = Scale::new(4_000, RULES, false);
    let mut compiler = Compiler::new("node-0");
    let info = measure(|| drop(compiler.update(&scale.world, &[], &scale.links, 1)));
    assert!(info.count_total <= ALLOCATIONS, "{} allocations", info.count_total);
    assert!(info.bytes_max <= BYTES, "{} bytes at once", info.bytes_max);
}

#[test]
fn after_many_changes_the_maps_hold_what_a_fresh_start_would_write() {
    let mut node = Node::new(Scale::new(500, RULES, false));
    for round in 0..90 {
        let odd = round % 2 == 0;
        let key = match round % 3 {
            0 => node.scale.pod_changes(odd),
            1 => node.scale.rule_changes(odd),
            _ => node.scale.object_changes(),
        };
        node.update(&[key]);
    }
    let held = node.realiser.encoder().fill();
    let Node { scale, .. } = node;
    let fresh = Node::new(scale);
    assert_eq!(held, fresh.realiser.encoder().fill());
}
