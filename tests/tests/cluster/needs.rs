//! What the agent's container is given, each thing taken away in turn: what then becomes of the agent.

use std::time::Duration;

use cellwall_tests::wait_for;
use serde_json::{Value, json};

use crate::shop::{SYSTEM, Shop};

/// What is taken away, whether the agent becomes ready all the same, and what it says.
const NEEDS: [(Without, bool, &str); 8] = [
    (Without::Nothing, true, "were adopted"),
    (Without::Capability("BPF"), false, "`BPF_OBJ_GET` failed"),
    (
        Without::Capability("NET_ADMIN"),
        false,
        "the kernel refuses the program",
    ),
    (Without::Capability("PERFMON"), false, "Permission denied"),
    (
        Without::Capability("NET_BROADCAST"),
        true,
        "give the agent CAP_NET_BROADCAST",
    ),
    (Without::Mount("bpf"), false, "no BPF file system"),
    (Without::Mount("state"), true, "would be forgotten at a restart"),
    (Without::Mount("run"), false, "socket /run/cellwall/cellwall.sock"),
];

#[derive(Debug, Clone, Copy)]
enum Without {
    Nothing,
    Capability(&'static str),
    Mount(&'static str),
}

impl Without {
    fn take_from(self, pod: &mut Value) {
        let spec = &mut pod["spec"];
        let remove = |list: &mut Value, is: &dyn Fn(&Value) -> bool| {
            let list = list.as_array_mut().expect("a list");
            let before = list.len();
            list.retain(|one| !is(one));
            assert_eq!(list.len() + 1, before, "{self:?} was there");
        };
        match self {
            Self::Nothing => {}
            Self::Capability(name) => {
                let list = &mut spec["containers"][0]["securityContext"]["capabilities"]["add"];
                remove(list, &|one| one == name);
                if name == "PERFMON" {
                    // Asked for when programs are loaded: an agent that adopts those of its own build loads none.
                    let args = spec["containers"][0]["args"].as_array_mut().expect("a list");
                    args.push(json!("--instance=first"));
                }
            }
            Self::Mount(name) => {
                remove(&mut spec["volumes"], &|one| one["name"] == name);
                remove(&mut spec["containers"][0]["volumeMounts"], &|one| one["name"] == name);
            }
        }
    }
}

impl Shop {
    /// Ends the DaemonSet, and runs its pod with one thing taken away, on both nodes in turns.
    pub(crate) fn tells_what_the_agent_needs(&self) {
        let set = self.json(&["get", "daemonset", "cellwall", "-n", SYSTEM]);
        let named = |list: &Value, field: &str| -> usize {
            let list = list.as_array().expect("a list");
            assert!(!list.is_empty(), "{field}");
            list.len()
        };
        let template = &set["spec"]["template"];
        let spec = &template["spec"];
        let given = named(&spec["containers"][0]["securityContext"]["capabilities"]["add"], "add")
            + named(&spec["volumes"], "volumes");
        assert_eq!(given + 1, NEEDS.len(), "everything that is given is taken away once");
        self.run(&["delete", "daemonset", "cellwall", "-n", SYSTEM]);
        let gone = ["get", "pods", "-n", SYSTEM, "-o", "name"];
        self.cluster.wait_until(Duration::from_secs(30), &gone, str::is_empty);
        let (first, second): (Vec<_>, Vec<_>) = NEEDS.iter().enumerate().partition(|(number, _)| number % 2 == 0);
        std::thread::scope(|scope| {
            for (node, some) in [("node-1", first), ("node-2", second)] {
                scope.spawn(move || {
                    for (_, (without, ready, words)) in some {
                        let (was_ready, said) = self.run_without(*without, template, node);
                        let last = said.lines().last().unwrap_or_default();
                        println!("without {without:?}: ready {was_ready}: {last}");
                        assert_eq!(was_ready, *ready, "without {without:?}:\n{said}");
                        assert!(said.contains(words), "without {without:?}:\n{said}");
                    }
                });
            }
        });
    }

    /// Runs the pod once; answers whether it became ready, and what it said.
    fn run_without(&self, without: Without, template: &Value, node: &str) -> (bool, String) {
        let name = format!("without-{node}");
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "namespace": SYSTEM },
            "spec": template["spec"],
        });
        pod["spec"]["nodeName"] = json!(node);
        pod["spec"]["restartPolicy"] = json!("Never");
        without.take_from(&mut pod);
        self.kubectl.apply(&pod.to_string());
        let ended = wait_for(Duration::from_mins(1), || {
            let pod = self.json(&["get", "pod", &name, "-n", SYSTEM]);
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            let ready = conditions
                .filter(|one| one["type"] == "Ready")
                .any(|one| one["status"] == "True");
            let failed = pod["status"]["phase"] == "Failed";
            (ready || failed).then_some(ready)
        });
        let said = self.kubectl.run(&["logs", "-n", SYSTEM, &name]);
        let words = ["delete", "pod", &name, "-n", SYSTEM, "--grace-period=1"];
        self.run(&words);
        (ended == Some(true), said.out + &said.err)
    }
}
