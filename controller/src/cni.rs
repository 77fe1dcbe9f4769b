//! The program as a chained CNI plugin: it makes no network, it waits until the kernel has the policy of the pod whose
//! network the plugins before it have made. No container of the pod has run by then, so that no packet of it is ever
//! judged by less than its policy.
//!
//! The runtime says in the environment what it wants (`CNI_COMMAND`) and writes the configuration to standard input;
//! the answer, a result or an error, goes to standard output as JSON. The specification is that of
//! <https://www.cni.dev/docs/spec/>, 1.1.0; older ones differ in nothing that is used here.

mod call;
mod config;
pub mod install;

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use cellwall_datapath::links::Links;
use serde_json::{Value, json};

pub use call::COMMAND;
pub use config::{LONGEST_TIMEOUT, TIMEOUT, WhenAway};

use call::{Call, Pod};
use config::Config;

use crate::api::client::{self, ClientError};
use crate::api::{Attached, Attachment, Request};

/// Versions of the specification that are spoken.
pub const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// What is asked again is asked after this pause at first, and after this one in the end.
const PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(200)];
/// Longest configuration that is read, in bytes.
const LONGEST: u64 = 4 << 20;

/// Why a call failed; its number is the specification's, or from 100 on our own.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message says it")]
pub enum CniError {
    #[error("CNI version {version:?} is not spoken; use one of {}", VERSIONS.join(", "))]
    Version { version: String },
    #[error("{variable} {what}")]
    Environment { variable: &'static str, what: String },
    #[error("standard input cannot be read: {what}")]
    Input { what: String },
    #[error("the configuration is not right: {what}")]
    Decode { what: String },
    #[error("{what}")]
    Config { what: String },
    #[error("the pod's interfaces cannot be found: {what}")]
    Interfaces { what: String },
    #[error("pod {pod}: {why}; nothing is wrong with the pod: the runtime tries again")]
    NotYet { pod: String, why: String },
    #[error("pod {pod} is refused: {why}")]
    Refused { pod: String, why: String },
    #[error("no agent answers: {why}")]
    Away { why: String },
}

impl CniError {
    fn code(&self) -> u32 {
        match self {
            Self::Version { .. } => 1,
            Self::Environment { .. } => 4,
            Self::Input { .. } => 5,
            Self::Decode { .. } => 6,
            Self::Config { .. } => 7,
            Self::NotYet { .. } => 11,
            Self::Away { .. } => 50,
            Self::Interfaces { .. } => 100,
            Self::Refused { .. } => 101,
        }
    }

    fn json(&self, version: &str) -> Value {
        json!({ "cniVersion": version, "code": self.code(), "msg": self.to_string(), "details": "cellwall" })
    }
}

/// Whether this process was started as a plugin.
pub fn is_called() -> bool {
    std::env::args_os().len() <= 1 && std::env::var_os(COMMAND).is_some()
}

/// Answers the call that is in the environment and on standard input; the exit code.
pub fn run() -> u8 {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(LONGEST).read_to_string(&mut text);
    let answer = match read {
        Ok(_) => answer(|name| std::env::var(name).ok(), &text),
        Err(error) => Err(CniError::Input {
            what: error.to_string(),
        }
        .json(newest())),
    };
    let (value, code) = match answer {
        Ok(None) => return 0,
        Ok(Some(value)) => (value, 0),
        Err(value) => (value, 1),
    };
    // A runtime that went away needs no answer.
    let _gone = writeln!(std::io::stdout(), "{value}");
    code
}

fn newest() -> &'static str {
    VERSIONS[VERSIONS.len() - 1]
}

/// The answer to one call: a result, none where there is nothing to say, or an error.
fn answer(variable: impl Fn(&str) -> Option<String>, text: &str) -> Result<Option<Value>, Value> {
    // In the runtime's own version, so that it reads even an error about that.
    let raw: Value = serde_json::from_str(text).unwrap_or_default();
    let version = raw["cniVersion"].as_str().unwrap_or("0.3.0").to_owned();
    let done = Call::read(variable).and_then(|call| match call {
        Call::Version => Ok(Some(json!({ "cniVersion": newest(), "supportedVersions": VERSIONS }))),
        call => {
            let config = Config::read(text)?;
            carry_out(&call, &config)
        }
    });
    done.map_err(|error| error.json(&version))
}

fn carry_out(call: &Call, config: &Config) -> Result<Option<Value>, CniError> {
    match call {
        Call::Add { netns, pod } => {
            let result = config.result()?;
            if let Some(pod) = pod {
                wait_in_force(config, &attachment(config, netns, pod)?, config.timeout)?;
            }
            Ok(Some(result))
        }
        Call::Check { netns, pod } => {
            config.result()?;
            if let Some(pod) = pod {
                wait_in_force(config, &attachment(config, netns, pod)?, Duration::ZERO)?;
            }
            Ok(None)
        }
        // Nothing was made that could be left: a pod's end is seen by its interface going.
        Call::Del | Call::Gc | Call::Version => Ok(None),
        Call::Status => match client::ask_all(&config.socket, &Request::Status) {
            Err(error) if config.when_away != WhenAway::Pass => Err(CniError::Away { why: error.to_string() }),
            _ => Ok(None),
        },
    }
}

/// The pod's interfaces on this side, as the kernel has them, whatever the plugins before call them.
fn attachment(config: &Config, netns: &Path, pod: &Pod) -> Result<Attachment, CniError> {
    let failed = |what: String| CniError::Interfaces { what };
    let place = netns.to_string_lossy();
    let mut links = Links::open().map_err(|error| failed(error.to_string()))?;
    let id = links.namespace(&place).map_err(|error| failed(error.to_string()))?;
    let host = links.list().map_err(|error| failed(error.to_string()))?;
    let ends = host.iter().filter(|link| link.kind == "veth");
    let ends = ends.filter(|link| link.peer.and_then(|peer| peer.namespace) == Some(id));
    let interfaces: std::collections::BTreeSet<u32> = ends.map(|link| link.ifindex).collect();
    if interfaces.is_empty() {
        return Err(failed(format!("no veth of this node leads to {place}")));
    }
    Ok(Attachment {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        interfaces,
        addresses: config.addresses()?,
    })
}

/// Asks until the pod's policy is in force, for so long at most; what then counts is what the configuration chose.
fn wait_in_force(config: &Config, attachment: &Attachment, patience: Duration) -> Result<(), CniError> {
    let deadline = Instant::now() + patience;
    let [mut pause, longest] = PAUSES;
    let pod = cellwall_crds::escaped(&format!("{}/{}", attachment.namespace, attachment.name));
    loop {
        let (why, away) = match ask(config, attachment) {
            Ok(Attached::InForce(_)) => return Ok(()),
            Ok(Attached::WaitsFor(why)) => (why, false),
            Err(ClientError::Failed { message }) => return Err(CniError::Refused { pod, why: message }),
            Err(error) => (error.to_string(), true),
        };
        let at_once = away && config.when_away != WhenAway::Wait;
        if !at_once && Instant::now() < deadline {
            std::thread::sleep(pause);
            pause = (pause * 2).min(longest);
            continue;
        }
        return match config.when_away {
            WhenAway::Pass => {
                eprintln!("cellwall: pod {pod} starts without its policy in force: {why}");
                Ok(())
            }
            WhenAway::Wait | WhenAway::Refuse => Err(CniError::NotYet { pod, why }),
        };
    }
}

fn ask(config: &Config, attachment: &Attachment) -> Result<Attached, ClientError> {
    let lines = client::ask_all(&config.socket, &Request::Attach(attachment.clone()))?;
    let answer = lines.into_iter().next().unwrap_or_default();
    serde_json::from_value(answer).map_err(|source| ClientError::NotJson { source })
}

#[cfg(test)]
mod tests;
