//! What the runtime asks for, out of the environment.

use std::path::PathBuf;

use super::CniError;

/// The variable that says what to do.
pub const COMMAND: &str = "CNI_COMMAND";

/// One call of the plugin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// A container's network was made.
    Add {
        netns: PathBuf,
        /// None: no pod of Kubernetes.
        pod: Option<Pod>,
    },
    /// Is it as it should be?
    Check {
        netns: PathBuf,
        /// None: no pod of Kubernetes.
        pod: Option<Pod>,
    },
    /// It goes.
    Del,
    /// Is the plugin able to work?
    Status,
    /// What is not on the list has gone.
    Gc,
    /// Which versions are spoken?
    Version,
}

/// Which pod, as the kubelet tells the runtime and the runtime the plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

impl Call {
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, CniError> {
        let needed = |name: &'static str| {
            let value = variable(name).filter(|value| !value.is_empty());
            value.ok_or(CniError::Environment {
                variable: name,
                what: "is missing".to_owned(),
            })
        };
        let netns = || needed("CNI_NETNS").map(PathBuf::from);
        match needed(COMMAND)?.as_str() {
            "ADD" => {
                needed("CNI_CONTAINERID")?;
                needed("CNI_IFNAME")?;
                Ok(Self::Add {
                    netns: netns()?,
                    pod: Pod::read(&variable("CNI_ARGS").unwrap_or_default())?,
                })
            }
            "CHECK" => Ok(Self::Check {
                netns: netns()?,
                pod: Pod::read(&variable("CNI_ARGS").unwrap_or_default())?,
            }),
            "DEL" => Ok(Self::Del),
            "STATUS" => Ok(Self::Status),
            "GC" => Ok(Self::Gc),
            "VERSION" => Ok(Self::Version),
            other => Err(CniError::Environment {
                variable: COMMAND,
                what: format!("is {other:?}: not ADD, CHECK, DEL, STATUS, GC or VERSION"),
            }),
        }
    }
}

impl Pod {
    /// From `CNI_ARGS`, `NAME=VALUE;...`: all three of a pod's, or none of a namespace for what is no pod.
    fn read(arguments: &str) -> Result<Option<Self>, CniError> {
        let of = |name: &str| {
            let mut pairs = arguments.split(';').filter_map(|pair| pair.split_once('='));
            let found = pairs.find(|(key, value)| *key == name && !value.is_empty());
            found.map(|(_, value)| value.to_owned())
        };
        let missing = |name: &str| CniError::Environment {
            variable: "CNI_ARGS",
            what: format!(
                "has a pod's namespace and no {name}; use a container runtime that tells it (containerd 1.6, CRI-O 1.24)"
            ),
        };
        let Some(namespace) = of("K8S_POD_NAMESPACE") else {
            return Ok(None);
        };
        Ok(Some(Self {
            namespace,
            name: of("K8S_POD_NAME").ok_or_else(|| missing("K8S_POD_NAME"))?,
            uid: of("K8S_POD_UID").ok_or_else(|| missing("K8S_POD_UID"))?,
        }))
    }
}
