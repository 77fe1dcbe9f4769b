//! Programs, links and maps in a real kernel: what stays, what is taken over, what is told, what is removed.

mod namespaces;

use std::borrow::Cow;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cellwall_datapath::attach::{Hook, HookState, Mechanism, Outcome};
use cellwall_datapath::counters;
use cellwall_datapath::kernel::{
    Capacities, Instance, Maps, OBJECT, OpenError, Opening, Options, Place, PlaceError, uninstall,
};
use cellwall_datapath::port::{Cause, Entries, Kernel, MapName};
use cellwall_datapath_common::{Active, flow_flags, switches};
use namespaces::{Node, inside, run, succeeds};

/// Enough for a test and quick to make.
fn small() -> Capacities {
    Capacities::tiny(64)
}

fn options(mechanism: Mechanism) -> Options {
    Options {
        capacities: small(),
        mechanism: Some(mechanism),
        object: None,
    }
}

/// A build that differs in one instruction: it asks the other clock. Another tag, the same verdicts.
fn another_build(mechanism: Mechanism) -> Options {
    let call = |helper| [0x85, 0, 0, 0, helper, 0, 0, 0];
    let mut object = OBJECT.to_vec();
    let mut found = 0;
    for at in 0..object.len() - 8 {
        if object[at..at + 8] == call(160) {
            object[at..at + 8].copy_from_slice(&call(5));
            found += 1;
        }
    }
    assert!(found > 0, "the object has no coarse clock to exchange");
    Options {
        object: Some(Cow::Owned(object)),
        ..options(mechanism)
    }
}

/// Opens and says that nothing is to be evaluated, so that everything passes.
fn open_off(place: &Place, options: Options) -> (Instance, Opening) {
    let (mut instance, opening) = Instance::open(place.clone(), options).unwrap();
    switch(&mut instance, switches::OFF);
    (instance, opening)
}

/// Without `OFF`, an interface that no endpoint is told for drops everything: what still passes met no program.
fn switch(instance: &mut Instance, switches: u32) {
    instance.maps_mut().activate(Active::sealed(1, switches, 0)).unwrap();
}

/// Whether the pod can open a connection to the node.
fn reaches(node: &Node, pod: &str) -> bool {
    let listener = node.within(|| TcpListener::bind("192.0.2.254:0").unwrap());
    let address = listener.local_addr().unwrap();
    inside(pod, || {
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
    })
}

fn both(outcomes: &[Outcome; 2], expected: &Outcome) -> bool {
    outcomes.iter().all(|outcome| outcome == expected)
}

fn sound(states: &[HookState; 2]) -> bool {
    states.iter().all(HookState::is_sound)
}

#[test]
fn case_68_programs_maps_and_links_stay_when_the_agent_ends_and_the_next_one_takes_them_over() {
    for mechanism in [Mechanism::Tcx, Mechanism::Clsact] {
        let mut node = Node::new();
        let (place, pod) = (node.place(), node.pod("veth-0", 1));
        let link = node.link("veth-0");
        let before = node.within(|| {
            let (mut instance, opening) = open_off(&place, options(mechanism));
            assert_eq!(opening, Opening::First);
            let outcomes = instance.attach(&link).unwrap();
            assert!(both(&outcomes, &Outcome::Attached), "{outcomes:?}");
            assert!(reaches(&node, &pod));
            switch(&mut instance, 0);
            instance.program(Hook::FromPod).unwrap()
        });
        assert!(!reaches(&node, &pod), "the agent is gone, its programs are not");
        node.within(|| {
            let (mut instance, opening) = Instance::open(place.clone(), options(mechanism)).unwrap();
            assert_eq!(opening, Opening::Adopted, "{mechanism:?}");
            assert_eq!(instance.program(Hook::FromPod).unwrap(), before);
            assert!(sound(&instance.inspect(&link).unwrap()));
            let outcomes = instance.attach(&link).unwrap();
            assert!(both(&outcomes, &Outcome::Kept), "{outcomes:?}");
            let active = instance.maps().lookup(MapName::Active, &[0; 4]).unwrap().unwrap();
            assert_eq!(active[..4], 1_u32.to_ne_bytes());
        });
    }
}

#[test]
fn case_67_a_new_build_takes_the_old_ones_place_and_no_packet_finds_a_gap() {
    for mechanism in [Mechanism::Tcx, Mechanism::Clsact] {
        let mut node = Node::new();
        let (place, pod) = (node.place(), node.pod("veth-0", 1));
        let link = node.link("veth-0");
        node.within(|| {
            let (mut instance, _) = open_off(&place, options(mechanism));
            instance.attach(&link).unwrap();
            switch(&mut instance, 0);
        });
        let flood = Flood::start(&node, &pod);
        for build in [another_build(mechanism), options(mechanism), another_build(mechanism)] {
            node.within(|| {
                let (instance, opening) = Instance::open(place.clone(), build).unwrap();
                assert_eq!(opening, Opening::Replaced { hooks: 2 }, "{mechanism:?}");
                let states = instance.inspect(&link).unwrap();
                assert!(sound(&states), "{states:?}");
                assert_eq!(states[0].program, Some(instance.program(Hook::FromPod).unwrap().0));
            });
        }
        assert_eq!(flood.received(), 0, "{mechanism:?}");
        node.within(|| {
            switch(
                &mut Instance::open(place.clone(), another_build(mechanism)).unwrap().0,
                switches::OFF,
            )
        });
        assert!(settled(|| flood.received() > 0), "the flood would have been seen");
    }
}

#[test]
fn a_second_agent_of_one_instance_is_refused_and_told_who_has_it() {
    let mut node = Node::new();
    let place = node.place();
    let _first = Instance::open(place.clone(), options(Mechanism::Tcx)).unwrap();
    let second = Instance::open(place.clone(), options(Mechanism::Tcx)).err().unwrap();
    let OpenError::Place(PlaceError::Locked { name, holder }) = second else {
        panic!("{second}")
    };
    assert_eq!((name.as_str(), holder), (place.name(), Some(std::process::id())));
    assert!(
        uninstall(&place).is_err(),
        "an uninstall must not pull the maps from under an agent"
    );
}

#[test]
fn case_66_a_pinned_map_of_another_size_is_named_and_left_alone() {
    let mut node = Node::new();
    let place = node.place();
    drop(open_off(&place, options(Mechanism::Tcx)));
    let larger = Options {
        capacities: small().with(MapName::Policy, 65),
        ..options(Mechanism::Tcx)
    };
    let error = Instance::open(place.clone(), larger).err().unwrap();
    let OpenError::Shape { name, found, expected } = error else {
        panic!("{error}")
    };
    assert_eq!((name, found.max_entries, expected.max_entries), ("POLICY", 64, 65));
    let (instance, opening) = Instance::open(place, options(Mechanism::Tcx)).unwrap();
    assert_eq!(opening, Opening::Adopted);
    assert_eq!(
        instance.maps().lookup(MapName::Active, &[0; 4]).unwrap().unwrap()[..4],
        1_u32.to_ne_bytes()
    );
}

#[test]
fn case_23_a_program_that_goes_ahead_of_ours_is_told_and_we_go_ahead_of_it_without_removing_it() {
    for mechanism in [Mechanism::Tcx, Mechanism::Clsact] {
        let mut node = Node::new();
        let (place, other, pod) = (node.place(), node.place(), node.pod("veth-0", 1));
        let link = node.link("veth-0");
        node.within(|| {
            let (mut ours, _) = open_off(&place, options(mechanism));
            ours.attach(&link).unwrap();
            let (mut theirs, _) = open_off(&other, options(mechanism));
            theirs.attach(&link).unwrap();
            let states = ours.inspect(&link).unwrap();
            let their = theirs.program(Hook::FromPod).unwrap().0;
            let ahead = states[0].ahead.as_ref().unwrap();
            assert_eq!(
                ahead.iter().map(|other| other.id).collect::<Vec<_>>(),
                [their],
                "{mechanism:?}"
            );
            assert!(!states[0].is_sound());
            let outcomes = ours.attach(&link).unwrap();
            assert!(
                matches!(&outcomes[0], Outcome::Reordered(others) if others[0].id == their),
                "{outcomes:?}"
            );
            assert!(settled(|| sound(&ours.inspect(&link).unwrap())));
            let theirs = theirs.inspect(&link).unwrap();
            assert_eq!(theirs[0].program, Some(their), "theirs is still there");
            assert_eq!(theirs[0].ahead.as_ref().unwrap().len(), 1);
            // Our own program comes back into the link once the old link is gone.
            assert!(settled(|| {
                ours.attach(&link).unwrap();
                ours.inspect(&link).unwrap()[0].program == Some(ours.program(Hook::FromPod).unwrap().0)
            }));
        });
        assert!(reaches(&node, &pod));
    }
}

#[test]
fn case_70_a_link_whose_interface_is_gone_is_pruned_and_a_new_interface_of_that_index_is_guarded() {
    let mut node = Node::new();
    let (place, _pod) = (node.place(), node.pod("veth-0", 1));
    let link = node.link("veth-0");
    let (mut instance, _) = node.within(|| open_off(&place, options(Mechanism::Tcx)));
    node.within(|| instance.attach(&link).unwrap());
    run(&format!("ip -n {} link del veth-0", node.name()));
    run(&format!(
        "ip -n {} link add veth-9 index {} type veth peer name peer-9",
        node.name(),
        link.ifindex
    ));
    let reborn = node.link("veth-9");
    let outcomes = node.within(|| instance.attach(&reborn).unwrap());
    assert!(both(&outcomes, &Outcome::Revived), "{outcomes:?}");
    run(&format!("ip -n {} link del veth-9", node.name()));
    let gone = node.within(|| instance.attach(&reborn)).err().unwrap();
    assert!(gone.to_string().contains("veth-9"), "{gone}");
    assert_eq!(instance.prune(&[]).unwrap(), 1);
    assert_eq!(instance.place().linked().unwrap(), []);
}

#[test]
fn a_restart_outlives_interfaces_that_went_meanwhile() {
    let mut node = Node::new();
    let (place, _pod) = (node.place(), node.pod("veth-0", 1));
    let link = node.link("veth-0");
    node.within(|| open_off(&place, options(Mechanism::Tcx)).0.attach(&link).unwrap());
    run(&format!("ip -n {} link del veth-0", node.name()));
    let (_instance, opening) = node.within(|| Instance::open(place.clone(), another_build(Mechanism::Tcx)).unwrap());
    assert_eq!(opening, Opening::Replaced { hooks: 0 });
}

#[test]
fn case_76_enforcement_that_somebody_took_off_is_told_and_put_back() {
    let mut node = Node::new();
    let (place, pod) = (node.place(), node.pod("veth-0", 1));
    let link = node.link("veth-0");
    let (mut instance, _) = node.within(|| open_off(&place, options(Mechanism::Tcx)));
    node.within(|| instance.attach(&link).unwrap());
    std::fs::remove_file(place.link(link.ifindex, Hook::ToPod)).unwrap();
    let states = node.within(|| instance.inspect(&link).unwrap());
    assert!(states[0].is_sound());
    assert_eq!(states[1].program, None);
    let outcomes = node.within(|| instance.attach(&link).unwrap());
    assert_eq!(outcomes, [Outcome::Kept, Outcome::Attached]);
    assert!(node.within(|| settled(|| sound(&instance.inspect(&link).unwrap()))));
    assert!(reaches(&node, &pod));
}

#[test]
fn a_priority_that_another_kind_of_filter_has_is_left_to_it() {
    let mut node = Node::new();
    let (place, _pod) = (node.place(), node.pod("veth-0", 1));
    let (link, name) = (node.link("veth-0"), node.name().to_owned());
    run(&format!("tc -n {name} qdisc add dev veth-0 clsact"));
    let theirs = "matchall action ok";
    if !succeeds(&format!(
        "tc -n {name} filter add dev veth-0 ingress prio 1 protocol all {theirs}"
    )) {
        run(&format!(
            "tc -n {name} filter add dev veth-0 ingress prio 1 protocol all u32 match u32 0 0 classid 1:1"
        ));
    }
    node.within(|| {
        let (mut instance, _) = open_off(&place, options(Mechanism::Clsact));
        instance.attach(&link).unwrap();
        let states = instance.inspect(&link).unwrap();
        let ahead = states[0].ahead.as_ref().unwrap();
        assert!(
            !ahead.is_empty() && ahead.iter().all(|other| other.id == 0),
            "{states:?}"
        );
        assert!(states[0].program.is_some() && states[1].is_sound());
        assert_eq!(instance.attach(&link).unwrap()[0], Outcome::Kept);
    });
    let removed = node.within(|| uninstall(&place).unwrap());
    assert_eq!(removed.hooks, 2);
    assert!(run(&format!("tc -n {name} filter show dev veth-0 ingress")).contains("pref 1 "));
}

#[test]
fn an_uninstall_without_an_agent_leaves_nothing_of_ours_and_everything_of_others() {
    for mechanism in [Mechanism::Tcx, Mechanism::Clsact] {
        let mut node = Node::new();
        let (place, other, pod) = (node.place(), node.place(), node.pod("veth-0", 1));
        let link = node.link("veth-0");
        node.within(|| {
            let (mut instance, _) = open_off(&place, options(mechanism));
            instance.attach(&link).unwrap();
            switch(&mut instance, 0);
        });
        let mut theirs = node.within(|| open_off(&other, options(mechanism)).0);
        node.within(|| theirs.attach(&link).unwrap());
        assert!(!reaches(&node, &pod));
        let removed = node.within(|| uninstall(&place).unwrap());
        assert_eq!(
            (removed.hooks, removed.maps),
            (2, MapName::ALL.len() + 1),
            "{mechanism:?}"
        );
        assert!(removed.left.is_empty());
        assert!(!place.instance().exists());
        assert!(settled(|| reaches(&node, &pod)));
        assert!(node.within(|| settled(|| sound(&theirs.inspect(&link).unwrap()))));
        let again = node.within(|| uninstall(&place).unwrap());
        assert!(!again.any());
    }
}

#[test]
fn a_pod_that_is_none_any_more_loses_our_programs_only() {
    for mechanism in [Mechanism::Tcx, Mechanism::Clsact] {
        let mut node = Node::new();
        let (place, pod) = (node.place(), node.pod("veth-0", 1));
        let link = node.link("veth-0");
        let (mut instance, _) = node.within(|| open_off(&place, options(mechanism)));
        node.within(|| instance.attach(&link).unwrap());
        switch(&mut instance, 0);
        assert!(!reaches(&node, &pod));
        node.within(|| instance.detach(&link).unwrap());
        assert!(settled(|| reaches(&node, &pod)), "{mechanism:?}");
        let states = node.within(|| instance.inspect(&link).unwrap());
        assert!(states.iter().all(|state| state.program.is_none()));
    }
}

#[test]
fn the_maps_say_full_missing_and_denied_as_the_port_says() {
    let mut node = Node::new();
    let place = node.place();
    let (mut instance, _) = open_off(&place, options(Mechanism::Tcx));
    let maps = instance.maps_mut();
    let mut entries = Entries::new(MapName::Policy);
    for policy in 0..65_u32 {
        entries.push(&[policy, 0].map(u32::to_ne_bytes).concat(), &[7; 16]);
    }
    let full = maps.update(&entries).unwrap_err();
    assert_eq!((full.cause, full.map), (Cause::Full, Some(MapName::Policy)));
    assert_eq!(
        full.key.as_deref(),
        Some(&[64_u32, 0].map(u32::to_ne_bytes).concat()[..])
    );
    assert_eq!(maps.capacity(MapName::Policy).unwrap(), 64);
    let mut seen = 0;
    maps.visit(MapName::Policy, &mut |_, value| seen += u32::from(value == [7; 16]))
        .unwrap();
    assert_eq!(seen, 64);
    maps.delete(&entries).unwrap();
    assert_eq!(maps.lookup(MapName::Policy, &[0; 8]).unwrap(), None);

    let mut ranges = Entries::new(MapName::Prefixes4);
    for network in 0..65_u8 {
        ranges.push(&[&24_u32.to_ne_bytes()[..], &[10, 0, network, 0]].concat(), &[1; 16]);
    }
    assert_eq!(maps.update(&ranges).unwrap_err().cause, Cause::Full);
    let inside = [&32_u32.to_ne_bytes()[..], &[10, 0, 3, 4]].concat();
    assert_eq!(maps.lookup(MapName::Prefixes4, &inside).unwrap(), Some(vec![1; 16]));

    let mut beyond = Entries::new(MapName::Tables);
    beyond.push(&64_u32.to_ne_bytes(), &[0; 24]);
    assert_eq!(maps.update(&beyond).unwrap_err().cause, Cause::Full);
    assert_eq!(maps.lookup(MapName::Tables, &64_u32.to_ne_bytes()).unwrap(), None);
    maps.zero(MapName::RuleCounters, &[0, 63]).unwrap();
    assert_eq!(maps.zero(MapName::RuleCounters, &[64]).unwrap_err().cause, Cause::Full);
    maps.grace().unwrap();
}

#[test]
fn what_one_process_writes_another_reads_without_the_lock() {
    let mut node = Node::new();
    let place = node.place();
    let (instance, _) = open_off(&place, options(Mechanism::Tcx));
    let beside = Maps::open(&place).unwrap();
    assert_eq!(
        beside.lookup(MapName::Active, &[0; 4]),
        instance.maps().lookup(MapName::Active, &[0; 4])
    );
    let events = counters::events(&beside).unwrap();
    assert_eq!((events.torn, events.lost), (0, [0; 3]));
    assert!(counters::refused(&beside, 0).unwrap().is_empty());
    assert_eq!(counters::rules(&beside, &[0, 1]).unwrap().len(), 2);
}

#[test]
fn case_38_the_sweep_deletes_what_is_over_and_nothing_else() {
    let mut node = Node::new();
    let place = node.place();
    let (mut instance, _) = open_off(&place, options(Mechanism::Tcx));
    let now = counters::tick();
    let old = now.wrapping_sub(cellwall_datapath_common::ticks(400));
    let mut entries = Entries::new(MapName::Flows4);
    for port in 0..60_u16 {
        let mut key = vec![192, 0, 2, 1, 192, 0, 2, 2];
        key.extend_from_slice(&port.to_be_bytes());
        key.extend_from_slice(&[0, 53, 17, 0, 0, 0]);
        let last_seen = if port % 3 == 0 { now } else { old };
        let value = [1, 0, last_seen, 1, 0, 0, flow_flags::ANSWERED, 0]
            .map(u32::to_ne_bytes)
            .concat();
        entries.push(&key, &value);
    }
    instance.maps_mut().update(&entries).unwrap();
    let mut pauses = 0;
    let swept = counters::sweep(&place, 7, |_| {
        pauses += 1;
        ControlFlow::Continue(())
    });
    let swept = swept.unwrap();
    assert_eq!((swept.seen, swept.deleted, swept.revived), (60, 40, 0));
    assert_eq!(pauses, 8);
    let mut left = 0;
    counters::flows(instance.maps(), false, |_| left += 1).unwrap();
    assert_eq!(left, 20);
    let ended = counters::sweep(&place, 7, |_| ControlFlow::Break(())).unwrap();
    assert!(ended.seen <= 7, "a pass that is ended does no more work: {ended:?}");
}

/// A pod that sends datagrams to the node as fast as it can, until this is dropped.
struct Flood {
    receiver: UdpSocket,
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
}

impl Flood {
    fn start(node: &Node, pod: &str) -> Self {
        let mac = run(&format!(
            "ip netns exec {} cat /sys/class/net/veth-0/address",
            node.name()
        ));
        // Without this no datagram leaves the pod: ARP is dropped as well.
        run(&format!(
            "ip -n {pod} neigh replace 192.0.2.254 lladdr {} dev eth0",
            mac.trim()
        ));
        let receiver = node.within(|| UdpSocket::bind("192.0.2.254:0").unwrap());
        receiver.set_nonblocking(true).unwrap();
        let to = receiver.local_addr().unwrap();
        let socket = inside(pod, || UdpSocket::bind("192.0.2.1:0").unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let sender = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // A datagram that the program dropped counts as sent.
                let _sent = socket.send_to(b"through", to);
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        Self {
            receiver,
            stop,
            sender: Some(sender),
        }
    }

    /// Datagrams that arrived since it was last asked.
    fn received(&self) -> u32 {
        let mut received = 0;
        while self.receiver.recv(&mut [0; 16]).is_ok() {
            received += 1;
        }
        received
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ended = self.sender.take().map(JoinHandle::join);
    }
}

/// Waits for what the kernel does in its own time, after the last reference to a link is gone.
fn settled(mut reached: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        if reached() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    reached()
}
