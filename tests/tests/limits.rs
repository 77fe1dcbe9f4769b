//! The real maps, made tiny, and policies that do not fit them or meet a write that the kernel refuses: the last policy
//! stays whole and goes on deciding, the map and its limit are named, and the next policy that fits decides.

mod namespaces;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use cellwall_controller::documents;
use cellwall_datapath::apply::{ApplyError, Realiser};
use cellwall_datapath::encode::EncodeError;
use cellwall_datapath::image::Image;
use cellwall_datapath::inspect;
use cellwall_datapath::kernel::{Capacities, Instance, Options};
use cellwall_datapath::port::{Cause, Entries, Kernel as _, MapName};
use cellwall_policy::compile::{Compiler, Link};
use cellwall_policy::world::World;
use namespaces::{Node, inside};

/// Entries of every map whose size can be chosen.
const ENTRIES: u32 = 64;
/// Ports of the node: each policy refuses the one and permits the other.
const PORTS: [u16; 2] = [1001, 1002];

/// The pod, and the rule that refuses a port.
fn manifests(refused: u16, more: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: p, namespace: ns-0, labels: {{app: p}}}}
spec: {{nodeName: node-0}}
status: {{podIP: 192.0.2.1}}
---
apiVersion: cellwall.io/v1alpha1
kind: NetworkObject
metadata: {{name: p}}
spec: {{apps: [p]}}
---
apiVersion: cellwall.io/v1alpha1
kind: DefenseRule
metadata: {{name: refused}}
spec: {{source: {{object: p}}, destination: {{entity: Any}}, ports: [{{port: {refused}}}], action: Drop, priority: 10}}
---
{more}"
    )
}

fn rule(number: usize, ports: &str) -> String {
    format!(
        "apiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata: {{name: r-{number}}}\nspec: {{source: {{object: p}}, \
         destination: {{entity: World}}, {ports}action: Alert, priority: {}}}\n---\n",
        number + 100
    )
}

/// More of one thing than has room, and the map that it has no room in.
fn too_much() -> Vec<(MapName, String)> {
    let ports = |number: usize| {
        let ports: Vec<String> = (0..8)
            .map(|one| format!("{{port: {}}}", 2_000 + number * 100 + one * 10))
            .collect();
        format!("ports: [{}], ", ports.join(", "))
    };
    let ranges: Vec<String> = (0..100)
        .map(|number| format!("{{cidr: 203.0.{number}.0/24}}"))
        .collect();
    let object = format!(
        "apiVersion: cellwall.io/v1alpha1\nkind: NetworkObject\nmetadata: {{name: ranges}}\nspec: {{cidrs: [{}]}}\n---\n\
         apiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata: {{name: to-ranges}}\nspec: {{source: {{object: p}}, \
         destination: {{object: ranges}}, action: Drop, priority: 5}}\n---\n",
        ranges.join(", ")
    );
    let pod = |number: usize| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: other-{number}, namespace: ns-0}}\nspec: {{nodeName: node-1}}\nstatus: \
             {{podIP: 198.51.100.{number}}}\n---\n"
        )
    };
    vec![
        (MapName::RuleCards, (0..100).map(|number| rule(number, "")).collect()),
        (
            MapName::Spans,
            (0..20).map(|number| rule(number, &ports(number))).collect(),
        ),
        (MapName::Prefixes4, object),
        (MapName::Addresses4, (1..100).map(pod).collect()),
    ]
}

/// A pod whose interface is guarded by tiny maps.
struct Tiny {
    node: Node,
    pod: String,
    servers: Vec<TcpListener>,
    instance: Instance,
    ifindex: u32,
    compiler: Compiler,
    realiser: Realiser,
    world: World,
}

impl Tiny {
    fn new() -> Self {
        let mut node = Node::new();
        let (place, pod) = (node.place(), node.pod("veth-0", 1));
        let link = node.link("veth-0");
        let servers = node.within(|| PORTS.map(|port| TcpListener::bind(("192.0.2.254", port)).unwrap()));
        let options = Options {
            capacities: Capacities::tiny(ENTRIES),
            ..Options::default()
        };
        let instance = node.within(|| Instance::open(place, options).unwrap().0);
        let mut tiny = Self {
            realiser: Realiser::adopt(instance.maps()).unwrap(),
            node,
            pod,
            servers: servers.into(),
            instance,
            ifindex: link.ifindex,
            compiler: Compiler::new("node-0"),
            world: World::new("node-0", true),
        };
        tiny.attempt(PORTS[0], "").unwrap();
        let Self { node, instance, .. } = &mut tiny;
        node.within(|| instance.attach(&link).unwrap());
        tiny
    }

    /// Tries to put these manifests in force.
    fn attempt(&mut self, refused: u16, more: &str) -> Result<(), ApplyError> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("all.yaml"), manifests(refused, more)).unwrap();
        let read = documents::read(&[directory.path().to_owned()]);
        assert!(read.problems.is_empty(), "{:?}", read.problems);
        let before = std::mem::replace(&mut self.world, documents::world(&read, "node-0"));
        let mut touched: Vec<_> = before.keys().chain(self.world.keys()).collect();
        touched.sort();
        touched.dedup();
        let pod = self.world.pods().find(|pod| &*pod.name == "p").unwrap();
        let link = Link {
            ifindex: self.ifindex,
            master: 0,
            pod: Some(pod.uid.clone()),
            mac: [0; 6],
        };
        let next = self.realiser.next_generation();
        let update = self.compiler.update(&self.world, &touched, &[link], next);
        self.realiser.want(update.changes);
        self.realiser.realise(self.instance.maps_mut())?;
        self.realiser.settle(self.instance.maps_mut())?;
        Ok(())
    }

    /// What the kernel holds.
    fn held(&self) -> Image {
        inspect(self.instance.maps()).unwrap()
    }

    /// On the wire: this port is refused, the other one is not.
    fn refuses(&self, refused: u16, when: &str) {
        for server in &self.servers {
            let at: SocketAddr = server.local_addr().unwrap();
            let limit = Duration::from_millis(if at.port() == refused { 200 } else { 5_000 });
            let opened = inside(&self.pod, || TcpStream::connect_timeout(&at, limit).is_ok());
            assert_eq!(opened, at.port() != refused, "port {} {when}", at.port());
        }
        let _ = &self.node;
    }
}

#[test]
fn case_61_what_does_not_fit_the_real_maps_is_refused_whole_and_what_fits_again_decides() {
    let mut tiny = Tiny::new();
    tiny.refuses(PORTS[0], "at first");
    for (number, (map, more)) in too_much().into_iter().enumerate() {
        let (now, next) = (PORTS[number % 2], PORTS[(number + 1) % 2]);
        let before = tiny.held();
        // It would refuse the other port as well.
        let refused = tiny.attempt(next, &more).unwrap_err();
        let ApplyError::Refused(why @ EncodeError::Capacity { map: named, limit, .. }) = &refused else {
            panic!("{map}: {refused:?}");
        };
        // Of a trie one entry is kept for exchanging another.
        let most = u64::from(ENTRIES) - u64::from(map == MapName::Prefixes4);
        assert_eq!((*named, *limit), (map, most), "{why}");
        let said = why.to_string();
        assert!(
            said.contains(map.name()) && said.contains(&format!("holds {most}")),
            "{said}"
        );
        assert_eq!(tiny.held(), before, "{said}: what the kernel holds");
        tiny.refuses(now, &format!("after {said}"));
        tiny.attempt(next, "").unwrap();
        tiny.refuses(next, &format!("once it fits again after {said}"));
        println!("refused whole: {said}");
    }
}

#[test]
fn case_62_a_write_that_the_kernel_refuses_is_taken_back_and_the_next_attempt_heals() {
    let mut tiny = Tiny::new();
    let ranges = "apiVersion: cellwall.io/v1alpha1\nkind: NetworkObject\nmetadata: {name: ranges}\nspec: {cidrs: [{cidr: \
                  203.0.113.0/24}]}\n---\napiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata: {name: to-ranges}\nspec: \
                  {source: {object: p}, destination: {object: ranges}, action: Drop, priority: 5}\n";
    for map in [MapName::Policy, MapName::Prefixes4] {
        let before = tiny.held();
        // Somebody else fills the map: the agent reckons with room that is not there.
        let mut strange = Entries::new(map);
        for number in 0..ENTRIES {
            let key = match map {
                MapName::Policy => [0xffff_0000 + number, 0xffff_0000].map(u32::to_ne_bytes).concat(),
                _ => [32_u32.to_ne_bytes(), [10, 9, 8, u8::try_from(number).unwrap()]].concat(),
            };
            strange.push(&key, &[0; 16]);
        }
        let full = tiny.instance.maps_mut().update(&strange).unwrap_err();
        assert_eq!(full.cause, Cause::Full);
        let failed = tiny.attempt(PORTS[1], ranges).unwrap_err();
        let ApplyError::Kernel {
            source,
            limit,
            taken_back,
            ..
        } = &failed
        else {
            panic!("{failed:?}");
        };
        assert_eq!(
            (source.map, source.cause, *limit, *taken_back),
            (Some(map), Cause::Full, Some(ENTRIES), true)
        );
        let said = format!("{failed}: {source}");
        assert!(
            said.contains("a map of 64 entries") && said.contains(map.name()),
            "{said}"
        );
        tiny.refuses(PORTS[0], &format!("after {said}"));
        tiny.instance.maps_mut().delete(&strange).unwrap();
        assert_eq!(tiny.held(), before, "{said}: what the kernel holds");
        tiny.attempt(PORTS[1], ranges).unwrap();
        tiny.refuses(PORTS[1], "at the next attempt");
        tiny.attempt(PORTS[0], "").unwrap();
        println!("taken back: {said}");
    }
}
