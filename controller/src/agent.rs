//! The agent: one loop over one closed set of events. Sources change the world, the compiler says what that changes,
//! the realiser makes the kernel say it; status is a third output.

mod accounts;
mod answers;
mod attach;
mod audit;
mod bind;
mod carry;
mod cluster;
mod core;
mod faults;
mod guard;
mod leave;
mod listing;
mod locals;
mod probes;
mod reader;
pub(crate) mod recovery;
mod remembered;
mod report;
mod startup;
mod windows;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cellwall_datapath::kernel::{Place, uninstall};
use cellwall_datapath::{inspect, kernel::Maps, links::Watch};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::api::{self, Ask, Kept, Request, client};
use crate::cli::args::{InstanceArgs, LogFormat, RunArgs, SourceArgs};
use crate::cluster::client::Connection;
use crate::cluster::{Feed, Heard};
use crate::documents;
use crate::http::{self as endpoints, Health};
use crate::manifest::files::Scan;
use crate::manifest::watch::{Follower, Pace};
use crate::records::otlp::Collector;
use crate::records::recent::Recent;
use crate::records::sink::Sink;

use self::core::{Core, Source};
use self::leave::Cleared;
use self::reader::{Outputs, Reader};

/// How often the kernel is looked at even when nothing was heard: programs, losses, ages.
const AUDIT: Duration = Duration::from_secs(2);

/// `cellwall run`.
pub fn run(instance: &InstanceArgs, args: &RunArgs) -> Result<()> {
    logging(args.log_format);
    if !nix::unistd::geteuid().is_root() {
        bail!("the agent needs root: it loads programs into the kernel");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let result = runtime.block_on(serve(instance, args));
    // Threads that wait for a slow reader of standard output may not hold the end up.
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

fn logging(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    match format {
        LogFormat::Text => builder.with_ansi(colours).init(),
        LogFormat::Json => builder.json().init(),
    }
}

async fn serve(instance: &InstanceArgs, args: &RunArgs) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let began = Instant::now();
    let sink = Sink::open(&args.flow_log, args.rotation()).context("the flow log cannot be opened")?;
    let http = endpoints::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let (reports, report) = watch::channel(None);
    let (scrape, mut visits) = mpsc::channel(16);
    // Asked for its health from now on: what follows may take its time.
    let health = Health { report, scrape, began };
    tokio::spawn(endpoints::serve(http, health));
    // Subscribed before anything is listed: what changes in between is heard.
    let mut netlink = Watch::open().context("the kernel's interface events cannot be heard")?;
    let hears_pods = netlink.hears_pods();
    if !hears_pods {
        tracing::warn!(
            "changes inside pods are looked for every {} s: give the agent CAP_NET_BROADCAST to hear of them",
            AUDIT.as_secs()
        );
    }
    let mut input = Input::open(&args.source, &documents::node_name(args.node_name.as_deref())?).await?;
    let mut core = Core::open(instance, args, reports)?;
    let recent = Arc::new(Recent::default());
    let stop = Arc::new(AtomicBool::new(false));
    let alerts = core.alerts();
    let writer = alerts
        .write_in_thread(stop.clone())
        .context("the writer of alerts cannot be started")?;
    let sweeper = core.sweeper(stop.clone())?;
    let (calls, mut called) = mpsc::channel(2);
    core.auditor(calls, stop.clone())?;
    if let Input::Files(files) = &mut input
        && let Some(scan) = files.next().await
    {
        core.files_changed(&scan);
    }
    // After the first files: what the kernel kept while no agent ran is told with the names that they give.
    let reader = read_records(&core, instance, args, sink, recent.clone(), stop.clone())?;
    if let (Input::Cluster(_, connection), Source::Cluster(followed)) = (&input, &mut core.source) {
        let (outlook, leads) = followed.ends();
        crate::cluster::status::start(&connection.client, &outlook, &leads);
        followed.requests = connection.requests.clone();
        core.adopt_interfaces();
    }

    let socket = api::bind(&instance.socket()).with_context(|| format!("socket {}", instance.socket().display()))?;
    let (asks, mut asked) = mpsc::channel::<Ask>(64);
    let kept = Kept {
        recent,
        alerts: alerts.clone(),
    };
    tokio::spawn(api::serve(socket, asks, kept));

    let mut audit = tokio::time::interval(AUDIT);
    audit.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            news = input.next() => match news {
                News::Files(scan) => core.files_changed(&scan),
                News::Cluster(heard) => core.heard(heard),
            },
            change = netlink.changed() => match change {
                Ok(change) => {
                    // A pod's start is a burst of events; one look serves them all.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    core.interfaces_changed(change);
                }
                Err(error) => {
                    tracing::error!(%error, "interface events are not heard; interfaces are looked at every 2 s");
                    tokio::time::sleep(AUDIT).await;
                    core.converge();
                }
            },
            Some(ask) = asked.recv() => {
                if answer(&mut core, ask).await {
                    break;
                }
            }
            Some(visit) = visits.recv() => {
                // A scraper that went away needs no answer.
                let _ = visit.send(core.scrape());
            }
            Some(call) = called.recv() => core.called(call),
            () = until(core.telling_due()) => core.tell_due(),
            _ = audit.tick() => if hears_pods { core.audit() } else { core.converge() },
        }
    }
    tracing::info!("ending; enforcement stays as it is");
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let _ = std::fs::remove_file(instance.socket());
    reader.join();
    drop((sweeper, writer));
    // What the reader handed over last.
    alerts.flush();
    Ok(())
}

/// Starts the reader of records and what it hands them to.
fn read_records(
    core: &Core,
    instance: &InstanceArgs,
    args: &RunArgs,
    sink: Sink,
    recent: Arc<Recent>,
    stop: Arc<AtomicBool>,
) -> Result<Reader> {
    let start = |endpoint: &http::Uri| Collector::start(endpoint.clone(), core.node.to_string(), core.accounts());
    let outputs = Outputs {
        recent,
        sink,
        collector: args.flow_log_otlp.as_ref().map(start),
        alerts: core.alerts(),
        lines: args.flow_log_lines,
    };
    Reader::start(
        &core.place(),
        &instance.state_dir(),
        core.directory(),
        outputs,
        core.accounts(),
        stop,
    )
}

/// Answers what came by the socket; whether the agent is to end.
async fn answer(core: &mut Core, ask: Ask) -> bool {
    let ends = matches!(ask.request, Request::Stop);
    let answer = if ends {
        Ok(vec![serde_json::json!({ "stopped": std::process::id() })])
    } else {
        core.answer(&ask.request)
    };
    // A client that went away needs no answer.
    let _ = ask.answer.send(answer);
    if ends {
        // The answer is on its way out before the process is.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ends
}

/// Waits until then; for ever where there is no such time.
async fn until(then: Option<Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then.into()).await,
        None => std::future::pending().await,
    }
}

/// Where the loop's documents come from.
enum Input {
    /// A directory of manifests.
    Files(Box<Follower>),
    /// The API server.
    Cluster(Feed, Connection),
}

/// What an [`Input`] tells.
enum News {
    Files(Box<Scan>),
    Cluster(Vec<Heard>),
}

impl Input {
    async fn open(source: &SourceArgs, node: &str) -> Result<Self> {
        if let Some(directory) = &source.manifests {
            // Absolute, so that a file is known again after a restart from elsewhere.
            let directory = std::path::absolute(directory).context("the manifests' directory has no absolute path")?;
            let follower = Follower::start(vec![directory], Pace::default());
            return Ok(Self::Files(Box::new(
                follower.context("the manifests cannot be followed")?,
            )));
        }
        let (teller, feed) = Feed::new();
        let connection = crate::cluster::client::connect(teller.clone()).await?;
        crate::cluster::watch::start(&connection.client, &teller, node);
        Ok(Self::Cluster(feed, connection))
    }

    /// Waits for what is new; nothing is lost when the future is dropped.
    async fn next(&mut self) -> News {
        match self {
            Self::Files(files) => match files.next().await {
                Some(scan) => News::Files(Box::new(scan)),
                None => std::future::pending().await,
            },
            Self::Cluster(feed, _) => News::Cluster(feed.next().await),
        }
    }
}

/// `cellwall dump`: what the kernel holds, with or without an agent.
pub fn dump(instance: &InstanceArgs) -> Result<String> {
    let place = Place::new(&instance.instance)?;
    if !place.dir().exists() {
        bail!(
            "instance {:?} holds nothing in the kernel ({} is not there)",
            instance.instance,
            place.dir().display()
        );
    }
    let maps = Maps::open(&place).context("the pinned maps cannot be opened; run this as root")?;
    Ok(inspect(&maps).context("the pinned maps cannot be read")?.to_string())
}

/// Ends a running agent of the instance and removes programs, pins and state. Answers what was done, a line each.
pub fn remove_instance(instance: &InstanceArgs) -> Result<Vec<String>> {
    let mut done = Vec::new();
    match client::ask_all(&instance.socket(), &Request::Stop) {
        Ok(_) => done.push("agent ended".to_owned()),
        Err(client::ClientError::NoAgent { .. }) => {}
        Err(error) => return Err(error).context("the running agent does not end"),
    }
    let place = Place::new(&instance.instance)?;
    let mut attempts = 0;
    let removed = loop {
        match uninstall(&place) {
            Ok(removed) => break removed,
            // The agent that was asked to end may need a moment to let go of its lock.
            Err(error) if attempts < 40 => {
                tracing::debug!(%error, "not yet");
                attempts += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(error).context("programs and maps cannot be removed"),
        }
    };
    if removed.any() {
        done.push(format!("{} hooks and {} maps removed", removed.hooks, removed.maps));
    }
    let mut left = removed.left;
    let socket = format!("{}.sock", instance.instance);
    for (directory, files) in [
        (instance.state_dir(), documents::state_files()),
        (instance.run_dir(), vec![socket]),
    ] {
        match leave::clear(&directory, &files) {
            Ok(Cleared::Absent) => {}
            Ok(Cleared::Removed) => done.push(format!("{} removed", directory.display())),
            Ok(Cleared::Emptied) => done.push(format!(
                "{} is empty now; it is mounted here and stays",
                directory.display()
            )),
            Ok(Cleared::Kept(others)) => left.extend(others),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be removed", directory.display())),
        }
    }
    for left in &left {
        done.push(format!("{} is not ours and was left", left.display()));
    }
    if done.is_empty() {
        done.push(format!("instance {:?} was not there", instance.instance));
    }
    Ok(done)
}
