//! Pods wired as a container runtime wires them: real CNI plugins, one after the other, and ours as the last of them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use cellwall_controller::lab::Namespace;
use serde_json::{Value, json};

use crate::agent::binary;

/// Where Debian keeps the plugins.
const PLUGINS: &str = "/usr/lib/cni";

/// A pod, as a runtime tells of it.
#[derive(Debug, Clone, Copy)]
pub struct Sandbox<'a> {
    /// Its network namespace, a name under /run/netns.
    pub netns: &'a str,
    /// namespace/name.
    pub pod: &'a str,
    /// Its UID.
    pub uid: &'a str,
}

/// A network configuration: the plugin that makes the interface, and ours behind it.
#[derive(Debug)]
pub struct Chain<'a> {
    node: &'a Namespace,
    main: Value,
    ours: Value,
    /// With ours at all.
    chained: bool,
    directory: PathBuf,
}

/// What a plugin answered: its exit code, and the JSON that it wrote.
pub type Answer = Result<Value, Value>;

impl<'a> Chain<'a> {
    /// On this node, with one of the plugins `bridge` and `ptp`, the agent's socket, and a directory for addresses in use.
    pub fn new(node: &'a Namespace, plugin: &str, socket: &Path, directory: &Path) -> Self {
        assert!(
            Path::new(PLUGINS).join(plugin).exists(),
            "{PLUGINS}/{plugin} is missing; `make setup` installs it (Debian package containernetworking-plugins)"
        );
        let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.244.7.0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}], "dataDir": directory.join("ipam")});
        Self {
            node,
            main: json!({"cniVersion": "1.0.0", "name": "pods", "type": plugin, "bridge": "cni0", "isGateway": true,
                "ipMasq": false, "ipam": ipam}),
            ours: json!({"cniVersion": "1.0.0", "name": "pods", "type": "cellwall", "socket": socket, "timeoutSeconds": 20}),
            chained: true,
            directory: directory.to_owned(),
        }
    }

    /// With another field of our configuration.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.ours[field] = value.into();
        self
    }

    /// Without our plugin.
    #[must_use]
    pub fn unchained(mut self) -> Self {
        self.chained = false;
        self
    }

    /// The pod's network is made. Answers the result of the last plugin.
    pub fn add(&self, sandbox: Sandbox<'_>) -> Answer {
        let made = self.main_adds(sandbox);
        if self.chained {
            self.ours("ADD", sandbox, &made)
        } else {
            Ok(made)
        }
    }

    /// The part of the plugin before ours.
    pub fn main_adds(&self, sandbox: Sandbox<'_>) -> Value {
        let program = Path::new(PLUGINS).join(self.main["type"].as_str().expect("a plugin"));
        let made = self.call(&program, "ADD", sandbox, &self.main);
        made.unwrap_or_else(|error| panic!("{}: {error}", program.display()))
    }

    /// Ours alone, behind what has been made.
    pub fn ours(&self, command: &str, sandbox: Sandbox<'_>, made: &Value) -> Answer {
        let mut config = self.ours.clone();
        config["prevResult"] = made.clone();
        self.call(&binary(), command, sandbox, &config)
    }

    /// The pod's network goes, the last plugin first.
    pub fn del(&self, sandbox: Sandbox<'_>) {
        if self.chained {
            self.ours("DEL", sandbox, &Value::Null).expect("DEL of ours");
        }
        let program = Path::new(PLUGINS).join(self.main["type"].as_str().expect("a plugin"));
        self.call(&program, "DEL", sandbox, &self.main).expect("DEL");
    }

    fn call(&self, program: &Path, command: &str, sandbox: Sandbox<'_>, config: &Value) -> Answer {
        let (namespace, name) = sandbox.pod.split_once('/').expect("namespace/name");
        let arguments = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_UID={}",
            sandbox.uid
        );
        let mut child = self
            .node
            .command(program)
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", sandbox.netns)
            .env("CNI_NETNS", format!("/run/netns/{}", sandbox.netns))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", PLUGINS)
            .env("CNI_ARGS", arguments)
            .current_dir(&self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the plugin starts");
        let mut input = child.stdin.take().expect("its input");
        // A plugin that does not read its configuration says so itself.
        let _unread = input.write_all(config.to_string().as_bytes());
        drop(input);
        let output = child.wait_with_output().expect("the plugin ends");
        let said = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        if output.status.success() { Ok(said) } else { Err(said) }
    }
}

/// The first address that a result tells.
pub fn address(result: &Value) -> std::net::IpAddr {
    let text = result["ips"][0]["address"].as_str().expect("an address");
    let (address, _) = text.split_once('/').expect("a prefix");
    address.parse().expect("an address")
}
