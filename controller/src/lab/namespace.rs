//! Network namespaces by name under /run/netns, as `ip netns` makes them.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, setns};

use super::LabError;

/// A network namespace, removed when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    kept: bool,
}

impl Namespace {
    /// Makes one; one of this name that an earlier run left is removed first.
    pub fn create(name: &str) -> Result<Self, LabError> {
        if std::path::Path::new("/run/netns").join(name).exists() {
            ip(&[format!("netns del {name}")])?;
        }
        ip(&[format!("netns add {name}")])?;
        Ok(Self {
            name: name.to_owned(),
            kept: false,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on a thread of its own inside the namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        inside(&self.name, work)
    }

    /// A command that runs inside the namespace, in the mount namespace of this process (so that the BPF file system
    /// is the same one).
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.name))
            .arg("--")
            .arg(program);
        command
    }

    /// Sets a value under /proc/sys, as this namespace sees it.
    pub fn sysctl(&self, name: &'static str, value: &'static str) -> Result<(), LabError> {
        self.inside(|| std::fs::write(format!("/proc/sys/{name}"), value))?
            .map_err(|source| LabError::Sysctl {
                netns: self.name.clone(),
                name,
                value,
                source,
            })
    }

    /// Leaves it in place.
    pub fn keep(mut self) -> String {
        self.kept = true;
        std::mem::take(&mut self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing can be done about a failure here; the next lab of this name removes what is left.
            let _ = ip(&[format!("netns del {}", self.name)]);
        }
    }
}

/// Runs `work` on a thread of its own inside the namespace `name`.
pub fn inside<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
    let enter = || {
        let file = File::open(format!("/run/netns/{name}"))?;
        setns(file, CloneFlags::CLONE_NEWNET).map_err(std::io::Error::from)
    };
    let done = std::thread::scope(|scope| {
        let thread = scope.spawn(|| enter().map(|()| work()));
        thread.join()
    });
    match done {
        Ok(result) => result.map_err(|source| LabError::Enter {
            name: name.to_owned(),
            source,
        }),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Runs commands of `ip`, in order, stopping at the first that fails. Each is a line of words.
pub(super) fn ip(commands: &[String]) -> Result<(), LabError> {
    for command in commands {
        let output = Command::new("ip")
            .args(command.split(' '))
            .stdin(Stdio::null())
            .output()
            .map_err(|source| LabError::Program { program: "ip", source })?;
        if !output.status.success() {
            let mut text = Vec::new();
            // Writing into memory does not fail.
            let _ = text.write_all(&output.stderr);
            let output = String::from_utf8_lossy(&text).trim().to_owned();
            return Err(LabError::Command {
                command: format!("ip {command}"),
                output,
            });
        }
    }
    Ok(())
}
