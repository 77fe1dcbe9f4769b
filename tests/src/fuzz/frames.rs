//! Bytes as frames on a node with three pods: the packet path against the second opinion that shares no code with it.
//!
//! The bytes are a train of frames, each behind two bytes: who sends it and to whom, and how long it is. What may be
//! wrong with fragments takes several frames to show.

use std::cell::OnceCell;
use std::net::{Ipv4Addr, Ipv6Addr};

use cellwall_controller::documents::convert;
use cellwall_controller::manifest::files::FileContent;
use cellwall_datapath::apply::Realiser;
use cellwall_datapath::memory::MemoryKernel;
use cellwall_frames::DROPS;
use cellwall_policy::compile::{Compiler, Link};
use cellwall_policy::model::{Hook, Name, NodeReport, Reason};
use cellwall_policy::world::{Document, World};

use crate::frames::reference::{self, Expected, PodAddresses, Reference, Sender};
use crate::frames::wiring::{RULES, link_local};
use crate::judges::{Host, Told};

/// Name of the node.
const NODE: &str = "node";
/// Its addresses.
const NODE_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const NODE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2);
/// The interface that the outside comes in by, the bridge, and the first pod's interface.
const UPLINK: u32 = 2;
const BRIDGE: u32 = 3;
const FIRST: u32 = 11;
/// One second after the interfaces were attached.
const NOW: u64 = 1_000_000_000;
/// Bytes of an Ethernet header: what is shorter is no frame, no kernel hands it on.
const SHORTEST: usize = 14;

/// One frame on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent<'a> {
    /// Who puts it on the wire.
    pub sender: Sender,
    /// Number of the pod that the link leads it to; never the sender's.
    pub receiver: usize,
    /// From its Ethernet header on.
    pub frame: &'a [u8],
}

/// Takes bytes apart.
pub fn sent(mut bytes: &[u8]) -> Vec<Sent<'_>> {
    let mut frames = Vec::new();
    while let [who, length, rest @ ..] = bytes {
        let (frame, behind) = rest.split_at(rest.len().min(usize::from(*length)));
        bytes = behind;
        let sender = match who & 3 {
            3 => Sender::Stranger,
            pod => Sender::Pod(usize::from(pod)),
        };
        let mut receiver = usize::from(who >> 2) % 3;
        if sender == Sender::Pod(receiver) {
            receiver = (receiver + 1) % 3;
        }
        if frame.len() >= SHORTEST {
            frames.push(Sent {
                sender,
                receiver,
                frame,
            });
        }
    }
    frames
}

/// The other way: bytes that [`sent`] takes apart into these frames; a frame's end behind 255 bytes is lost.
pub fn bytes(frames: &[Sent<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Sent {
        sender,
        receiver,
        frame,
    } in frames
    {
        let who = match sender {
            Sender::Pod(pod) => *pod,
            Sender::Stranger => 3,
        };
        let length = frame.len().min(255);
        bytes.extend([who | receiver << 2, length].map(|number| u8::try_from(number).unwrap_or(u8::MAX)));
        bytes.extend(&frame[..length]);
    }
    bytes
}

/// Fails where the packet path and the second opinion differ about one of the frames.
pub fn check(bytes: &[u8]) {
    thread_local! {
        static NODE: OnceCell<(Host, reference::World)> = const { OnceCell::new() };
    }
    NODE.with(|node| {
        let (host, world) = node.get_or_init(node_with_pods);
        host.forget_trains();
        let mut reference = Reference::new(world.clone());
        for (number, sent) in sent(bytes).into_iter().enumerate() {
            let expected = reference.judge(sent.sender, sent.receiver, sent.frame);
            let found = send(host, &sent);
            assert!(
                found.is(&expected),
                "frame {number}, {:?} to pod {}: the rules say {expected}, the packet path {found:?}: {:02x?}",
                sent.sender,
                sent.receiver,
                sent.frame
            );
        }
    });
}

/// The pods' addresses, as the second opinion knows them.
pub fn pods() -> [PodAddresses; 3] {
    [1, 2, 3].map(|number: u8| PodAddresses {
        v4: Ipv4Addr::new(192, 0, 2, number),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, number.into()),
        link_local: link_local(mac(number)),
    })
}

/// The node's addresses.
pub fn node() -> (Ipv4Addr, Ipv6Addr) {
    (NODE_V4, NODE_V6)
}

/// Link address of a pod's end; `number` from 1 on.
pub fn mac(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number]
}

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Pass,
    Refused(Option<String>),
    RefusedThere(Option<String>),
}

impl Found {
    fn is(&self, expected: &Expected) -> bool {
        // A drop that tells nothing was told of by another hook.
        let among = |reasons: &std::collections::BTreeSet<reference::Reason>, name: &Option<String>| {
            let Some(name) = name else { return false };
            reasons.iter().any(|reason| reason.as_str() == name)
        };
        match (self, expected) {
            (Self::Pass, Expected::Pass) => true,
            (Self::Refused(name), Expected::Refuse(reasons))
            | (Self::RefusedThere(name), Expected::RefuseThere(reasons)) => among(reasons, name),
            _ => false,
        }
    }
}

fn send(host: &Host, sent: &Sent<'_>) -> Found {
    // Each frame opens whatever it opens: the second opinion knows no flows.
    host.forget_flows();
    let mut ingress = UPLINK;
    if let Sender::Pod(pod) = sent.sender {
        ingress = interface(pod);
        let told = host.next(Hook::FromPod, ingress, 0, sent.frame);
        if told.dropped {
            return Found::Refused(reason(told));
        }
    }
    let told = host.next(Hook::ToPod, interface(sent.receiver), ingress, sent.frame);
    match (told.dropped, sent.sender) {
        (false, _) => Found::Pass,
        (true, Sender::Pod(_)) => Found::RefusedThere(reason(told)),
        (true, Sender::Stranger) => Found::Refused(reason(told)),
    }
}

fn reason(told: Told) -> Option<String> {
    let number = u8::try_from(told.said?.reason).ok()?;
    Reason::from_number(number).map(|reason| reason.to_string())
}

fn interface(pod: usize) -> u32 {
    FIRST + u32::try_from(pod).unwrap_or(u32::MAX)
}

/// The node with its three pods under the range's rule, in force, and what the second opinion knows of it.
fn node_with_pods() -> (Host, reference::World) {
    let pod = |(name, PodAddresses { v4, v6, .. }): (&&str, PodAddresses)| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: lab, uid: {name}, labels: {{app: {name}}}}}\n\
             status: {{podIPs: [{{ip: {v4}}}, {{ip: '{v6}'}}]}}\n"
        )
    };
    let pods_of_it: Vec<String> = ["a", "b", "c"].iter().zip(pods()).map(pod).collect();
    let manifests = [RULES, &pods_of_it.concat()].concat();
    let content = FileContent::read(&std::path::Path::new("range.yaml").into(), manifests.as_bytes(), None);
    let mut world = World::new(NODE, true);
    for document in content.documents() {
        let converted = convert(document).expect("the range's manifests are right");
        world.apply(converted.document);
    }
    world.apply(Document::NodeReport(NodeReport {
        node: NODE.into(),
        enforcing: true,
        addresses: vec![NODE_V4.into(), NODE_V6.into()],
    }));
    let links: Vec<Link> = (0..3_u8)
        .map(|pod| Link {
            ifindex: interface(pod.into()),
            master: BRIDGE,
            pod: Some(Name::from(["a", "b", "c"][usize::from(pod)])),
            mac: mac(pod + 1),
        })
        .collect();
    let mut kernel = MemoryKernel::new();
    let mut realiser = Realiser::adopt(&kernel).expect("an empty kernel");
    let next = realiser.next_generation();
    let update = Compiler::new(NODE).update(&world, &[], &links, next);
    realiser.want(update.changes);
    realiser.want_switches(0, 0);
    realiser.realise(&mut kernel).expect("three pods fit");
    let known = reference::World {
        pods: pods().to_vec(),
        node: vec![NODE_V4.into(), NODE_V6.into()],
        guarded: vec![0, 1],
        drops: DROPS.to_vec(),
    };
    (Host::at(&kernel, NOW), known)
}
