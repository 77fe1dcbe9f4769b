//! The plugin's part of a network configuration, and what the plugins before it made.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CniError, VERSIONS};

/// Where the agent of the default instance listens.
pub(super) const SOCKET: &str = "/run/cellwall/cellwall.sock";
/// How long a pod may take, in seconds.
pub const TIMEOUT: u64 = 10;
/// Longer than this the kubelet does not wait for a pod's network.
pub const LONGEST_TIMEOUT: u64 = 100;

/// What becomes of a pod that starts while no agent answers, or whose policy does not get in force in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum WhenAway {
    /// It waits for the agent as for its policy, and fails when the time is over: the kubelet tries again.
    #[default]
    Wait,
    /// It fails at once where no agent answers.
    Refuse,
    /// It starts: at once where no agent answers, after the time where its policy is late. `startup` judges it, or, where
    /// no agent has ever seen its interface, nothing.
    Pass,
}

/// The fields that are ours, and those of every plugin.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    cni_version: String,
    socket: Option<PathBuf>,
    timeout_seconds: Option<u64>,
    #[serde(default)]
    when_away: WhenAway,
    prev_result: Option<Value>,
}

/// A configuration that is right.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) socket: PathBuf,
    pub(super) timeout: Duration,
    pub(super) when_away: WhenAway,
    version: String,
    previous: Option<Value>,
}

impl Config {
    pub(super) fn read(text: &str) -> Result<Self, CniError> {
        let fields: Fields = serde_json::from_str(text).map_err(|error| CniError::Decode {
            what: error.to_string(),
        })?;
        if !VERSIONS.contains(&fields.cni_version.as_str()) {
            return Err(CniError::Version {
                version: fields.cni_version,
            });
        }
        let seconds = fields.timeout_seconds.unwrap_or(TIMEOUT);
        if !(1..=LONGEST_TIMEOUT).contains(&seconds) {
            return Err(CniError::Config {
                what: format!("timeoutSeconds is {seconds}: write 1 to {LONGEST_TIMEOUT}"),
            });
        }
        Ok(Self {
            socket: fields.socket.unwrap_or_else(|| SOCKET.into()),
            timeout: Duration::from_secs(seconds),
            when_away: fields.when_away,
            version: fields.cni_version,
            previous: fields.prev_result,
        })
    }

    /// What the plugins before have made, which is what this one answers too.
    pub(super) fn result(&self) -> Result<Value, CniError> {
        let mut result = self.previous.clone().ok_or_else(|| CniError::Config {
            what: "there is no prevResult: put this plugin behind the one that makes the pod's interface".to_owned(),
        })?;
        let Some(fields) = result.as_object_mut() else {
            return Err(CniError::Decode {
                what: "prevResult is no object".to_owned(),
            });
        };
        fields.insert("cniVersion".to_owned(), self.version.as_str().into());
        Ok(result)
    }

    /// The addresses in it.
    pub(super) fn addresses(&self) -> Result<BTreeSet<IpAddr>, CniError> {
        let listed = self.previous.as_ref().and_then(|result| result["ips"].as_array());
        let addresses = listed.into_iter().flatten().map(|ip| {
            let text = ip["address"].as_str().unwrap_or_default();
            let address = text.split_once('/').map_or(text, |(address, _)| address);
            address.parse().map_err(|_| CniError::Decode {
                what: format!("prevResult has the address {text:?}, which is none"),
            })
        });
        addresses.collect()
    }
}
