//! The look at the kernel that does not trust what was written: a thread reads the maps back and runs packets through a
//! double of the programs, again and again, at a low rate; the loop compares and puts right.
//!
//! The thread asks the loop for what is believed, works without holding it up, and tells what it saw. What it saw while
//! the loop wrote to the kernel counts for nothing; where that goes on for long, the loop looks for itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cellwall_datapath::image::Image;
use cellwall_datapath::kernel::{Maps, Options, Place};
use cellwall_datapath::selftest::{SelfTest, SelfTestError};
use cellwall_datapath::{Places, Witness, inspect_places, inspect_witnessed};
use cellwall_policy::generate::Dice;
use cellwall_policy::model::{Mode, Name};
use cellwall_policy::world::{Document, World};
use tokio::sync::{mpsc, oneshot};

use super::core::{Core, chain};
use super::faults::differing;
use super::probes::{Probe, sample};

/// Rest between two rounds.
const REST: Duration = Duration::from_millis(1_500);
/// Priority of the thread: where processors are busy with what pods do it gets about a tenth of one.
const STANDS_BACK: i32 = 10;
/// Packets of a round.
const PACKETS: usize = 24;
/// A round that took longer rests that many times as long, up to [`LONGEST`]: the thread then has a twentieth of a CPU.
const SHARE: u32 = 19;
/// Longest rest, so that what is wrong is found within 10 s, and a round that a write disturbed is tried again before the
/// loop looks for itself.
const LONGEST: Duration = Duration::from_secs(4);
/// After this long without a look that counts the loop looks for itself.
const OVERDUE: Duration = Duration::from_secs(6);
/// After the double could not be loaded it is tried again this much later.
const AGAIN: Duration = Duration::from_secs(30);
/// Disagreements that are told.
const TOLD: usize = 2;

/// What the thread has for the loop.
pub(super) enum Call {
    /// What is believed?
    Brief(oneshot::Sender<Brief>),
    /// This was seen.
    Seen(Box<Seen>),
}

/// What is believed at some moment.
pub(super) struct Brief {
    epoch: u64,
    places: Places,
    /// What the kernel is to decide by; none: nothing is in force that could be compared.
    world: Option<World>,
    pods: Vec<(u32, Name)>,
    rules: HashMap<Name, u32>,
}

/// What was seen.
pub(super) struct Seen {
    epoch: u64,
    maps: Result<Found, String>,
    probes: Probes,
}

/// What the maps held.
enum Found {
    /// The same as at the last look of the same epoch.
    Same,
    /// This, of this digest.
    Read(Box<Image>, String),
}

/// What became of the packets.
enum Probes {
    /// None was run.
    NotRun(String),
    Ran {
        packets: u64,
        differing: Vec<String>,
    },
}

/// What the loop knows from all looks.
#[derive(Debug)]
pub(super) struct Knowledge {
    /// Counts up whenever something may have been written.
    pub(super) epoch: u64,
    /// When the maps were last read back and compared.
    looked: Instant,
    /// Digest of what was read then.
    pub(super) hash: Option<String>,
    /// Why the maps cannot be read; none: they can.
    pub(super) unread: Option<String>,
    /// Why no packet was run; none: some were.
    pub(super) not_run: Option<String>,
    /// Packets judged so far.
    pub(super) probed: u64,
}

impl Default for Knowledge {
    fn default() -> Self {
        Self {
            epoch: 0,
            looked: Instant::now(),
            hash: None,
            unread: None,
            not_run: Some("no packet was run yet".to_owned()),
            probed: 0,
        }
    }
}

/// Starts the thread. It ends when the loop does.
pub(super) fn start(
    place: Place,
    options: Options,
    calls: mpsc::Sender<Call>,
    stop: Arc<AtomicBool>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("audit".to_owned()).spawn(move || {
        if let Err(error) = rustix::process::setpriority_process(None, STANDS_BACK) {
            tracing::debug!(%error, "the audit has the priority of everything else");
        }
        let mut auditor = Auditor {
            place,
            options,
            maps: None,
            witness: None,
            double: None,
            again: Instant::now(),
            dice: Dice::new(seed()),
        };
        let mut rest = REST;
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(rest);
            let (answer, brief) = oneshot::channel();
            if calls.blocking_send(Call::Brief(answer)).is_err() {
                return;
            }
            let Ok(brief) = brief.blocking_recv() else { continue };
            let began = Instant::now();
            let seen = auditor.look(&brief);
            rest = (began.elapsed() * SHARE).clamp(REST, LONGEST);
            if calls.blocking_send(Call::Seen(Box::new(seen))).is_err() {
                return;
            }
        }
    })
}

/// Another sample after each start.
fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap_or(0)
}

/// The thread's own.
struct Auditor {
    place: Place,
    options: Options,
    maps: Option<Maps>,
    /// Of the last look, and its epoch.
    witness: Option<(u64, Witness)>,
    double: Option<SelfTest>,
    again: Instant,
    dice: Dice,
}

impl Auditor {
    fn look(&mut self, brief: &Brief) -> Seen {
        let maps = self.read(brief);
        let probes = match &brief.world {
            Some(world) if !brief.pods.is_empty() => {
                let probes = sample(&mut self.dice, world, &brief.pods, &brief.rules, PACKETS);
                self.probe(&probes)
            }
            Some(_) => Probes::NotRun("no pod of this node is guarded".to_owned()),
            None => Probes::NotRun("no policy is in force yet".to_owned()),
        };
        Seen {
            epoch: brief.epoch,
            maps,
            probes,
        }
    }

    /// Reads the maps back. While nothing of ours was written since the last look, the same bytes say the same.
    fn read(&mut self, brief: &Brief) -> Result<Found, String> {
        let maps = match self.maps.take() {
            Some(maps) => maps,
            None => Maps::open(&self.place).map_err(|error| chain(&error))?,
        };
        let maps = self.maps.insert(maps);
        let witness = self.witness.take().filter(|(epoch, _)| *epoch == brief.epoch);
        if let Some((epoch, witness)) = witness
            && witness.holds(maps).map_err(|error| chain(&error))?
        {
            self.witness = Some((epoch, witness));
            return Ok(Found::Same);
        }
        let (image, witness) = inspect_witnessed(maps, &brief.places).map_err(|error| chain(&error))?;
        self.witness = Some((brief.epoch, witness));
        let digest = image.digest().to_string();
        Ok(Found::Read(Box::new(image), digest))
    }

    fn probe(&mut self, probes: &[Probe]) -> Probes {
        if self.double.is_none() {
            if Instant::now() < self.again {
                return Probes::NotRun("the programs could not be loaded a second time".to_owned());
            }
            match SelfTest::load(&self.place, &self.options) {
                Ok(double) => self.double = Some(double),
                Err(error) => {
                    self.again = Instant::now() + AGAIN;
                    return Probes::NotRun(chain(&error));
                }
            }
        }
        let Some(double) = &mut self.double else {
            return Probes::NotRun(String::new());
        };
        match run(double, probes) {
            Ok(ran) => ran,
            Err(error) => Probes::NotRun(chain(&error)),
        }
    }
}

fn run(double: &mut SelfTest, probes: &[Probe]) -> Result<Probes, SelfTestError> {
    double.forget()?;
    let (mut packets, mut differing) = (0, Vec::new());
    for probe in probes {
        let hook = probe.question.hook;
        let found = double.run(hook, probe.ifindex, &probe.packet, probe.expected);
        let found = match found {
            // The interface went away since the loop told of it.
            Err(SelfTestError::Run { .. }) if gone(probe.ifindex) => continue,
            found => found?,
        };
        packets += 1;
        let Some((dropped, said)) = found else { continue };
        let verdict = if dropped { "drop" } else { "pass" };
        let expected = if probe.expected.dropped { "Drop" } else { "Pass" };
        let rule = probe
            .rule
            .as_ref()
            .map_or_else(String::new, |rule| format!(" by rule {rule}"));
        let question = &probe.question;
        differing.push(format!(
            "interface index {} {hook}: {} to {} {}/{}: the programs {verdict} it ({said:?}), the policy says {expected}{rule}",
            probe.ifindex,
            probe.packet.source,
            probe.packet.destination,
            question.port.unwrap_or(0),
            question.protocol,
        ));
    }
    double.forget()?;
    Ok(Probes::Ran { packets, differing })
}

fn gone(ifindex: u32) -> bool {
    nix::net::if_::if_indextoname(ifindex).is_err()
}

impl Core {
    /// The audit's thread calls.
    pub(super) fn called(&mut self, call: Call) {
        match call {
            Call::Brief(answer) => match self.brief() {
                // A thread that is gone needs no answer.
                Ok(brief) => drop(answer.send(brief)),
                Err(error) => self.audit.unread = Some(error),
            },
            Call::Seen(seen) => self.seen(*seen),
        }
    }

    fn brief(&self) -> Result<Brief, String> {
        let image = self.realiser.image();
        let comparable = !self.fresh && self.refused.is_none();
        let known = |link: &cellwall_policy::compile::Link| {
            let guarded = self.guarded.contains(&link.ifindex) && image.interfaces.contains_key(&link.ifindex);
            Some((link.ifindex, link.pod.clone()?)).filter(|_| guarded)
        };
        Ok(Brief {
            epoch: self.audit.epoch,
            places: Places::of(image, self.instance.maps()).map_err(|error| chain(&error))?,
            world: comparable.then(|| self.judged_world()),
            pods: self.locals.links.iter().filter_map(known).collect(),
            rules: self
                .cards
                .iter()
                .map(|(slot, card)| (card.name.clone(), slot.0))
                .collect(),
        })
    }

    /// The world as the kernel is to judge it: where someone has to confirm first, Drop rules act as Alert.
    pub(super) fn judged_world(&self) -> World {
        let mut world = self.world.clone();
        let mut defense = world.defense();
        if self.recovery.is_waiting() && defense.mode == Mode::Enforce {
            defense.mode = Mode::AlertOnly;
            world.apply(Document::Defense(defense));
        }
        world
    }

    fn seen(&mut self, seen: Seen) {
        let Seen { epoch, maps, probes } = seen;
        if epoch != self.audit.epoch {
            if !self.fresh && self.audit.looked.elapsed() >= OVERDUE {
                self.look_now();
            }
            return;
        }
        match maps {
            // Until this process has put its first policy in force, what there is is the one before's.
            Ok(_) if self.fresh => {}
            Ok(Found::Same) => {
                self.audit.looked = Instant::now();
                self.audit.unread = None;
            }
            Ok(Found::Read(image, digest)) => self.compare(&image, digest),
            Err(why) => self.audit.unread = Some(why),
        }
        match probes {
            Probes::NotRun(why) => self.audit.not_run = Some(why),
            Probes::Ran { packets, differing } => {
                self.audit.not_run = None;
                self.audit.probed += packets;
                for text in differing.into_iter().take(TOLD) {
                    self.faults
                        .note("ProbePassed", "VerdictsDiffer", format!("{text}; please report it"));
                }
            }
        }
        self.tell();
    }

    /// Reads the maps in the loop: everything waits meanwhile.
    fn look_now(&mut self) {
        let places = Places::of(self.realiser.image(), self.instance.maps());
        match places.and_then(|places| inspect_places(self.instance.maps(), &places)) {
            Ok(image) => {
                let digest = image.digest().to_string();
                self.compare(&image, digest);
            }
            Err(error) => self.audit.unread = Some(chain(&error)),
        }
    }

    /// Compares what the maps hold with what was written, and puts right what somebody else changed.
    fn compare(&mut self, found: &Image, digest: String) {
        self.audit.looked = Instant::now();
        self.audit.unread = None;
        let believed = self.realiser.image();
        if believed == found {
            self.audit.hash = Some(digest);
            return;
        }
        let text = differing(&believed.diff(found));
        match self.put_back(found) {
            Ok(()) => self.faults.note(
                "PolicySynced",
                "Repaired",
                format!(
                    "the kernel's maps were changed by somebody else and were put right: {text}; find who writes to \
                     {} on this node",
                    self.instance.place().dir().display()
                ),
            ),
            Err(why) => self.faults.note(
                "PolicySynced",
                "MapsAltered",
                format!("the kernel's maps were changed by somebody else and cannot be put right ({why}): {text}"),
            ),
        }
    }

    fn put_back(&mut self, found: &Image) -> Result<(), String> {
        self.audit.epoch += 1;
        let active = self.realiser.image().active;
        if found.active != active {
            use cellwall_datapath::port::Kernel as _;
            let activated = self.instance.maps_mut().activate(active);
            activated.map_err(|error| chain(&error))?;
        }
        self.realiser
            .recover(self.instance.maps())
            .map_err(|error| chain(&error))?;
        let realised = self.realiser.realise(self.instance.maps_mut());
        realised.map_err(|error| chain(&error))?;
        let settled = self.realiser.settle(self.instance.maps_mut());
        settled.map_err(|error| chain(&error))?;
        if self.refused.is_none() {
            self.wanted = self.realiser.generation();
        }
        let places = Places::of(self.realiser.image(), self.instance.maps()).map_err(|error| chain(&error))?;
        let now = inspect_places(self.instance.maps(), &places).map_err(|error| chain(&error))?;
        if now != *self.realiser.image() {
            return Err(format!(
                "it differs still: {}",
                differing(&self.realiser.image().diff(&now))
            ));
        }
        self.audit.hash = Some(now.digest().to_string());
        Ok(())
    }
}
