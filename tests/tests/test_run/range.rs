//! Three pods of one node and a host that is no pod, as the tables of loaded programs know them. A frame goes through the
//! hooks that it would meet on its way; there is no wire.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cellwall_datapath::memory::MemoryKernel;
use cellwall_frames::REFUSED;
use cellwall_policy::model::{Hook, Reason};
use cellwall_policy::scenario::Scenario;
use cellwall_policy::world::World;
use cellwall_tests::frames::corpus::Places;
use cellwall_tests::frames::reference::asks::{Asked, Asks, Seat, asks};
use cellwall_tests::frames::reference::{PodAddresses, Reference, World as LittleWorld};
use cellwall_tests::frames::{Expected, Sender, Shot};
use cellwall_tests::judges::node::UNKNOWN;
use cellwall_tests::judges::{Live, Lodging, Node};

/// The interface to the outside, of no pod.
const UPLINK: u32 = UNKNOWN + 30;
const NODE_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const NODE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2);

/// The node, before its rules.
const NODE: &str = "
scenario three pods
namespace lab
node node-a at=198.51.100.2 at=2001:db8:2::2
pod lab/a uid=u-0 on=node-a at=192.0.2.10 at=2001:db8:1::10 link=fe80::ff:fe00:0 label:app=a
pod lab/b uid=u-1 on=node-a at=192.0.2.11 at=2001:db8:1::11 link=fe80::ff:fe00:1 label:app=b
pod lab/c uid=u-2 on=node-a at=192.0.2.12 at=2001:db8:1::12 link=fe80::ff:fe00:2 label:app=c
defense mode=Enforce local-node=Enforce
";
/// What `cellwall_frames::DROPS` says, as a rule.
pub(crate) const REFUSES: &str = "
object guarded apps=a apps=b
rule refuses 10 Drop Any -> @guarded on Any/9 ICMP/13 ICMPv6/135 ICMPv6/139 2 50
";

/// Interface of a pod.
pub(crate) fn interface(pod: usize) -> u32 {
    UNKNOWN + 1 + u32::try_from(pod).unwrap()
}

/// Addresses and link address of a pod, or of the stranger, who is number 3.
fn addresses(number: u8) -> (PodAddresses, [u8; 6]) {
    let pod = PodAddresses {
        v4: Ipv4Addr::new(192, 0, 2, 10 + number),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10 + u16::from(number)),
        link_local: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, number.into()),
    };
    (pod, [2, 0, 0, 0, 0, number])
}

/// Loads the programs, puts the node's world with these rules in force, and hands both over.
pub(crate) fn under(rules: &str, look: impl FnOnce(&World, &mut Live) + Send) {
    let lodging = Lodging::new().unwrap();
    let scenario = Scenario::read(&format!("{NODE}{rules}")).unwrap_or_else(|error| panic!("{error}"));
    let world = scenario[0].world();
    let looked = lodging.namespace.inside(|| {
        let mut live = Live::load(&lodging.place).unwrap();
        let mut memory = MemoryKernel::new();
        let mut node = Node::begin(world.clone(), &mut memory, Some(&mut live)).unwrap();
        look(&world, node.live().unwrap());
    });
    looked.unwrap();
}

/// Frames that were run.
#[derive(Default)]
pub(crate) struct Range {
    reference: Option<Reference>,
    given: u32,
    pub(crate) frames: usize,
    pub(crate) refused: usize,
    pub(crate) too_short: usize,
}

impl Range {
    /// Sends a category, and holds what became of each frame against the second opinion.
    fn fire(&mut self, live: &mut Live, sender: Sender, receiver: u8, make: impl FnOnce(&mut Places) -> Vec<Shot>) {
        let number = match sender {
            Sender::Pod(pod) => u8::try_from(pod).unwrap(),
            Sender::Stranger => 3,
        };
        let ((own, mac), (to, to_mac), (third, _)) = (addresses(number), addresses(receiver), addresses(3 - receiver));
        let mut places = Places::new((mac, to_mac), [&own, &to, &third], (NODE_V4, NODE_V6));
        places.given = self.given;
        for Shot { name, frame } in make(&mut places) {
            let reference = self.reference.as_mut().expect("a second opinion");
            let expected = reference.judge(sender, receiver.into(), &frame);
            if !Live::takes(&frame) {
                self.too_short += 1;
                continue;
            }
            let found = send(live, sender, receiver.into(), &frame).unwrap_or_else(|error| panic!("{name}: {error:?}"));
            let fits = match (found, &expected) {
                (found, Expected::Pass) if is_undecided(&own, sender, &frame) => {
                    found.is_some_and(|(_, name)| name == "NO_STATE")
                }
                (None, Expected::Pass) => true,
                (Some((false, name)), Expected::Refuse(reasons))
                | (Some((true, name)), Expected::RefuseThere(reasons)) => {
                    reasons.iter().any(|reason| reason.as_str() == name)
                }
                _ => false,
            };
            assert!(
                fits,
                "{name}: the rules say {expected}, the programs {found:?}: {frame:02x?}"
            );
            self.frames += 1;
            self.refused += usize::from(found.is_some());
        }
        self.given = places.given;
    }
}

/// Whether it is TCP in mid-stream of which the rule drops one orientation and not the other: the second opinion lets
/// it pass, as it does at first; the hooks here were attached long ago.
fn is_undecided(own: &PodAddresses, sender: Sender, frame: &[u8]) -> bool {
    let of = |pod: &PodAddresses| [IpAddr::V4(pod.v4), pod.v6.into(), pod.link_local.into()];
    let seat = Seat {
        from_pod: sender != Sender::Stranger,
        own: &of(own),
        is_known: true,
    };
    let Asks::Rules(Asked {
        source,
        destination,
        port,
        back: Some(back),
        ..
    }) = asks(seat, frame)
    else {
        return false;
    };
    let is_guarded = |address: IpAddr| (0..2).any(|pod| of(&addresses(pod).0).contains(&address));
    (port == Some(REFUSED) && is_guarded(destination)) != (back == REFUSED && is_guarded(source))
}

/// None where the frame arrives; else whether it was refused at the receiver only, and why.
fn send(
    live: &mut Live,
    sender: Sender,
    receiver: usize,
    frame: &[u8],
) -> anyhow::Result<Option<(bool, &'static str)>> {
    let name = |reason: u32| {
        u8::try_from(reason)
            .ok()
            .and_then(Reason::from_number)
            .map_or("?", Reason::name)
    };
    live.ingress = 0;
    let mut ingress = UPLINK;
    if let Sender::Pod(pod) = sender {
        ingress = interface(pod);
        if let Some(reason) = live.refuses(Hook::FromPod, ingress, frame)? {
            return Ok(Some((false, name(reason))));
        }
    }
    live.ingress = ingress;
    let there = sender != Sender::Stranger;
    let refused = live.refuses(Hook::ToPod, interface(receiver), frame)?;
    live.ingress = 0;
    Ok(refused.map(|reason| (there, name(reason))))
}

/// Runs categories, each frame held against the second opinion, as sent by a pod to the guarded pod and to the one that
/// is not, and by a host that is no pod.
pub(crate) fn everywhere(categories: &[fn(&mut Places) -> Vec<Shot>]) -> Range {
    let mut range = Range::default();
    under(REFUSES, |_, live| {
        let little = LittleWorld {
            pods: (0..3).map(|number| addresses(number).0).collect(),
            node: vec![NODE_V4.into(), NODE_V6.into()],
            guarded: vec![0, 1],
            drops: cellwall_frames::DROPS.to_vec(),
        };
        range.reference = Some(Reference::new(little));
        for category in categories {
            range.fire(live, Sender::Pod(0), 1, category);
            range.fire(live, Sender::Pod(0), 2, category);
            range.fire(live, Sender::Stranger, 1, category);
        }
    });
    range
}
