//! Single runs of the programs in the kernel (`BPF_PROG_TEST_RUN`), over what the empty program takes.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use aya::programs::SchedClassifier;
use aya::{TestRun as _, TestRunOptions};
use cellwall_controller::lab::LabPod;
use cellwall_datapath::attach::Hook;
use nix::net::if_::if_nametoindex;

use super::filters::{Filter, Log, Stand, nothing, program};
use super::traffic::CLOSED;
use super::{Figure, Spread};
use crate::frames::make;

/// Bytes of a `__sk_buff`, and where the interface by which a packet came in, and the hook's, are in it.
const CONTEXT: usize = 192;
const INGRESS: usize = 36;
const IFINDEX: usize = 40;
/// What the programs answer for "go on with the next one", and for "drop".
const NEXT: u32 = u32::MAX;
const SHOT: u32 = 2;
/// Repeats of one run, and how many such runs.
const REPEAT: u32 = 100_000;
const ROUNDS: usize = 15;
/// Runs of which each has a packet of its own.
const SINGLE: u32 = 20_000;
/// Established flows for the cold figure: as many as two pods may have, nearly.
const FLOWS: u32 = 260_000;

/// A packet at a hook.
struct Shot {
    frame: Vec<u8>,
    context: [u8; CONTEXT],
}

/// One program with one way in.
struct Runner<'a> {
    program: &'a SchedClassifier,
    passes: bool,
}

impl Runner<'_> {
    /// Nanoseconds of a run.
    #[allow(clippy::cast_precision_loss, reason = "nanoseconds of a run")]
    fn run(&self, shot: &Shot, repeat: u32) -> anyhow::Result<f64> {
        let options = TestRunOptions {
            data_in: Some(&shot.frame),
            ctx_in: Some(&shot.context),
            repeat,
            ..TestRunOptions::new()
        };
        let done = self.program.test_run(options).context("BPF_PROG_TEST_RUN")?;
        let wanted = if self.passes { NEXT } else { SHOT };
        ensure!(
            done.return_value == wanted,
            "answered {:#x}, not {wanted:#x}",
            done.return_value
        );
        Ok(done.duration.as_nanos() as f64)
    }

    /// The same packet over and over.
    fn hot(&self, shot: &Shot, repeat: u32) -> anyhow::Result<Vec<f64>> {
        (0..ROUNDS)
            .map(|_| {
                let took = self.run(shot, repeat)?;
                // Records made meanwhile are to find room.
                std::thread::sleep(Duration::from_millis(25));
                Ok(took)
            })
            .collect()
    }
}

/// The pods' end of a stand.
struct Ends {
    pods: [LabPod; 2],
    interfaces: [u32; 2],
}

impl Ends {
    fn of(stand: &Stand) -> anyhow::Result<Self> {
        let [a, b] = stand.pods();
        let index = |name: &str| if_nametoindex(name).with_context(|| name.to_owned());
        Ok(Self {
            interfaces: [index(&a.host_interface)?, index(&b.host_interface)?],
            pods: stand.pods().clone(),
        })
    }

    /// A UDP datagram from one pod (0, 1) to the other, at a hook.
    fn shot(&self, hook: Hook, from: usize, v4: bool, ports: [u16; 2]) -> Shot {
        let to = 1 - from;
        let (interface, ingress) = match hook {
            Hook::FromPod => (self.interfaces[from], 0),
            Hook::ToPod => (self.interfaces[to], self.interfaces[from]),
        };
        let mut context = [0; CONTEXT];
        context[IFINDEX..IFINDEX + 4].copy_from_slice(&interface.to_ne_bytes());
        context[INGRESS..INGRESS + 4].copy_from_slice(&ingress.to_ne_bytes());
        let segment = make::udp(ports[0], ports[1], &[0; 18]);
        let (source, destination) = (self.pods[from].address(v4), self.pods[to].address(v4));
        let packet = make::ip(source, destination, 17, &segment);
        let frame = make::ethernet([2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 1], make::ethertype(source), &packet);
        Shot { frame, context }
    }
}

/// All figures that single runs give, on the stands of agents among these.
pub fn runs(stands: &[Stand]) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for stand in stands {
        let Filter::Cellwall(rules, log) = stand.filter else {
            continue;
        };
        stand.wake()?;
        let found = stand.node().inside(|| on(stand, rules, log))?;
        stand.rest()?;
        figures.extend(found.with_context(|| stand.filter.name())?);
    }
    Ok(figures)
}

fn on(stand: &Stand, rules: u32, log: Log) -> anyhow::Result<Vec<Figure>> {
    super::sockets::pin(0);
    let mut object = nothing()?;
    let empty = program(&mut object)?;
    let place = stand.place()?;
    let programs = [
        SchedClassifier::from_pin(place.program(Hook::FromPod))?,
        SchedClassifier::from_pin(place.program(Hook::ToPod))?,
    ];
    let bench = Bench {
        ends: Ends::of(stand)?,
        empty,
        programs: &programs,
    };
    match log {
        Log::Usual => {
            let mut figures = bench.new_flows(&format!("new flow, {rules} rules, no record"))?;
            if rules == 10_000 {
                figures.extend(bench.established()?);
                figures.extend(bench.denied()?);
            }
            Ok(figures)
        }
        Log::All => bench.new_flows(&format!("new flow with its record, {rules} rules")),
        Log::None => Ok(Vec::new()),
    }
}

struct Bench<'a> {
    ends: Ends,
    empty: &'a SchedClassifier,
    programs: &'a [SchedClassifier; 2],
}

impl Bench<'_> {
    fn runner(&self, hook: Hook, passes: bool) -> Runner<'_> {
        let program = &self.programs[usize::from(hook == Hook::ToPod)];
        Runner { program, passes }
    }

    fn nothing(&self) -> Runner<'_> {
        Runner {
            program: self.empty,
            passes: true,
        }
    }

    /// Above the empty program, run the same way.
    fn above(name: String, with: Vec<f64>, without: Vec<f64>) -> Figure {
        let empty = Spread::of(without).median;
        Figure::new(
            name,
            Spread::of(with.into_iter().map(|one| one - empty).collect()),
            "ns",
        )
    }

    fn hot(&self, name: &str, hook: Hook, passes: bool, shot: &Shot, repeat: u32) -> anyhow::Result<Figure> {
        let without = self.nothing().hot(shot, REPEAT)?;
        let with = self.runner(hook, passes).hot(shot, repeat)?;
        Ok(Self::above(name.to_owned(), with, without))
    }

    /// A packet of an established flow, at each hook, in each family; then of one of very many.
    fn established(&self) -> anyhow::Result<Vec<Figure>> {
        let mut figures = Vec::new();
        for v4 in [true, false] {
            let ports = [5_000, 6_000];
            self.open(0, v4, ports)?;
            for hook in [Hook::FromPod, Hook::ToPod] {
                let shot = self.ends.shot(hook, 0, v4, ports);
                let name = format!("established, hot, {}, {hook}", family(v4));
                figures.push(self.hot(&name, hook, true, &shot, REPEAT)?.at_most(35.0));
            }
        }
        figures.push(self.cold()?);
        Ok(figures)
    }

    /// Opens a flow from one pod (0, 1) to the other, and answers it.
    fn open(&self, from: usize, v4: bool, ports: [u16; 2]) -> anyhow::Result<()> {
        let runner = self.runner(Hook::FromPod, true);
        runner.run(&self.ends.shot(Hook::FromPod, from, v4, ports), 1)?;
        runner.run(&self.ends.shot(Hook::FromPod, 1 - from, v4, [ports[1], ports[0]]), 1)?;
        Ok(())
    }

    fn cold(&self) -> anyhow::Result<Figure> {
        let ports = |number: u32| [port(1_024, number % 60_000), port(20_000, number / 60_000)];
        let opener = |number: u32| usize::from(number % 2 == 1);
        for number in 0..FLOWS {
            self.open(opener(number), true, ports(number))?;
        }
        let shots = (0..SINGLE).map(|number| {
            let number = number.wrapping_mul(2_654_435_761) % FLOWS;
            self.ends.shot(Hook::FromPod, opener(number), true, ports(number))
        });
        self.each(format!("established, cold (one of {FLOWS}), IPv4"), true, &shots)
    }

    /// Packets of which each is run once.
    fn each(&self, name: String, passes: bool, shots: &(impl Iterator<Item = Shot> + Clone)) -> anyhow::Result<Figure> {
        let all = |runner: Runner<'_>| {
            let runs = shots.clone().enumerate().map(|(number, shot)| {
                if number % 5_000 == 0 {
                    std::thread::sleep(Duration::from_millis(25));
                }
                runner.run(&shot, 1)
            });
            runs.collect::<anyhow::Result<Vec<f64>>>()
        };
        let without = all(self.nothing())?;
        let with = all(self.runner(Hook::FromPod, passes))?;
        // The middle half: what the machine did besides is in neither.
        let empty = Spread::of(without).median;
        let quarter = |part| Spread::quantile(with.clone(), part) - empty;
        let value = Spread {
            median: quarter(0.5),
            low: quarter(0.25),
            high: quarter(0.75),
        };
        Ok(Figure::new(name, value, "ns"))
    }

    fn new_flows(&self, name: &str) -> anyhow::Result<Vec<Figure>> {
        [true, false]
            .into_iter()
            .map(|v4| {
                let shots = (0..SINGLE).map(|number| {
                    self.ends
                        .shot(Hook::FromPod, 0, v4, [port(1_024, number % 60_000), 7_999])
                });
                let figure = self.each(format!("{name}, {}", family(v4)), true, &shots)?;
                Ok(figure.at_most(1_000.0))
            })
            .collect()
    }

    /// A packet that is refused, told and kept each time.
    fn denied(&self) -> anyhow::Result<Vec<Figure>> {
        [true, false]
            .into_iter()
            .map(|v4| {
                let shot = self.ends.shot(Hook::FromPod, 0, v4, [5_000, CLOSED]);
                let name = format!("refused, with its record, {}", family(v4));
                self.hot(&name, Hook::FromPod, false, &shot, REPEAT / 20)
            })
            .collect()
    }
}

/// The port so many behind the first.
fn port(first: u16, number: u32) -> u16 {
    first + u16::try_from(number).unwrap_or(0)
}

const fn family(v4: bool) -> &'static str {
    if v4 { "IPv4" } else { "IPv6" }
}
