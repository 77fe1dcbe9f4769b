//! Both programs before the real verifier, and a few packets through them by `BPF_PROG_TEST_RUN`.

mod namespaces;

use aya::maps::{Array, HashMap, MapData, MapType, PerCpuArray};
use aya::programs::{ProgramType, SchedClassifier, TestRun};
use aya::sys::{BpfHelper, is_helper_supported, is_map_supported};
use aya::{Ebpf, EbpfLoader, TestRunOptions};
use cellwall_datapath::attach::Mechanism;
use cellwall_datapath::kernel::OBJECT;
use cellwall_datapath_common::policy::{PEER_PLAIN, digest2, switches};
use cellwall_datapath_common::record::{event, reason_index};
use cellwall_datapath_common::{
    Active, Cell, Counter, EndpointRecord, FlowKey4, FlowValue, PeerKey, TableValue, Versioned, flow_flags, limits,
    maps,
};
use cellwall_datapath_ebpf::verdict::{action, reason};
use namespaces::{Node, succeeds};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The device that test runs are given: loopback.
const IFINDEX: u32 = 1;
const EGRESS: u32 = 1;
const INGRESS: u32 = 2;
const POD: [u8; 4] = [192, 0, 2, 10];
const OUTSIDE: [u8; 4] = [198, 51, 100, 1];
const NEXT: u32 = u32::MAX;
const SHOT: u32 = 2;
/// Most instructions that the verifier may walk through, of kernels with TCX and of older ones, which walk half as far again;
/// their own limit is a million. Ten in a hundred more than when this was written.
const INSTRUCTIONS: [u32; 2] = [400_000, 590_000];
const SYN: u8 = 2;
const ACK: u8 = 16;

/// Both programs loaded, one endpoint, everything passes.
fn loaded() -> Ebpf {
    loaded_with(&[])
}

/// The same, with other sizes of some maps.
fn loaded_with(sizes: &[(&str, u32)]) -> Ebpf {
    let mut loader = EbpfLoader::new();
    let coarse = is_helper_supported(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_ktime_get_coarse_ns);
    let coarse = u8::from(coarse.unwrap());
    loader.override_global(maps::COARSE_CLOCK, &coarse, true);
    for map in [
        maps::ADDRESSES4,
        maps::ADDRESSES6,
        maps::POLICY,
        maps::SERVICE_PORTS,
        maps::REFUSED,
        maps::SPANS,
    ] {
        loader.map_max_entries(map, 1024);
    }
    for (map, entries) in sizes {
        loader.map_max_entries(map, *entries);
    }
    let mut object = loader.load(OBJECT).unwrap();
    for name in [maps::FROM_POD, maps::TO_POD] {
        program(&mut object, name).load().unwrap();
    }
    let record = EndpointRecord {
        attached: 0,
        ifindex: IFINDEX,
        master: 0,
        egress: EGRESS,
        ingress: INGRESS,
        flags: 0,
        v4: u32::from_ne_bytes(POD),
        v6: [0; 16],
        v6_link: [0; 16],
        mac: [0; 6],
        pad: [0; 2],
    };
    array::<EndpointRecord>(&mut object, maps::ENDPOINTS)
        .set(0, record, 0)
        .unwrap();
    let index = Versioned::sealed(1, 1, 0, digest2(IFINDEX, 0));
    array::<Versioned>(&mut object, maps::ENDPOINT_INDEX)
        .set(IFINDEX, index, 0)
        .unwrap();
    switch(&mut object, 0);
    rule(&mut object, EGRESS, action::PASS);
    rule(&mut object, INGRESS, action::PASS);
    object
}

fn program<'a>(object: &'a mut Ebpf, name: &str) -> &'a mut SchedClassifier {
    object.program_mut(name).unwrap().try_into().unwrap()
}

fn array<'a, T: aya::Pod>(object: &'a mut Ebpf, name: &str) -> Array<&'a mut MapData, T> {
    Array::try_from(object.map_mut(name).unwrap()).unwrap()
}

fn switch(object: &mut Ebpf, switches: u32) {
    array::<Active>(object, maps::ACTIVE)
        .set(0, Active::sealed(1, switches, 0), 0)
        .unwrap();
}

/// All protocols, towards the world.
fn rule(object: &mut Ebpf, policy: u32, action: u32) {
    let cell = Cell::new(action, reason::RULE, 0, Cell::NO_RULE).0;
    let slot = policy;
    array::<TableValue>(object, maps::TABLES)
        .set(slot, TableValue { refs: [cell; 6] }, 0)
        .unwrap();
    let key = PeerKey {
        policy,
        peer: PEER_PLAIN,
    };
    let value = Versioned::sealed(1, slot + 1, 0, digest2(policy, PEER_PLAIN));
    let mut policies: HashMap<_, PeerKey, Versioned> =
        HashMap::try_from(object.map_mut(maps::POLICY).unwrap()).unwrap();
    policies.insert(key, value, 0).unwrap();
}

fn run(object: &mut Ebpf, name: &str, frame: &[u8]) -> u32 {
    let options = TestRunOptions {
        data_in: Some(frame),
        ..TestRunOptions::default()
    };
    program(object, name).test_run(options).unwrap().return_value
}

fn frame(source: [u8; 4], destination: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    frame.extend(u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    frame.extend(source);
    frame.extend(destination);
    frame.extend(payload);
    frame
}

fn tcp(source: ([u8; 4], u16), destination: ([u8; 4], u16), flags: u8) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(source.1.to_be_bytes());
    segment.extend(destination.1.to_be_bytes());
    segment.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
    frame(source.0, destination.0, 6, &segment)
}

fn packets(object: &mut Ebpf, hook: u32, action: u32, dropped: u32, reason: u32) -> u64 {
    let counters: PerCpuArray<_, Counter> =
        PerCpuArray::try_from(object.map_mut(maps::REASON_COUNTERS).unwrap()).unwrap();
    let index = reason_index(hook, action, dropped, reason);
    counters
        .get(&index, 0)
        .unwrap()
        .iter()
        .map(|counter| counter.packets)
        .sum()
}

#[test]
fn the_verifier_takes_both_programs_well_below_its_limit() {
    let mut object = loaded();
    for name in [maps::FROM_POD, maps::TO_POD] {
        let info = program(&mut object, name).info().unwrap();
        // Unknown before Linux 5.16.
        let Some(verified) = info.verified_instruction_count() else {
            continue;
        };
        println!(
            "{name}: {verified} instructions verified, {:?} bytes of machine code",
            info.size_jitted()
        );
        let most = INSTRUCTIONS[usize::from(Mechanism::of_this_kernel() != Mechanism::Tcx)];
        assert!(verified < most, "{name}: {verified}");
    }
}

#[test]
fn case_65_this_kernel_has_what_the_programs_use() {
    let helper = |helper| is_helper_supported(ProgramType::SchedClassifier, helper).unwrap();
    let map = |kind| is_map_supported(kind).unwrap();
    let node = Node::new();
    let clsact = node.within(|| succeeds("tc qdisc add dev lo clsact"));
    let (tcx, coarse) = (
        Mechanism::of_this_kernel() == Mechanism::Tcx,
        helper(BpfHelper::BPF_FUNC_ktime_get_coarse_ns),
    );
    // TCX and the coarse clock are used where they are, `bpf_loop` is not used.
    let used = [
        ("clsact", clsact),
        (
            "ring buffer",
            map(MapType::RingBuf) && helper(BpfHelper::BPF_FUNC_ringbuf_output),
        ),
        ("LRU hash", map(MapType::LruHash)),
        ("longest-prefix trie", map(MapType::LpmTrie)),
        (
            "arrays",
            map(MapType::Array) && map(MapType::PerCpuArray) && map(MapType::Hash),
        ),
        ("bytes of packets", helper(BpfHelper::BPF_FUNC_skb_load_bytes)),
    ];
    let offered = [
        ("TCX", tcx),
        ("coarse clock", coarse),
        ("bpf_loop", helper(BpfHelper::BPF_FUNC_loop)),
    ];
    for (name, has) in used.iter().chain(&offered) {
        println!("feature: {name}: {}", if *has { "yes" } else { "no" });
    }
    let missing: Vec<_> = used.iter().filter(|(_, has)| !has).map(|(name, _)| name).collect();
    assert!(missing.is_empty(), "the programs cannot do without {missing:?}");
}

#[test]
fn a_handshake_is_followed_into_the_table_of_answered_flows() {
    let mut object = loaded();
    rule(&mut object, INGRESS, action::DROP);
    let (pod, outside) = ((POD, 40_000), (OUTSIDE, 80));
    assert_eq!(run(&mut object, maps::FROM_POD, &tcp(pod, outside, SYN)), NEXT);
    assert_eq!(run(&mut object, maps::TO_POD, &tcp(outside, pod, SYN | ACK)), NEXT);
    assert_eq!(run(&mut object, maps::FROM_POD, &tcp(pod, outside, ACK)), NEXT);
    assert_eq!(run(&mut object, maps::TO_POD, &tcp(outside, pod, ACK)), NEXT);
    assert_eq!(run(&mut object, maps::TO_POD, &tcp(outside, (POD, 80), SYN)), SHOT);
    let flows: HashMap<_, FlowKey4, FlowValue> = HashMap::try_from(object.map(maps::FLOWS4).unwrap()).unwrap();
    let entries: Vec<_> = flows.iter().map(Result::unwrap).collect();
    assert_eq!(entries.len(), 1);
    let (key, value) = entries[0];
    assert_eq!((key.lo, key.hi, key.protocol), (POD, OUTSIDE, 6));
    assert_eq!(
        (key.lo_port, key.hi_port),
        (40_000_u16.to_be_bytes(), 80_u16.to_be_bytes())
    );
    assert_eq!(value.flags, flow_flags::FROM_LO | flow_flags::ANSWERED);
    assert_eq!((value.lo_ifindex, value.hi_ifindex), (IFINDEX, 0));
    assert_eq!(packets(&mut object, 0, action::PASS, 0, reason::RULE), 2);
    assert_eq!(packets(&mut object, 1, action::PASS, 0, reason::RULE), 2);
    assert_eq!(packets(&mut object, 1, action::DROP, 1, reason::RULE), 1);
}

#[test]
fn case_40_with_all_tables_full_every_packet_is_judged_by_policy() {
    const ROOM: u16 = 16;
    let mut object = loaded_with(&[(maps::FLOWS4, ROOM.into())]);
    rule(&mut object, INGRESS, action::DROP);
    // Three times as many connections as have room, each established; the pod's own openings alone may pass.
    let ends = |number: u16| ((POD, 40_000 + number), (OUTSIDE, 80));
    for number in 0..3 * ROOM {
        let (pod, outside) = ends(number);
        assert_eq!(
            run(&mut object, maps::FROM_POD, &tcp(pod, outside, SYN)),
            NEXT,
            "{number}"
        );
        assert_eq!(
            run(&mut object, maps::TO_POD, &tcp(outside, pod, SYN | ACK)),
            NEXT,
            "{number}"
        );
        assert_eq!(
            run(&mut object, maps::FROM_POD, &tcp(pod, outside, ACK)),
            NEXT,
            "{number}"
        );
    }
    for number in 0..3 * ROOM {
        let (pod, outside) = ends(number);
        assert_eq!(
            run(&mut object, maps::TO_POD, &tcp(outside, pod, ACK)),
            NEXT,
            "connection {number}"
        );
        assert_eq!(
            run(&mut object, maps::FROM_POD, &tcp(pod, outside, ACK)),
            NEXT,
            "connection {number}"
        );
        assert_eq!(
            run(&mut object, maps::TO_POD, &tcp(outside, pod, SYN)),
            SHOT,
            "{number} the other way round"
        );
    }
    let events: PerCpuArray<_, u64> = PerCpuArray::try_from(object.map(maps::EVENT_COUNTERS).unwrap()).unwrap();
    let count = |event: u32| events.get(&event, 0).unwrap().iter().sum::<u64>();
    // Those that found no room try again at each of the initiator's packets.
    assert_eq!(count(event::FLOWS_FULL), 2 * 2 * u64::from(ROOM));
    assert_eq!(
        (count(event::OPENED), count(event::ANSWERED)),
        (3 * u64::from(ROOM), u64::from(ROOM))
    );
    let flows: HashMap<_, FlowKey4, FlowValue> = HashMap::try_from(object.map(maps::FLOWS4).unwrap()).unwrap();
    assert_eq!(flows.iter().count(), usize::from(ROOM));
}

#[test]
fn case_39_in_the_loaded_programs_a_pod_gets_its_share_of_answered_flows_and_no_more() {
    let mut object = loaded();
    let ends = |number: u16| ((POD, 40_000 + number), (OUTSIDE, 80));
    let open = |object: &mut Ebpf, number: u16| {
        let (pod, outside) = ends(number);
        for (program, frame) in [
            (maps::FROM_POD, tcp(pod, outside, SYN)),
            (maps::TO_POD, tcp(outside, pod, SYN | ACK)),
            (maps::FROM_POD, tcp(pod, outside, ACK)),
            (maps::TO_POD, tcp(outside, pod, ACK)),
        ] {
            assert_eq!(run(object, program, &frame), NEXT, "connection {number}");
        }
    };
    let count = |object: &mut Ebpf, map: &str| {
        let counts: HashMap<_, u32, u64> = HashMap::try_from(object.map(map).unwrap()).unwrap();
        counts.iter().collect::<Result<Vec<_>, _>>().unwrap()
    };
    open(&mut object, 0);
    let [(pod, 1)] = count(&mut object, maps::ENTERED)[..] else {
        panic!("{:?}", count(&mut object, maps::ENTERED));
    };
    // All but three of its share are there: as many as it entered, but for those that are gone.
    let share = u64::from(limits::FLOW_QUOTA);
    let mut write = |map: &str, value: u64| {
        let mut counts: HashMap<_, u32, u64> = HashMap::try_from(object.map_mut(map).unwrap()).unwrap();
        counts.insert(pod, value, 0).unwrap();
    };
    write(maps::ENTERED, share + 7);
    write(maps::GONE, 10);
    (1..=10).for_each(|number| open(&mut object, number));
    assert_eq!(count(&mut object, maps::ENTERED), [(pod, share + 10)]);
    let flows: HashMap<_, FlowKey4, FlowValue> = HashMap::try_from(object.map(maps::FLOWS4).unwrap()).unwrap();
    assert_eq!(flows.iter().count(), 4);
    let events: PerCpuArray<_, u64> = PerCpuArray::try_from(object.map(maps::EVENT_COUNTERS).unwrap()).unwrap();
    let over = events.get(&event::FLOWS_QUOTA, 0).unwrap().iter().sum::<u64>();
    assert_eq!(over, 7);
}

#[test]
fn forged_and_malformed_packets_are_dropped_and_told() {
    let mut object = loaded();
    let cut = &tcp((POD, 1), (OUTSIDE, 2), SYN)[..40];
    assert_eq!(
        run(&mut object, maps::FROM_POD, &tcp((OUTSIDE, 1), (POD, 2), SYN)),
        SHOT
    );
    assert_eq!(run(&mut object, maps::FROM_POD, cut), SHOT);
    switch(&mut object, switches::ALERT_ONLY);
    assert_eq!(run(&mut object, maps::FROM_POD, cut), SHOT);
    switch(&mut object, switches::OFF);
    assert_eq!(run(&mut object, maps::FROM_POD, cut), NEXT);
    assert_eq!(packets(&mut object, 0, action::DROP, 1, reason::SPOOFED), 1);
    assert_eq!(packets(&mut object, 0, action::DROP, 1, reason::MALFORMED), 2);
    let events: PerCpuArray<_, u64> = PerCpuArray::try_from(object.map(maps::EVENT_COUNTERS).unwrap()).unwrap();
    let sent: u64 = events.get(&(event::SENT + action::DROP), 0).unwrap().iter().sum();
    assert_eq!(sent, 3);
}

/// Runs `frame` `times` times through from-pod on this processor.
fn run_on(processor: usize, program: &SchedClassifier, frame: &[u8], times: u32) {
    let mut only = CpuSet::new();
    only.set(processor).unwrap();
    sched_setaffinity(Pid::from_raw(0), &only).unwrap();
    let options = TestRunOptions {
        data_in: Some(frame),
        repeat: times,
        ..TestRunOptions::default()
    };
    program.test_run(options).unwrap();
}

#[test]
fn case_46_what_two_processors_count_at_once_adds_up() {
    const TIMES: u32 = 20_000;
    let mine = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let processors: Vec<_> = (0..CpuSet::count())
        .filter(|cpu| mine.is_set(*cpu).unwrap_or(false))
        .take(2)
        .collect();
    let [first, second] = processors[..] else {
        cellwall_tests::not_run("case 46 (needs two processors)");
        return;
    };
    let mut object = loaded_with(&[(maps::RECORDS, 1 << 16)]);
    // One flow that both use in both directions' terms, then a packet that both are refused.
    let passes = tcp((POD, 40_000), (OUTSIDE, 80), ACK);
    let refused = tcp((OUTSIDE, 1), (POD, 2), SYN);
    assert_eq!(run(&mut object, maps::FROM_POD, &passes), NEXT);
    for frame in [&passes, &refused] {
        let program: &SchedClassifier = program(&mut object, maps::FROM_POD);
        std::thread::scope(|scope| {
            for processor in [first, second] {
                scope.spawn(move || run_on(processor, program, frame, TIMES));
            }
        });
    }
    let both = 2 * u64::from(TIMES);
    assert_eq!(packets(&mut object, 0, action::PASS, 0, reason::RULE), both + 1);
    assert_eq!(packets(&mut object, 0, action::DROP, 1, reason::SPOOFED), both);
    let events: PerCpuArray<_, u64> = PerCpuArray::try_from(object.map(maps::EVENT_COUNTERS).unwrap()).unwrap();
    let told = |event: u32| events.get(&event, 0).unwrap().iter().sum::<u64>();
    let (sent, lost) = (
        told(event::SENT + action::DROP),
        told(event::lost(action::DROP, reason::SPOOFED)),
    );
    assert_eq!(sent + lost, both, "records sent and lost");
    assert!(lost > 0, "the ring holds more than a flood: the test is too small");
    let flows: HashMap<_, FlowKey4, FlowValue> = HashMap::try_from(object.map(maps::FLOWS4).unwrap()).unwrap();
    let opening: HashMap<_, FlowKey4, FlowValue> = HashMap::try_from(object.map(maps::OPENING4).unwrap()).unwrap();
    assert_eq!(flows.iter().count() + opening.iter().count(), 1, "one flow");
}
