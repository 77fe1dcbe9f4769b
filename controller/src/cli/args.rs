// Long because: one command line, of which each flag is documented where it is parsed.
//! Arguments of every command. Names are fixed: scripts are written against them.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::styling::{AnsiColor, Styles};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use super::cni::CniArgs;
use crate::records::sink::Rotation;

/// Container microsegmentation in the kernel: who may open a connection to whom, at each pod's own interface.
#[derive(Debug, Parser)]
#[command(name = "cellwall", version, styles = STYLES, propagate_version = true, max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, unless a command's own help says otherwise.\n\n\
        Examples:\n  cellwall demo\n  cellwall check manifests/\n  cellwall run --manifests manifests/\n  \
        cellwall explain shop/web shop/db 5432/TCP\n  cellwall --all-nodes flows --verdict DROP")]
pub struct Cli {
    /// What applies to every command.
    #[command(flatten)]
    pub instance: InstanceArgs,
    /// Who is asked.
    #[command(flatten)]
    pub nodes: NodesArgs,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

impl Cli {
    /// Reads the arguments, the program's name first; what is wrong with them, as clap says it and with its exit code.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let cli = Self::try_parse_from(words)?;
        if let Command::Explain(args) = &cli.command {
            args.check()?;
        }
        Ok(cli)
    }
}

/// Whether every node's agent is asked.
#[derive(Debug, Clone, Args)]
pub struct NodesArgs {
    /// Ask the agents of all nodes, by exec into their pods: flows, refused, alerts, rules, objects, intercept-status
    #[arg(long, global = true)]
    pub all_nodes: bool,
    /// Namespace of the agents' pods, with --all-nodes
    #[arg(long, global = true, default_value = "cellwall-system", value_name = "NAMESPACE")]
    pub agents_namespace: String,
}

/// Which instance, and where it keeps its state.
#[derive(Debug, Clone, Args)]
pub struct InstanceArgs {
    /// Instance: pins lie under /sys/fs/bpf/NAME, the socket is /run/NAME/NAME.sock
    #[arg(long, global = true, default_value = "cellwall", value_name = "NAME", value_parser = instance_name)]
    pub instance: String,
    /// Directory of what survives restarts [default: /var/lib/NAME]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

impl InstanceArgs {
    /// The state directory, given or default.
    pub fn state_dir(&self) -> PathBuf {
        self.state_dir
            .clone()
            .unwrap_or_else(|| PathBuf::from("/var/lib").join(&self.instance))
    }

    /// The directory of the socket.
    pub fn run_dir(&self) -> PathBuf {
        PathBuf::from("/run").join(&self.instance)
    }

    /// The agent's socket.
    pub fn socket(&self) -> PathBuf {
        self.run_dir().join(format!("{}.sock", self.instance))
    }
}

/// A name becomes a path component under /run and the BPF file system.
fn instance_name(text: &str) -> Result<String, String> {
    let good = !text.is_empty()
        && text.len() <= 63
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        && !text.starts_with('-');
    if good {
        Ok(text.to_owned())
    } else {
        Err("write 1 to 63 letters, digits, '-' or '_', not beginning with '-'".to_owned())
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Guard this node's pods
    #[command(
        after_help = "Needs root. SIGTERM ends the agent within a second and leaves enforcement as it is.\n\nExamples:\n  \
        cellwall run --manifests /etc/cellwall\n  \
        cellwall run --kubernetes --node-name node-1\n  \
        cellwall run --manifests . --instance test --listen 127.0.0.1:9470 --flow-log flows.jsonl"
    )]
    Run(RunArgs),
    /// Are these manifests right?
    #[command(
        after_help = "Exit codes: 0 no errors (warnings are allowed), 1 errors or a broken expectation.\n\n\
        Examples:\n  cellwall check manifests/\n  cellwall check manifests/ --expect expectations.yaml\n\n\
        An expectations file is a list:\n  - {from: shop/web, to: shop/db, port: 5432, protocol: TCP, verdict: PASS}\n  \
        - {from: World, to: shop/db, port: 5432, verdict: DROP, rule: deny-db}"
    )]
    Check(CheckArgs),
    /// What would happen, and why?
    #[command(
        after_help = "Verdicts never change the exit code; a question without an answer makes it 1.\n\n\
        Examples:\n  cellwall explain shop/web shop/db 5432/TCP\n  cellwall explain 198.51.100.7 shop/web 443\n  \
        cellwall explain World shop/db 5432 --manifests manifests/\n  cellwall explain shop/web shop/db /47\n  \
        printf 'shop/web shop/db 5432\\n' | cellwall explain - --format json"
    )]
    Explain(ExplainArgs),
    /// Flow records, newest last
    #[command(after_help = "Examples:\n  cellwall flows --since 10m --verdict DROP\n  \
        cellwall flows --follow --pod shop/db --format json")]
    Flows(FlowsArgs),
    /// What was refused or alerted, folded by day and kept for 180 of them
    #[command(
        after_help = "One alert per source pod, destination pod, port, protocol, rule and UTC day. The counts of 24 hours, \
        30 and 180 days stand on top: alerts last tried in that time, and attempts made in it.\n\nExamples:\n  \
        cellwall alerts --since 24h\n  cellwall alerts --since 7d --pod shop/db --verdict DROP --format json"
    )]
    Alerts(AlertsArgs),
    /// A pod's last 64 refusals, kept in the kernel, whatever became of the log
    #[command(after_help = "Examples:\n  cellwall refused shop/web")]
    Refused(RefusedArgs),
    /// Every rule with what it did
    #[command(after_help = "Examples:\n  cellwall rules\n  cellwall rules --format json | jq 'select(.flows == 0)'")]
    Rules(ListArgs),
    /// Every object with what it selects now
    #[command(after_help = "Examples:\n  cellwall objects")]
    Objects(ListArgs),
    /// Does this node enforce, and if not, why?
    #[command(
        after_help = "Exit codes: 0 Normal, 1 Abnormal, 2 NormalToBeConfirmed, 3 no agent.\n\n\
        Examples:\n  cellwall intercept-status\n  cellwall intercept-status --format json"
    )]
    InterceptStatus(ListArgs),
    /// Confirm the policy in force, where the node waits for that
    #[command(
        after_help = "With `recovery: Manual` a node that was Abnormal is NormalToBeConfirmed afterwards: Drop rules act as \
        Alert until its generation is confirmed, here or by `confirmedGeneration` in ClusterDefense.\n\n\
        Examples:\n  cellwall confirm\n  cellwall confirm --generation 12"
    )]
    Confirm(ConfirmArgs),
    /// What the kernel holds; works with the agent stopped
    #[command(after_help = "Examples:\n  cellwall dump\n  cellwall dump --instance test | less")]
    Dump,
    /// Remove programs, pins and state: the only command that opens
    #[command(
        after_help = "On one node. From a cluster Cellwall is removed by `kubectl apply -k deploy/removal`, which does this \
        on every node.\n\nExamples:\n  cellwall uninstall\n  cellwall uninstall --yes --instance test"
    )]
    Uninstall(UninstallArgs),
    /// From the first packet: the plugin that has a pod wait for its policy
    #[command(
        after_help = "The container runtime calls this same program as a chained CNI plugin, with CNI_COMMAND in the \
        environment and without arguments.\n\nExamples:\n  cellwall cni install\n  cellwall cni uninstall"
    )]
    Cni(CniArgs),
    /// The CRD manifests, for `kubectl apply -f -`
    #[command(after_help = "Examples:\n  cellwall crds | kubectl apply -f -")]
    Crds,
    /// Real pods, real traffic, real verdicts, on this machine
    #[command(
        after_help = "Needs root and the program `ip` (iproute2): it makes network namespaces and loads programs into \
        the kernel, as an instance of its own, whatever --instance says. Leaves nothing behind.\n\
        Exit codes: 0 every verdict is what the manifests say, 1 one is not.\n\n\
        Examples:\n  cellwall demo\n  cellwall demo --keep"
    )]
    Demo(DemoArgs),
    /// Shell completions
    #[command(after_help = "Examples:\n  cellwall completions bash > /etc/bash_completion.d/cellwall")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// How a listing is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One object a line.
    Json,
}

/// `--format`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Table for people, or JSON, one object a line
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

impl ListArgs {
    /// Whether JSON is asked for.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }
}

/// `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Where policy and pods come from
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which node this is [default: the host name]
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Where flow records go, as JSON lines: a file, `-` for standard output, `none`
    #[arg(long, default_value = "-", value_name = "PATH")]
    pub flow_log: FlowLog,
    /// Bytes after which the flow log's file is put aside as PATH.1; 0: never for its size
    #[arg(long, default_value = "100M", value_name = "BYTES", value_parser = bytes)]
    pub flow_log_size: u64,
    /// Age at which it is put aside: `24h`, `7d` [default: none]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub flow_log_age: Option<std::time::Duration>,
    /// Files kept that were put aside
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub flow_log_keep: u32,
    /// Lines a second of one pod; what is beyond is told in one line per rule and reason. 0: no limit
    #[arg(long, default_value_t = 2_000, value_name = "N")]
    pub flow_log_lines: u32,
    /// Send records to a collector too: OpenTelemetry logs by OTLP over HTTP
    #[arg(long, value_name = "http://HOST:4318/v1/logs", value_parser = collector)]
    pub flow_log_otlp: Option<http::Uri>,
    /// Most bytes of alerts kept; the oldest go first
    #[arg(long, default_value = "256M", value_name = "BYTES", value_parser = bytes)]
    pub alerts_size: u64,
    /// Passing flows recorded too: none, all, or one in N as 1/N
    #[arg(long, default_value = "none", value_name = "none|all|1/N")]
    pub flow_log_pass: PassSample,
    /// Address of /healthz, /readyz, /intercept-status and /metrics; nothing else is served there
    #[arg(long, default_value = "127.0.0.1:9469", value_name = "ADDR:PORT")]
    pub listen: std::net::SocketAddr,
    /// The agent's own log, on standard error; RUST_LOG says how much of it (info)
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: LogFormat,
}

impl RunArgs {
    /// When the flow log's file is put aside.
    pub fn rotation(&self) -> Rotation {
        Rotation {
            size: self.flow_log_size,
            age: self.flow_log_age,
            keep: self.flow_log_keep,
        }
    }
}

/// Where policy and pods come from: one of the two.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct SourceArgs {
    /// A directory of manifests; watched
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// The API server: that of the pod's service account, or the one that $KUBECONFIG names
    #[arg(long)]
    pub kubernetes: bool,
}

/// Format of the agent's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Where flow records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlowLog {
    /// Standard output.
    Stdout,
    /// Nowhere.
    None,
    /// A file, appended to.
    File(PathBuf),
}

impl FromStr for FlowLog {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("write a path, `-` or `none`".to_owned()),
            "-" => Ok(Self::Stdout),
            "none" => Ok(Self::None),
            path => Ok(Self::File(path.into())),
        }
    }
}

/// Which passing flows are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassSample {
    /// None.
    None,
    /// One in this many; 1 is all.
    OneIn(NonZeroU32),
}

impl PassSample {
    /// As the kernel wants it: 0 none, N one in N.
    pub fn one_in(self) -> u32 {
        match self {
            Self::None => 0,
            Self::OneIn(n) => n.get(),
        }
    }
}

impl FromStr for PassSample {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = match text {
            "none" => return Ok(Self::None),
            "all" => "1",
            other => other.strip_prefix("1/").unwrap_or_default(),
        };
        number
            .parse()
            .map(Self::OneIn)
            .map_err(|_| "write `none`, `all` or `1/N` with N from 1 on".to_owned())
    }
}

/// `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Files and directories
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// A list of what must hold
    #[arg(long, value_name = "FILE")]
    pub expect: Option<PathBuf>,
    /// Which node judges [default: the host name]
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// How findings are printed
    #[command(flatten)]
    pub list: ListArgs,
}

/// `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// namespace/pod, an address, or an entity; `-` reads one question a line from standard input
    #[arg(value_name = "FROM")]
    pub from: String,
    /// namespace/pod, an address, or an entity
    #[arg(value_name = "TO")]
    pub to: Option<String>,
    /// Destination port and protocol: `443`, `53/UDP`, `/47`, `8/ICMP`
    #[arg(value_name = "PORT[/PROTOCOL]")]
    pub port: Option<String>,
    /// Answer from these manifests instead of the running agent
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// With --manifests: which node judges [default: the host name]
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// How answers are printed
    #[command(flatten)]
    pub list: ListArgs,
}

impl ExplainArgs {
    /// What clap cannot say: `-` stands alone, anything else has a TO.
    fn check(&self) -> Result<(), clap::Error> {
        let (kind, text) = match (self.from.as_str(), &self.to) {
            ("-", Some(_)) => (
                ErrorKind::ArgumentConflict,
                "`-` reads its questions from standard input; leave out TO",
            ),
            ("-", None) | (_, Some(_)) => return Ok(()),
            (_, None) => (
                ErrorKind::MissingRequiredArgument,
                "TO is missing: explain FROM TO [PORT[/PROTOCOL]]",
            ),
        };
        Err(Cli::command().error(kind, text))
    }
}

/// `flows`.
#[derive(Debug, Clone, Args)]
pub struct FlowsArgs {
    /// Go on as records arrive
    #[arg(long, short)]
    pub follow: bool,
    /// Only records this recent: `30s`, `10m`, `24h`, `7d`
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub since: Option<std::time::Duration>,
    /// Only this verdict
    #[arg(long, value_name = "VERDICT", ignore_case = true, value_parser = ["PASS", "ALERT", "DROP"])]
    pub verdict: Option<String>,
    /// Only flows from or to this pod
    #[arg(long, value_name = "NS/NAME", value_parser = pod_name)]
    pub pod: Option<String>,
    /// Only flows that this rule decided
    #[arg(long, value_name = "NAME")]
    pub rule: Option<String>,
    /// How records are printed
    #[command(flatten)]
    pub list: ListArgs,
}

/// `alerts`.
#[derive(Debug, Clone, Args)]
pub struct AlertsArgs {
    /// Only alerts last tried so recently: `24h`, `30d` [default: all that are kept]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub since: Option<std::time::Duration>,
    /// Only this verdict
    #[arg(long, value_name = "VERDICT", ignore_case = true, value_parser = ["ALERT", "DROP"])]
    pub verdict: Option<String>,
    /// Only from or to this pod
    #[arg(long, value_name = "NS/NAME", value_parser = pod_name)]
    pub pod: Option<String>,
    /// Only by this rule
    #[arg(long, value_name = "NAME")]
    pub rule: Option<String>,
    /// How alerts are printed
    #[command(flatten)]
    pub list: ListArgs,
}

/// `refused`.
#[derive(Debug, Args)]
pub struct RefusedArgs {
    /// The pod
    #[arg(value_name = "NS/POD", value_parser = pod_name)]
    pub pod: String,
    /// How refusals are printed
    #[command(flatten)]
    pub list: ListArgs,
}

/// `confirm`.
#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// Only if this generation decides: the one that you looked at [default: whichever does]
    #[arg(long, value_name = "N")]
    pub generation: Option<u32>,
}

/// `uninstall`.
#[derive(Debug, Args)]
pub struct UninstallArgs {
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Then let go of the API server's objects too: those that rules name can be deleted without an agent
    #[arg(long)]
    pub kubernetes: bool,
}

/// `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Leave pods and agent running, and say how to look at them and remove them
    #[arg(long)]
    pub keep: bool,
}

/// namespace/pod.
fn pod_name(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(text.to_owned())
        }
        _ => Err("write the pod as NAMESPACE/NAME".to_owned()),
    }
}

/// `100M`, `2G`: bytes, a whole number and perhaps a unit of 1024s.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || "write a number of bytes: 500000, 100M or 2G".to_owned();
    let (number, unit) = match text.strip_suffix(['K', 'M', 'G']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, ""),
    };
    let shift = match unit {
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => 0,
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// A collector's URL: with the path. Without TLS: a collector on the node is meant, which sends on as it likes.
fn collector(text: &str) -> Result<http::Uri, String> {
    let wrong = || "write the whole URL: http://HOST:4318/v1/logs".to_owned();
    let uri: http::Uri = text.parse().map_err(|_| wrong())?;
    if uri.scheme_str() == Some("http") && uri.host().is_some() && uri.path() != "/" {
        Ok(uri)
    } else {
        Err(wrong())
    }
}

/// `90s`, `10m`, `24h`, `7d`: a whole number and a unit.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || "write a number and a unit: 30s, 10m, 24h or 7d".to_owned();
    let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number
        .checked_mul(seconds)
        .map(std::time::Duration::from_secs)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests;
