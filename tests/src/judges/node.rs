//! A node that four judges know: its world, what was compiled of it, and the two kernels that it was written to.

use cellwall_datapath::abi::switches;
use cellwall_datapath::apply::Realiser;
use cellwall_datapath::image::Image;
use cellwall_datapath::inspect;
use cellwall_datapath::memory::MemoryKernel;
use cellwall_policy::compile::{Compiler, Link};
use cellwall_policy::generate;
use cellwall_policy::model::{Mode, Name, Startup};
use cellwall_policy::world::{DocumentKey, World};

use super::live::Live;

/// Index of the interface whose pod is not known; those of pods follow.
pub const UNKNOWN: u32 = 1_000;
/// Most interfaces that a world may need.
pub const INTERFACES: u32 = 40;

/// A world in force, in memory and in the kernel.
pub struct Node<'a> {
    /// The world.
    pub world: World,
    /// Its maps in memory.
    pub memory: &'a mut MemoryKernel,
    /// The loaded programs and their maps, where they judge too.
    live: Option<(&'a mut Live, Realiser)>,
    compiler: Compiler,
    dry: Realiser,
}

impl<'a> Node<'a> {
    /// Puts `world` in force over what was: as a new process would, with new numbers.
    pub fn begin(world: World, memory: &'a mut MemoryKernel, live: Option<&'a mut Live>) -> anyhow::Result<Self> {
        let live = match live {
            Some(live) => {
                let realiser = Realiser::adopt(live.instance.maps())?;
                Some((live, realiser))
            }
            None => None,
        };
        let mut node = Self {
            world,
            compiler: Compiler::new(generate::LOCAL_NODE),
            dry: Realiser::adopt(memory)?,
            memory,
            live,
        };
        node.update(&[])?;
        Ok(node)
    }

    /// Changes the world, and puts it in force; `change` answers the keys that it touched.
    pub fn change(&mut self, change: impl FnOnce(&mut World) -> Vec<DocumentKey>) -> anyhow::Result<()> {
        let touched = change(&mut self.world);
        self.update(&touched)
    }

    fn update(&mut self, touched: &[DocumentKey]) -> anyhow::Result<()> {
        let next = self.dry.next_generation();
        let update = self.compiler.update(&self.world, touched, &links(&self.world), next);
        let switches = switches_of(&self.world);
        // Every passing flow is recorded.
        if let Some((live, wet)) = &mut self.live {
            assert_eq!(wet.next_generation(), next, "both kernels count alike");
            wet.want(update.changes.clone());
            wet.want_switches(switches, 1);
            wet.realise(live.instance.maps_mut())?;
        }
        self.dry.want(update.changes);
        self.dry.want_switches(switches, 1);
        self.dry.realise(self.memory)?;
        self.memory.take_journal();
        Ok(())
    }

    /// The loaded programs, where they judge too.
    pub fn live(&mut self) -> Option<&mut Live> {
        self.live.as_mut().map(|(live, _)| &mut **live)
    }

    /// What the maps in memory say.
    pub fn image(&self) -> anyhow::Result<Image> {
        Ok(inspect(self.memory)?)
    }
}

/// The switches of the world.
pub fn switches_of(world: &World) -> u32 {
    let defense = world.defense();
    let mode = match defense.mode {
        Mode::Enforce => 0,
        Mode::AlertOnly => switches::ALERT_ONLY,
        Mode::Off => switches::OFF,
    };
    let open = defense.startup == Startup::Open;
    mode | if open { switches::STARTUP_OPEN } else { 0 }
}

/// One interface for each local pod that lives and has one of its own, and one more.
pub fn links(world: &World) -> Vec<Link> {
    let local = world
        .pods()
        .filter(|pod| world.is_local(pod) && !pod.host_network && pod.phase.is_live());
    let known = local.map(|pod| (ifindex(&pod.uid), Some(pod.uid.clone())));
    let mut links: Vec<_> = known
        .chain([(UNKNOWN, None)])
        .map(|(ifindex, pod)| Link {
            ifindex,
            master: 0,
            pod,
            mac: [0; 6],
        })
        .collect();
    links.sort();
    links
}

/// Interface of a pod, the same as long as it lives: generated UIDs are numbered.
pub fn ifindex(uid: &Name) -> u32 {
    let number = uid.rsplit('-').next().and_then(|digits| digits.parse::<u32>().ok());
    let ifindex = UNKNOWN + 1 + number.expect("a generated UID ends in a number");
    assert!(ifindex < UNKNOWN + INTERFACES, "{uid} needs one more interface");
    ifindex
}
