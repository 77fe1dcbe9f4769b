//! `--all-nodes`: a question to every agent of a cluster, through the API server's exec into the agents' pods. No port is
//! open for it; who may ask is who may exec there.

use std::ffi::OsString;
use std::pin::pin;

use anyhow::{Context, Result, bail};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{Api, AttachParams, ListParams};
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::args::{Cli, Command};
use super::output::{clean, line};
use crate::json_line;

/// What the pods of agents are labelled with.
const AGENTS: &str = "app.kubernetes.io/name=cellwall,app.kubernetes.io/component=agent";
/// The program in their image.
const PROGRAM: &str = "/cellwall";
/// Exit code where an agent gave none.
const FAILED: u8 = 1;

/// A pod that runs an agent.
struct Agent {
    pod: String,
    node: String,
}

/// Asks every agent what the command line `words` asks, and prints what they say: JSON lines as they come, each with its
/// node; tables one node after the other. Answers the largest of their exit codes.
pub fn run(cli: &Cli, words: &[OsString]) -> Result<u8> {
    let streams = match &cli.command {
        Command::Flows(args) => args.follow || args.list.is_json(),
        Command::Alerts(args) => args.list.is_json(),
        Command::Refused(args) => args.list.is_json(),
        Command::Rules(list) | Command::Objects(list) | Command::InterceptStatus(list) => list.is_json(),
        _ => bail!("--all-nodes goes with flows, refused, alerts, rules, objects and intercept-status"),
    };
    let question = question(words)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ask(&cli.nodes.agents_namespace, &question, streams))
}

/// The command for a pod: the same without what says to ask all.
fn question(words: &[OsString]) -> Result<Vec<String>> {
    let mut question = vec![PROGRAM.to_owned()];
    let mut words = words.iter().skip(1);
    while let Some(word) = words.next() {
        let word = word.to_str().context("an argument is not UTF-8")?;
        match word {
            "--all-nodes" => {}
            "--agents-namespace" => drop(words.next()),
            _ if word.starts_with("--agents-namespace=") => {}
            _ => question.push(word.to_owned()),
        }
    }
    Ok(question)
}

async fn ask(namespace: &str, question: &[String], streams: bool) -> Result<u8> {
    let client = Client::try_default()
        .await
        .context("no API server is known: set KUBECONFIG")?;
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let found = pods.list(&ListParams::default().labels(AGENTS)).await;
    let found = found.with_context(|| format!("the agents in namespace {namespace} cannot be listed"))?;
    let mut agents: Vec<Agent> = found.iter().filter_map(agent).collect();
    agents.sort_by(|a, b| a.node.cmp(&b.node));
    if agents.is_empty() {
        bail!("no agent runs in namespace {namespace}; say --agents-namespace where it is another");
    }
    let mut answers: FuturesUnordered<_> = agents
        .iter()
        .map(|agent| one(&pods, agent, question, streams))
        .collect();
    let mut said = Vec::new();
    while let Some(answer) = answers.next().await {
        said.push(answer);
    }
    said.sort_by(|(a, _), (b, _)| a.node.cmp(&b.node));
    let mut worst = 0;
    for (agent, answer) in said {
        let node = clean(&agent.node);
        let code = match answer {
            Ok(Said { text, error, code }) => {
                if !streams {
                    line(&format!("{node}:"))?;
                    line(text.trim_end())?;
                }
                for told in error.lines() {
                    eprintln!("{node}: {}", clean(told));
                }
                code
            }
            Err(error) => {
                eprintln!("{node}: cellwall: {error:#}");
                FAILED
            }
        };
        worst = worst.max(code);
    }
    Ok(worst)
}

fn agent(pod: &Pod) -> Option<Agent> {
    let running = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    let node = pod.spec.as_ref()?.node_name.clone()?;
    running.then(|| Agent {
        pod: pod.name_any(),
        node,
    })
}

/// What an agent's command wrote and how it ended.
struct Said {
    text: String,
    error: String,
    code: u8,
}

async fn one<'a>(pods: &Api<Pod>, agent: &'a Agent, question: &[String], streams: bool) -> (&'a Agent, Result<Said>) {
    (agent, exec(pods, agent, question, streams).await)
}

async fn exec(pods: &Api<Pod>, agent: &Agent, question: &[String], streams: bool) -> Result<Said> {
    let how = AttachParams::default().stdin(false).stdout(true).stderr(true);
    let mut process = pods
        .exec(&agent.pod, question, &how)
        .await
        .context("exec into the agent's pod")?;
    let status = process.take_status().context("the API server tells no status")?;
    let out = process.stdout().context("the API server tells no output")?;
    let mut err = process.stderr().context("the API server tells no errors")?;
    let told = async {
        let mut text = String::new();
        let (mut out, mut one) = (BufReader::new(out), Vec::new());
        while out.read_until(b'\n', &mut one).await? > 0 {
            let said = harmless(&one, streams.then_some(&agent.node))?;
            if streams {
                line(&said)?;
            } else {
                text.push_str(&said);
                text.push('\n');
            }
            one.clear();
        }
        anyhow::Ok(text)
    };
    let failed = async {
        let mut bytes = Vec::new();
        let read = err.read_to_end(&mut bytes).await;
        read.map(|_| String::from_utf8_lossy(&bytes).into_owned())
    };
    let (told, failed) = (pin!(told), pin!(failed));
    let (text, error) = futures::join!(told, failed);
    Ok(Said {
        text: text?,
        error: error?,
        code: exit_code(status.await.as_ref()),
    })
}

/// A line that a pod wrote, fit for a terminal, whatever that pod is. Of JSON lines each gets the node it comes from.
fn harmless(line: &[u8], node: Option<&String>) -> Result<String> {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\n', '\r']);
    match node.map(|node| (node, serde_json::from_str::<Value>(text))) {
        Some((node, Ok(Value::Object(mut row)))) => {
            row.entry("node").or_insert_with(|| node.clone().into());
            Ok(json_line::text(&row)?)
        }
        _ => Ok(clean(text)),
    }
}

/// The exit code that the API server tells of a command.
fn exit_code(status: Option<&Status>) -> u8 {
    let Some(status) = status else { return FAILED };
    if status.status.as_deref() == Some("Success") {
        return 0;
    }
    let causes = status.details.as_ref().and_then(|details| details.causes.as_ref());
    let code = causes
        .into_iter()
        .flatten()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    code.and_then(|cause| cause.message.as_deref()?.parse().ok())
        .unwrap_or(FAILED)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{StatusCause, StatusDetails};

    use super::*;

    #[test]
    fn an_agent_is_asked_the_same_without_the_flag() {
        let words = [
            "cellwall",
            "--all-nodes",
            "flows",
            "--agents-namespace",
            "other",
            "--pod",
            "a/b",
        ];
        let words: Vec<OsString> = words.iter().map(Into::into).collect();
        assert_eq!(question(&words).unwrap(), ["/cellwall", "flows", "--pod", "a/b"]);
    }

    #[test]
    fn what_a_hostile_pod_says_for_its_agent_moves_no_terminals_cursor() {
        let node = "n-1".to_owned();
        let escapes = "{\"rule\":\"\\u001b[2J\\u009b31m\\u202e\",\"\u{9b}\u{7f}\":[\"\u{202e}\"]}\r\n";
        let long = format!("\u{1b}]0;{}\u{7}", "x".repeat(10_240));
        let raw = [b"\x1b[31m\xff\xfe \xc3( \x9b".as_slice(), b"\n"].concat();
        let deep = "[".repeat(10_000);
        for said in [escapes.as_bytes(), long.as_bytes(), &raw, deep.as_bytes(), b"\0\x08\r"] {
            for node in [None, Some(&node)] {
                let told = harmless(said, node).unwrap();
                assert!(!told.chars().any(cellwall_crds::is_invisible), "{told:?}");
            }
        }
        let told: Value = serde_json::from_str(&harmless(escapes.as_bytes(), Some(&node)).unwrap()).unwrap();
        assert_eq!(told["rule"], "\u{1b}[2J\u{9b}31m\u{202e}", "the same text all the same");
        assert_eq!(told["node"], "n-1");
        assert_eq!(
            harmless(&raw, None).unwrap(),
            "\\u{1b}[31m\u{fffd}\u{fffd} \u{fffd}( \u{fffd}"
        );
    }

    #[test]
    fn a_row_has_its_node_and_an_exit_code_is_passed_on() {
        let node = "n-1".to_owned();
        let with_node = |text: &str| harmless(text.as_bytes(), Some(&node)).unwrap();
        assert_eq!(with_node(r#"{"name":"a"}"#), r#"{"name":"a","node":"n-1"}"#);
        assert_eq!(with_node(r#"{"node":"own"}"#), r#"{"node":"own"}"#);
        let cause = StatusCause {
            reason: Some("ExitCode".into()),
            message: Some("2".into()),
            ..StatusCause::default()
        };
        let status = Status {
            status: Some("Failure".into()),
            details: Some(StatusDetails {
                causes: Some(vec![cause]),
                ..StatusDetails::default()
            }),
            ..Status::default()
        };
        assert_eq!((exit_code(Some(&status)), exit_code(None)), (2, 1));
    }
}
