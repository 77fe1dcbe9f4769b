//! Where the programs judge: a network namespace with an interface of every index that a world may use, and the pins of
//! an instance, which go with it.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, ensure};
use cellwall_controller::lab::Namespace;
use cellwall_datapath::kernel::{Place, uninstall};

use super::node::{INTERFACES, UNKNOWN};

/// A namespace, and where the instance is that judges in it.
pub struct Lodging {
    /// The namespace.
    pub namespace: Namespace,
    /// The instance.
    pub place: Place,
}

impl Lodging {
    /// Makes one of its own.
    pub fn new() -> anyhow::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        ensure!(
            nix::unistd::geteuid().is_root(),
            "network namespaces and programs need root"
        );
        let name = format!("cwj{}n{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let namespace = Namespace::create(&name)?;
        let interface = |index: u32| {
            let inside = index + 1_000;
            format!("link add j{index} index {index} type veth peer name p{index} index {inside}\n")
        };
        let batch: Vec<String> = (UNKNOWN..UNKNOWN + INTERFACES).map(interface).collect();
        let mut ip = Command::new("ip")
            .args(["-n", &name, "-batch", "-"])
            .stdin(Stdio::piped())
            .spawn()?;
        ip.stdin
            .take()
            .context("a pipe")?
            .write_all(batch.concat().as_bytes())?;
        ensure!(ip.wait()?.success(), "interfaces cannot be made");
        let place = Place::new(&name)?;
        Ok(Self { namespace, place })
    }
}

impl Drop for Lodging {
    fn drop(&mut self) {
        // A failed test has said enough already.
        let _removed = uninstall(&self.place);
    }
}
