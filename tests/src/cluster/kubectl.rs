//! The real `kubectl`, as a user of the cluster calls it.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `kubectl` with one user's rights.
#[derive(Debug, Clone)]
pub struct Kubectl {
    pub(super) netns: PathBuf,
    pub(super) program: PathBuf,
    pub(super) kubeconfig: PathBuf,
    pub(super) cache: PathBuf,
}

/// What it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether it succeeded.
    pub done: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Answer {
    /// Standard output of what has to succeed.
    #[track_caller]
    pub fn expect(self, what: &str) -> String {
        assert!(self.done, "{what}: {}\n{}", self.err, self.out);
        self.out
    }

    /// Standard error of what has to be refused.
    #[track_caller]
    pub fn refused(self, what: &str) -> String {
        assert!(!self.done, "{what} was not refused: {}", self.out);
        self.err
    }
}

impl Kubectl {
    /// The configuration file that it uses.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A command that is not started yet, for what runs for long (`exec`, `get --watch`).
    pub fn command(&self, words: &[&str]) -> Command {
        let mut net = OsString::from("--net=");
        net.push(&self.netns);
        let mut command = Command::new("nsenter");
        command
            .arg(net)
            .arg("--")
            .arg(&self.program)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--cache-dir")
            .arg(&self.cache)
            .args(words);
        command
    }

    /// Another program with the same user's rights, where the API server can be reached.
    pub fn beside(&self, program: &Path, words: &[&str]) -> Command {
        let mut net = OsString::from("--net=");
        net.push(&self.netns);
        let mut command = Command::new("nsenter");
        command.arg(net).arg("--").arg(program).args(words);
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// Runs it.
    pub fn run(&self, words: &[&str]) -> Answer {
        self.feed(words, "")
    }

    /// Runs it with this text on standard input (`-f -`).
    pub fn feed(&self, words: &[&str], input: &str) -> Answer {
        let mut child = self
            .command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        let mut stdin = child.stdin.take().expect("it was piped");
        std::thread::scope(|scope| {
            // One that ends early does not read on; its answer says why.
            scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
            let output = child.wait_with_output().expect("kubectl can be waited for");
            Answer {
                done: output.status.success(),
                out: String::from_utf8_lossy(&output.stdout).into_owned(),
                err: String::from_utf8_lossy(&output.stderr).into_owned(),
            }
        })
    }

    /// `kubectl apply` of these manifests, which has to succeed.
    #[track_caller]
    pub fn apply(&self, manifests: &str) -> String {
        self.feed(&["apply", "--server-side", "-f", "-"], manifests)
            .expect("kubectl apply")
    }
}
