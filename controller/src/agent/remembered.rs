//! Which interface is which pod's, over a restart of the agent: what a pod's root has changed inside meanwhile does not
//! count again. After a restart of the machine nothing of it holds.

use std::collections::BTreeSet;
use std::path::Path;

use cellwall_datapath::links::{self, NamespaceId};
use cellwall_policy::model::Address;
use serde::{Deserialize, Serialize};

use super::bind::{Bindings, Memory};
use super::locals::NodeSide;
use crate::cluster::kept::BINDINGS;
use crate::state_file::StateFile;

/// Tells one run of the machine from the next.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    boot: String,
    bound: Vec<Bound>,
    /// Interfaces that lead to what is no pod's.
    #[serde(default)]
    foreign: Vec<End>,
    /// The addresses of the Node's status: what has one is a way out of the node.
    #[serde(default)]
    node: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Bound {
    namespace: i32,
    ends: Vec<End>,
    birth: Vec<String>,
    pod: String,
    /// A network plugin said so.
    #[serde(default)]
    claimed: bool,
}

/// An interface of ours. Its number may be another's one day; its hardware address is not.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    ifindex: u32,
    mac: Option<[u8; 6]>,
}

/// What is written of the bindings.
#[derive(Debug)]
pub(super) struct Remembered {
    file: StateFile,
    written: State,
}

impl Remembered {
    /// What an earlier process knew, as far as it still holds.
    pub(super) fn open(state_dir: &Path) -> (Self, Bindings) {
        let file = StateFile::new(state_dir, BINDINGS);
        let written: State = match file.load() {
            Ok(state) => state.unwrap_or_default(),
            Err(error) => {
                tracing::error!(%error, "whose interfaces were is not known; their addresses say it anew");
                State::default()
            }
        };
        let mut bindings = Bindings::default();
        let links = links::Links::open().and_then(|mut links| links.list());
        match links {
            Ok(links) if written.boot == boot() => {
                for bound in &written.bound {
                    if let Some(memory) = bound.restore(&links) {
                        bindings.memory.insert(NamespaceId::new(bound.namespace), memory);
                    }
                }
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "interfaces cannot be listed; their addresses say whose they are"),
        }
        (Self { file, written }, bindings)
    }

    /// Interfaces that an earlier process of this run of the machine did not know, and that lead to a pod as far as can
    /// be told without the API server. None where no such process knew the Node.
    pub(super) fn strangers(&self, known: &BTreeSet<u32>, view: &NodeSide) -> Vec<u32> {
        let node: BTreeSet<Address> = self.written.node.iter().filter_map(|text| text.parse().ok()).collect();
        if node.is_empty() || self.written.boot != boot() {
            return Vec::new();
        }
        let bound = self.written.bound.iter().flat_map(|bound| &bound.ends);
        let is_known = |link: &links::Link| {
            let mut ends = bound.clone().chain(&self.written.foreign);
            known.contains(&link.ifindex) || ends.any(|end| end.ifindex == link.ifindex && end.mac == link.mac)
        };
        let all = view.to_pods(&node);
        let links = view
            .links
            .iter()
            .filter(|link| all.contains(&link.ifindex) && !is_known(link));
        links.map(|link| link.ifindex).collect()
    }

    /// Saves what changed; `node` are the addresses of the Node's status.
    pub(super) fn save(&mut self, bindings: &Bindings, links: &[links::Link], node: &BTreeSet<Address>) {
        let end = |ifindex: &u32| End {
            ifindex: *ifindex,
            mac: links
                .iter()
                .find(|link| link.ifindex == *ifindex)
                .and_then(|link| link.mac),
        };
        let bound = bindings.memory.iter().filter_map(|(id, memory)| {
            Some(Bound {
                namespace: id.number(),
                ends: memory.ends.iter().map(end).collect(),
                birth: memory.birth.iter().map(ToString::to_string).collect(),
                pod: memory.pod.as_ref()?.to_string(),
                claimed: memory.claimed,
            })
        });
        let foreign = bindings.memory.values().filter(|memory| memory.is_foreign());
        let state = State {
            boot: boot(),
            bound: bound.collect(),
            foreign: foreign.flat_map(|memory| memory.ends.iter().map(end)).collect(),
            node: node.iter().map(ToString::to_string).collect(),
        };
        if state == self.written {
            return;
        }
        match self.file.save(&state) {
            Ok(()) => self.written = state,
            Err(error) => tracing::error!(%error, "whose interfaces are would be forgotten at a restart"),
        }
    }
}

impl Bound {
    /// The memory, if all of it leads where it led.
    fn restore(&self, links: &[links::Link]) -> Option<Memory> {
        let id = NamespaceId::new(self.namespace);
        let same = |end: &&End| {
            links.iter().any(|link| {
                let leads = link.peer.and_then(|peer| peer.namespace) == Some(id);
                link.ifindex == end.ifindex && link.mac == end.mac && leads
            })
        };
        let ends: BTreeSet<u32> = self.ends.iter().filter(same).map(|end| end.ifindex).collect();
        let birth: BTreeSet<Address> = self.birth.iter().filter_map(|text| text.parse().ok()).collect();
        (!ends.is_empty()).then(|| Memory::restored(ends, birth, self.pod.as_str().into(), self.claimed))
    }
}

fn boot() -> String {
    std::fs::read_to_string(BOOT).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(ifindex: u32, namespace: i32, mac: u8) -> links::Link {
        links::Link {
            ifindex,
            name: "veth".into(),
            kind: "veth".into(),
            mac: Some([2, 0, 0, 0, 0, mac]),
            master: None,
            peer: Some(links::Peer {
                namespace: Some(NamespaceId::new(namespace)),
                ifindex: 2,
            }),
            up: true,
            loopback: false,
        }
    }

    fn bound() -> Bound {
        Bound {
            namespace: 7,
            ends: vec![End {
                ifindex: 4,
                mac: link(4, 7, 1).mac,
            }],
            birth: vec!["192.0.2.10".into()],
            pod: "uid".into(),
            claimed: true,
        }
    }

    #[test]
    fn what_leads_where_it_led_is_the_pods_again() {
        let memory = bound().restore(&[link(3, 6, 9), link(4, 7, 1)]).unwrap();
        assert_eq!((memory.pod.as_deref(), memory.claimed), (Some("uid"), true));
        assert_eq!(memory.birth, BTreeSet::from(["192.0.2.10".parse().unwrap()]));
    }

    #[test]
    fn an_interface_of_another_number_namespace_or_hardware_is_nobodys() {
        for other in [link(5, 7, 1), link(4, 8, 1), link(4, 7, 2)] {
            assert!(bound().restore(&[other]).is_none());
        }
    }
}
