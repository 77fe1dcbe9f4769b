//! Somebody else's program at a pod's interface: it ends the chain, so that whatever comes behind it is not asked.
//!
//! It is the embedded object under another name, with "next" made into "pass", on maps of its own whose mode is Off.

use aya::maps::Array;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader};
use cellwall_datapath::kernel::OBJECT;
use cellwall_datapath_common::{Active, switches};

/// Name of the program, as the kernel shows it: it keeps 15 characters.
pub const NAME: &str = "stranger_from_p";
/// The whole name.
const WHOLE: &str = "stranger_from_pod";
const OURS: &str = "cellwall_from_pod";

/// A stranger. What it has attached goes with it.
pub struct Stranger(Ebpf);

impl Stranger {
    /// Loads one.
    pub fn new() -> Self {
        let object = object();
        let coarse = 0_u8;
        let mut loaded = EbpfLoader::new()
            .btf(None)
            .override_global("COARSE_CLOCK", &coarse, false)
            .load(&object)
            .expect("the stranger's object");
        let active = loaded.map_mut("ACTIVE").expect("its switches");
        let mut active: Array<_, [u32; 4]> = Array::try_from(active).expect("an array");
        let Active {
            generation,
            switches,
            pass_sample,
            check,
        } = Active::sealed(1, switches::OFF, 0);
        active
            .set(0, [generation, switches, pass_sample, check], 0)
            .expect("its mode is Off");
        let mut stranger = Self(loaded);
        stranger.program().load().expect("the kernel takes it");
        stranger
    }

    fn program(&mut self) -> &mut SchedClassifier {
        let program = self.0.program_mut(WHOLE).expect("its program");
        program.try_into().expect("a TC program")
    }

    /// Its program's number in the kernel.
    pub fn id(&mut self) -> u32 {
        self.program().info().expect("its program's info").id()
    }

    /// Puts it at what the pod sends, ahead of all others or behind them. The calling thread is in the interface's
    /// namespace.
    pub fn attach(&mut self, interface: &str, ahead: bool) {
        let order = if ahead { LinkOrder::first() } else { LinkOrder::last() };
        let options = TcAttachOptions::TcxOrder(order);
        self.program()
            .attach_with_options(interface, TcAttachType::Ingress, options)
            .expect("it is attached");
    }

    /// Puts it into a pinned link, in the place of the program there.
    pub fn replace(&mut self, pin: &std::path::Path) {
        let link = FdLink::from(PinnedLink::from_pin(pin).expect("a pinned link"));
        let link = SchedClassifierLink::try_from(link).expect("a link of a TC program");
        let program = self.program();
        let id = program.attach_to_link(link).expect("the link takes it");
        // Pinned: it stays when our descriptor is closed.
        drop(program.take_link(id).expect("the link"));
    }
}

impl Default for Stranger {
    fn default() -> Self {
        Self::new()
    }
}

/// The object with another name, and "pass" for "next".
fn object() -> Vec<u8> {
    let mut object = OBJECT.to_vec();
    let mut named = 0;
    let mut ends = 0;
    for at in 0..object.len() - OURS.len() {
        if object[at..].starts_with(OURS.as_bytes()) {
            object[at..at + WHOLE.len()].copy_from_slice(WHOLE.as_bytes());
            named += 1;
        }
        // `r0 = 0xffffffff`, a load of 64 bits in two instructions, the second all zero.
        if object[at..].starts_with(&[0x18, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]) {
            object[at + 4..at + 8].fill(0);
            ends += 1;
        }
    }
    assert!(named > 0 && ends > 0, "names {named}, answers {ends}");
    object
}
