//! One program that a test started, and ends.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cellwall_controller::lab::Namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running program. Dropping it kills it, and nothing else; so does the end of the thread that started it, whatever
/// ended that.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// The command line of `program` inside `netns`, for [`Process::start`]: arguments and environment are the caller's.
    pub fn command(netns: &Namespace, program: &Path) -> Command {
        let mut command = netns.command("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    }

    /// Starts it; what it says is appended to `NAME.log` in `directory`.
    pub fn start(name: &str, mut command: Command, directory: &Path) -> Self {
        let log = directory.join(format!("{name}.log"));
        let open = || -> File {
            let opened = OpenOptions::new().create(true).append(true).open(&log);
            opened.unwrap_or_else(|error| panic!("{} cannot be written: {error}", log.display()))
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(open())
            .stderr(open())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self {
            name: name.to_owned(),
            child,
            log,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The last lines of what it said.
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(20)..].join("\n");
        format!("{} said last:\n{last}", self.name)
    }

    /// It stands still until it is told to [go on](Process::go_on), or killed.
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// It goes on.
    pub fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.id()).expect("a process id"));
        kill(id, signal).expect("a child takes signals");
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        // One that is gone already needs no killing.
        let _gone = self.child.kill();
        self.child.wait().expect("a child can be waited for");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
