//! What stands between two pods, each in a lab of its own that is put up once and stays for all rounds.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use aya::programs::tc::{SchedClassifier, TcAttachOptions, TcAttachType};
use aya::programs::{LinkOrder, ProgramInfo};
use aya::{Ebpf, EbpfLoader};
use cellwall_controller::lab::{Lab, LabPod, Namespace, Wiring};
use cellwall_datapath::kernel::{OBJECT, Place};
use cellwall_datapath::port::MapName;
use cellwall_datapath_common::maps;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Figure;
use super::manifests;
use super::nft::{self, Lookup};
use crate::{Cluster, memory};

/// How long an agent that was stopped is left alone before anything is measured: longer than its slowest round.
const CATCHING_UP: Duration = Duration::from_secs(3);

/// What Cellwall records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// The flow log as it comes: refusals and alerts.
    Usual,
    /// Every passing flow too.
    All,
    /// Nothing is written.
    None,
}

/// A filter under measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// None at all.
    Nothing,
    /// A TCX program that does nothing, where Cellwall's would be.
    Empty,
    /// nftables.
    Nft(Lookup, u32),
    /// An agent with this many rules and ten thousand pods.
    Cellwall(u32, Log),
}

impl Filter {
    /// All, in the order of the table.
    pub const ALL: [Self; 11] = [
        Self::Nothing,
        Self::Empty,
        Self::Nft(Lookup::Map, 10_000),
        Self::Nft(Lookup::Rules, 1),
        Self::Nft(Lookup::Rules, 1_000),
        Self::Nft(Lookup::Rules, 10_000),
        Self::Cellwall(1, Log::Usual),
        Self::Cellwall(1_000, Log::Usual),
        Self::Cellwall(10_000, Log::Usual),
        Self::Cellwall(10_000, Log::All),
        Self::Cellwall(10_000, Log::None),
    ];

    /// The head of its column.
    pub fn name(self) -> String {
        match self {
            Self::Nothing => "no filter".to_owned(),
            Self::Empty => "empty TCX".to_owned(),
            Self::Nft(Lookup::Map, entries) => format!("nft map {entries}"),
            Self::Nft(Lookup::Rules, rules) => format!("nft rules {rules}"),
            Self::Cellwall(rules, Log::Usual) => format!("Cellwall {rules}"),
            Self::Cellwall(rules, Log::All) => format!("Cellwall {rules}, passes logged"),
            Self::Cellwall(rules, Log::None) => format!("Cellwall {rules}, no log"),
        }
    }
}

/// A filter in its lab.
pub struct Stand {
    /// Which one.
    pub filter: Filter,
    pods: [LabPod; 2],
    node: Node,
}

enum Node {
    Bare(Lab),
    Empty { lab: Lab, programs: Box<Ebpf> },
    Agent(Box<Cluster>, Child),
}

impl Stand {
    /// Puts the filter up, the `number`th one of this run.
    pub fn new(filter: Filter, number: usize) -> anyhow::Result<Self> {
        if let Filter::Cellwall(rules, log) = filter {
            return Self::agent(filter, rules, log);
        }
        let mut lab = Lab::new(&format!("cb{number}"), Wiring::Routed)?;
        let pods = [lab.add_pod("a")?, lab.add_pod("b")?];
        let node = match filter {
            Filter::Empty => {
                let programs = empty(&lab, &pods)?;
                Node::Empty {
                    lab,
                    programs: Box::new(programs),
                }
            }
            Filter::Nft(lookup, entries) => {
                nft::install(&lab, lookup, entries, &pods[0], &pods[1])?;
                // Flows of the round before are not to be in the way of this one's.
                for name in [
                    "net/netfilter/nf_conntrack_udp_timeout",
                    "net/netfilter/nf_conntrack_tcp_timeout_time_wait",
                ] {
                    lab.node().sysctl(name, "1")?;
                }
                Node::Bare(lab)
            }
            _ => Node::Bare(lab),
        };
        Ok(Self { filter, pods, node })
    }

    fn agent(filter: Filter, rules: u32, log: Log) -> anyhow::Result<Self> {
        let cluster = Cluster::new(Wiring::Routed, &["a", "b"]);
        manifests::save(&cluster, rules);
        let mut command = cluster.command(&["run", "--listen", "127.0.0.1:9469", "--node-name", "node-0"]);
        command.arg("--manifests").arg(cluster.manifests());
        command.args(["--flow-log-pass", if log == Log::All { "all" } else { "none" }]);
        command.arg("--flow-log");
        match log {
            Log::None => command.arg("none"),
            Log::Usual | Log::All => command.arg(cluster.flow_log()),
        };
        let agents_log = std::fs::File::create(cluster.directory.path().join("agent.log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(agents_log)
            .spawn()?;
        let pods = [cluster.pod("a"), cluster.pod("b")];
        // From here on the agent goes when the stand does, however that comes about.
        let stand = Self {
            filter,
            pods,
            node: Node::Agent(Box::new(cluster), child),
        };
        if let Node::Agent(cluster, _) = &stand.node {
            cluster.wait_ready();
        }
        stand.rest()?;
        Ok(stand)
    }

    /// The pods: who sends, who is sent to.
    pub fn pods(&self) -> &[LabPod; 2] {
        &self.pods
    }

    /// The node's namespace.
    pub fn node(&self) -> &Namespace {
        match &self.node {
            Node::Bare(lab) | Node::Empty { lab, .. } => lab.node(),
            Node::Agent(cluster, _) => cluster.lab.node(),
        }
    }

    /// Lets the agent run, where there is one, and waits until it has done what fell due while it was stopped: what is
    /// measured then is what it costs all the time.
    pub fn wake(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGCONT)?;
        if self.agent_pid().is_some() {
            std::thread::sleep(CATCHING_UP);
        }
        Ok(())
    }

    /// Stops the agent, so that it takes no time of another filter's: what is in the kernel goes on.
    pub fn rest(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let Some(pid) = self.agent_pid() else { return Ok(()) };
        kill(Pid::from_raw(i32::try_from(pid)?), signal).context("the agent")
    }

    /// Process of the agent.
    pub fn agent_pid(&self) -> Option<u32> {
        match &self.node {
            Node::Agent(_, child) => Some(child.id()),
            _ => None,
        }
    }

    /// What the agent and its maps take; none where there is no agent.
    pub fn memory(&self) -> anyhow::Result<Option<Vec<Figure>>> {
        let Some(pid) = self.agent_pid() else { return Ok(None) };
        let (name, place) = (self.filter.name(), self.place()?);
        #[allow(clippy::cast_precision_loss, reason = "sizes of memory")]
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        Ok(Some(vec![
            Figure::one(format!("{name}: the agent"), mib(memory::resident(pid)), "MiB"),
            Figure::one(format!("{name}: its maps"), mib(memory::of_maps(&place)), "MiB"),
        ]))
    }

    /// What the kernel tells of the empty program, where that is the filter.
    pub fn empty_program(&self) -> anyhow::Result<Option<ProgramInfo>> {
        let Node::Empty { programs, .. } = &self.node else {
            return Ok(None);
        };
        let program = programs.program(maps::NOTHING).context("the empty program")?;
        let program: &SchedClassifier = program.try_into()?;
        Ok(Some(program.info()?))
    }

    /// Where the agent has its pins.
    pub fn place(&self) -> anyhow::Result<Place> {
        match &self.node {
            Node::Agent(cluster, _) => Ok(Place::new(cluster.instance())?),
            _ => anyhow::bail!("{} has no agent", self.filter.name()),
        }
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if let Node::Agent(_, child) = &mut self.node {
            // It may be gone already; either way it is to be gone before its instance is removed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The program that does nothing, loaded.
pub(super) fn nothing() -> anyhow::Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    for map in MapName::ALL {
        loader.map_max_entries(map.name(), 1);
    }
    loader.map_max_entries(maps::RECORDS, 4096);
    let mut object = loader.load(OBJECT)?;
    program(&mut object)?.load()?;
    Ok(object)
}

/// The program itself.
pub(super) fn program(object: &mut Ebpf) -> anyhow::Result<&mut SchedClassifier> {
    Ok(object
        .program_mut(maps::NOTHING)
        .context("the object has no empty program")?
        .try_into()?)
}

/// The empty program at both hooks of both pods.
fn empty(lab: &Lab, pods: &[LabPod; 2]) -> anyhow::Result<Ebpf> {
    let mut object = nothing()?;
    lab.node().inside(|| -> anyhow::Result<()> {
        let program = program(&mut object)?;
        for pod in pods {
            for way in [TcAttachType::Ingress, TcAttachType::Egress] {
                let order = TcAttachOptions::TcxOrder(LinkOrder::first());
                program.attach_with_options(&pod.host_interface, way, order)?;
            }
        }
        Ok(())
    })??;
    ensure!(object.programs().count() > 0, "the object has no programs");
    Ok(object)
}
