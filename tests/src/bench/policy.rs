//! How long changes of policy take, from documents in hand to the flip in the kernel's maps, and what all of it takes in
//! memory. Each size runs in a process of its own, so that memory is its own too.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cellwall_datapath::apply::Realiser;
use cellwall_datapath::kernel::{Instance, Maps, Options, Place, uninstall};
use cellwall_datapath::port::{Entries, Kernel, KernelError, MapName, Reads};
use cellwall_datapath_common::Active;
use cellwall_policy::compile::Compiler;
use cellwall_policy::generate::Scale;
use cellwall_policy::world::DocumentKey;

use super::{Figure, Spread};
use crate::memory;

/// What is compiled and written.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Sizes {
    /// Pods of the cluster
    #[arg(long, default_value_t = 10_000)]
    pub pods: usize,
    /// Rules
    #[arg(long, default_value_t = 10_000)]
    pub rules: usize,
    /// Changes of each kind
    #[arg(long, default_value_t = 200)]
    pub changes: usize,
}

/// Every figure of several numbers of pods.
pub fn policy(pods: &[usize], changes: usize) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for pods in pods {
        let own = std::env::current_exe()?;
        let output = Command::new(own)
            .args(["policy", "--pods", &pods.to_string(), "--changes", &changes.to_string()])
            .stderr(Stdio::inherit())
            .output()?;
        ensure!(output.status.success(), "the figures of {pods} pods: {}", output.status);
        figures.extend(serde_json::from_slice::<Vec<Figure>>(&output.stdout).context("figures as JSON")?);
    }
    Ok(figures)
}

impl Sizes {
    /// Measures these sizes in this process.
    pub fn measure(self) -> anyhow::Result<Vec<Figure>> {
        super::sockets::pin(0);
        let place = Place::new(&format!("cwbench-{}", std::process::id()))?;
        let done = self.on(&place);
        uninstall(&place)?;
        done
    }

    fn on(self, place: &Place) -> anyhow::Result<Vec<Figure>> {
        let Self { pods, rules, .. } = self;
        let empty = resident();
        let scale = Scale::new(pods, rules, false);
        let world = resident();
        let mut bench = Bench::open(scale, place)?;
        let began = Instant::now();
        let first = bench.compiler.update(&bench.scale.world, &[], &bench.scale.links, 1);
        let compiled = began.elapsed();
        let with_all = resident();
        let began = Instant::now();
        bench.realiser.want(first.changes);
        let report = bench.realiser.realise(bench.instance.maps_mut())?;
        let written = began.elapsed();
        bench.settle()?;
        let of = format!("{pods} pods × {rules} rules");
        let big = pods >= 100_000;
        let bar = |figure: Figure, most| if big { figure.at_most(most) } else { figure };
        let mut figures = vec![
            bar(
                Figure::one(format!("{of}: compiled from nothing"), ms(compiled), "ms"),
                2_000.0,
            ),
            Figure::one(
                format!("{of}: compiled, for each pod"),
                ms(compiled) * 1e6 / number(pods),
                "ns",
            ),
            Figure::one(
                format!("{of}: written into empty maps ({} writes)", report.total()),
                ms(written),
                "ms",
            ),
            Figure::one(
                format!("{of}: memory of the documents"),
                mib(world - empty.min(world)),
                "MiB",
            ),
            bar(
                Figure::one(
                    format!("{of}: memory of documents and compiled state, all changes at hand"),
                    mib(with_all),
                    "MiB",
                ),
                200.0,
            ),
            Figure::one(format!("{of}: memory of the maps"), mib(memory::of_maps(place)), "MiB"),
        ];
        figures.extend(bench.changes(self.changes, &of)?);
        drop(bench);
        Ok(figures)
    }
}

/// What a change took, in milliseconds.
struct Realised {
    /// From documents in hand to the flip.
    took: f64,
    /// Compiling, of it.
    compiled: f64,
    /// The kernel's calls, of it.
    written: f64,
    /// With what is left to do behind the flip: the cards of rules, and the agent's own memory of it.
    whole: f64,
    /// Entries written.
    writes: u64,
}

/// The kernel's maps, and the time that calls of them took.
struct Timed<'a> {
    kernel: &'a mut Maps,
    spent: Duration,
    /// When the last flip was done, and what had been spent by then.
    flipped: Option<(Instant, Duration)>,
}

impl Timed<'_> {
    fn call<T>(&mut self, call: impl FnOnce(&mut Maps) -> T) -> T {
        let began = Instant::now();
        let answer = call(self.kernel);
        self.spent += began.elapsed();
        answer
    }
}

impl Reads for Timed<'_> {
    fn capacity(&self, map: MapName) -> Result<u32, KernelError> {
        self.kernel.capacity(map)
    }

    fn lookup(&self, map: MapName, key: &[u8]) -> Result<Option<Vec<u8>>, KernelError> {
        self.kernel.lookup(map, key)
    }

    fn visit(&self, map: MapName, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), KernelError> {
        self.kernel.visit(map, visit)
    }
}

impl Kernel for Timed<'_> {
    fn update(&mut self, entries: &Entries) -> Result<(), KernelError> {
        self.call(|kernel| kernel.update(entries))
    }

    fn delete(&mut self, keys: &Entries) -> Result<(), KernelError> {
        self.call(|kernel| kernel.delete(keys))
    }

    fn zero(&mut self, map: MapName, indices: &[u32]) -> Result<(), KernelError> {
        self.call(|kernel| kernel.zero(map, indices))
    }

    fn set(&mut self, map: MapName, index: u32, values: &[u8]) -> Result<(), KernelError> {
        self.call(|kernel| kernel.set(map, index, values))
    }

    fn activate(&mut self, active: Active) -> Result<(), KernelError> {
        self.call(|kernel| kernel.activate(active))?;
        self.flipped = Some((Instant::now(), self.spent));
        Ok(())
    }

    fn grace(&mut self) -> Result<(), KernelError> {
        self.call(Maps::grace)
    }
}

/// A cluster, what was compiled of it, and the kernel.
struct Bench {
    scale: Scale,
    compiler: Compiler,
    instance: Instance,
    realiser: Realiser,
}

impl Bench {
    fn open(scale: Scale, place: &Place) -> anyhow::Result<Self> {
        let (instance, _) = Instance::open(place.clone(), Options::default())?;
        let realiser = Realiser::adopt(instance.maps())?;
        Ok(Self {
            scale,
            compiler: Compiler::new("node-0"),
            instance,
            realiser,
        })
    }

    fn settle(&mut self) -> anyhow::Result<()> {
        self.realiser.settle(self.instance.maps_mut())?;
        Ok(())
    }

    /// Realises a world in which these changed.
    fn realise(&mut self, touched: &[DocumentKey]) -> anyhow::Result<Realised> {
        let began = Instant::now();
        let generation = self.realiser.next_generation();
        let update = self
            .compiler
            .update(&self.scale.world, touched, &self.scale.links, generation);
        let compiled = ms(began.elapsed());
        self.realiser.want(update.changes);
        let mut kernel = Timed {
            kernel: self.instance.maps_mut(),
            spent: Duration::ZERO,
            flipped: None,
        };
        let report = self.realiser.realise(&mut kernel)?;
        // Where nothing was to be changed there is no flip.
        let (flipped, spent) = kernel.flipped.unwrap_or_else(|| (Instant::now(), kernel.spent));
        let (took, written) = (ms(flipped.duration_since(began)), ms(spent));
        let whole = ms(began.elapsed());
        // Waited for by the agent, too, after each change.
        self.settle()?;
        Ok(Realised {
            took,
            compiled,
            written,
            whole,
            writes: report.total() as u64,
        })
    }

    fn changes(&mut self, count: usize, of: &str) -> anyhow::Result<Vec<Figure>> {
        let pod = self.many(
            count,
            |scale, odd| if odd { scale.pod_comes() } else { scale.pod_goes() },
        )?;
        let label = self.many(count, Scale::pod_changes)?;
        let rule = self.many(count, Scale::rule_changes)?;
        let object = self.many(count / 4, |scale, _| scale.object_changes())?;
        let mut figures = Vec::new();
        for (what, (times, writes), most) in [
            ("a pod comes or goes", pod, 50.0),
            ("a pod gets other labels", label, 50.0),
            ("a rule changes", rule, 10.0),
            ("an object changes", object, f64::INFINITY),
        ] {
            let name = format!("{of}: {what}, to the flip");
            let median = Figure::new(
                format!("{name} (median of {count}, {writes} writes)"),
                Spread::of(times.clone()),
                "ms",
            );
            figures.push(if what.starts_with("a rule") {
                median.at_most(1.0)
            } else {
                median
            });
            let p99 = Figure::one(format!("{name} (99 in 100)"), Spread::quantile(times, 0.99), "ms");
            figures.push(if most.is_finite() { p99.at_most(most) } else { p99 });
        }
        Ok(figures)
    }

    /// Changes one after the other: the time of each, and the median of their writes.
    fn many(
        &mut self,
        count: usize,
        change: impl Fn(&mut Scale, bool) -> DocumentKey,
    ) -> anyhow::Result<(Vec<f64>, u64)> {
        let (mut times, mut writes) = (Vec::new(), Vec::new());
        for round in 0..count {
            let key = change(&mut self.scale, round % 2 == 0);
            let Realised {
                took, writes: written, ..
            } = self.realise(&[key])?;
            times.push(took);
            writes.push(written);
        }
        writes.sort_unstable();
        Ok((times, writes.get(count / 2).copied().unwrap_or(0)))
    }
}

/// A policy of ten thousand entries, one for each of as many peers, of which every one changes at once.
pub fn replaced(rounds: usize) -> anyhow::Result<Vec<Figure>> {
    let place = Place::new(&format!("cwbench-{}", std::process::id()))?;
    let done = replaced_on(&place, rounds);
    uninstall(&place)?;
    done
}

fn replaced_on(place: &Place, rounds: usize) -> anyhow::Result<Vec<Figure>> {
    const ENTRIES: usize = 10_000;
    let mut bench = Bench::open(Scale::singles(ENTRIES), place)?;
    bench.realise(&[])?;
    let mut all = Vec::new();
    for _ in 0..rounds {
        let touched = bench.scale.all_rules_turn();
        all.push(bench.realise(&touched)?);
    }
    let writes = all.last().map_or(0, |last| last.writes);
    let name = format!("a policy of {ENTRIES} entries replaced by another ({writes} writes), to the flip");
    let spread = |of: fn(&Realised) -> f64| Spread::of(all.iter().map(of).collect());
    Ok(vec![
        Figure::new(&name, spread(|one| one.took), "ms").at_most(5.0),
        Figure::new(format!("{name}: compiling of it"), spread(|one| one.compiled), "ms"),
        Figure::new(
            format!("{name}: drawing up the writes"),
            spread(|one| one.took - one.compiled - one.written),
            "ms",
        ),
        Figure::new(format!("{name}: the kernel's calls"), spread(|one| one.written), "ms"),
        Figure::new(
            format!("{name}: with what is left to do behind it"),
            spread(|one| one.whole),
            "ms",
        ),
    ])
}

/// Resident memory of this process.
fn resident() -> u64 {
    memory::resident(std::process::id())
}

pub(super) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[allow(clippy::cast_precision_loss, reason = "sizes of memory")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[allow(clippy::cast_precision_loss, reason = "numbers of pods")]
fn number(count: usize) -> f64 {
    count as f64
}
