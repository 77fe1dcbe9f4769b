//! The agent: one loop over one closed set of events. Sources change the world, the compiler says what that changes,
//! the realiser makes the kernel say it; status is a third output.

mod answers;
mod core;
mod guard;
mod leave;
mod listing;
mod locals;
mod reader;
mod report;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cellwall_datapath::kernel::{Place, uninstall};
use cellwall_datapath::{inspect, kernel::Maps, links::Watch};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::api::{self, Ask, Request, client};
use crate::cli::args::{InstanceArgs, LogFormat, RunArgs};
use crate::documents;
use crate::http::{self, Health};
use crate::manifest::watch::{Follower, Pace};
use crate::records::recent::Recent;
use crate::records::sink::Sink;

use self::core::Core;
use self::leave::Cleared;
use self::reader::Reader;

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
    let sink = Sink::open(&args.flow_log).context("the flow log cannot be opened")?;
    let http = http::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    // Subscribed before anything is listed: what changes in between is heard.
    let mut netlink = Watch::open().context("the kernel's interface events cannot be heard")?;
    let hears_pods = netlink.hears_pods();
    if !hears_pods {
        tracing::warn!(
            "changes inside pods are looked for every {} s: give the agent CAP_NET_BROADCAST to hear of them",
            AUDIT.as_secs()
        );
    }
    // Absolute, so that a file is known again after a restart from elsewhere.
    let directory = std::path::absolute(&args.manifests).context("the manifests' directory has no absolute path")?;
    let mut files = Follower::start(vec![directory], Pace::default()).context("the manifests cannot be followed")?;

    let (reports, report) = watch::channel(None);
    let mut core = Core::open(instance, args, reports)?;
    let recent = Arc::new(Recent::default());
    let stop = Arc::new(AtomicBool::new(false));
    let reader = Reader::start(
        &core.place(),
        core.directory(),
        recent.clone(),
        sink,
        core.tally(),
        stop.clone(),
    )?;
    let sweeper = core.sweeper(stop.clone())?;
    if let Some(scan) = files.next().await {
        core.files_changed(&scan);
    }

    let socket = api::bind(&instance.socket()).with_context(|| format!("socket {}", instance.socket().display()))?;
    let (asks, mut asked) = mpsc::channel::<Ask>(64);
    let (scrapes, mut visits) = mpsc::channel(16);
    tokio::spawn(api::serve(socket, asks, recent));
    tokio::spawn(http::serve(
        http,
        Health {
            report,
            scrape: scrapes,
        },
    ));

    let mut audit = tokio::time::interval(AUDIT);
    audit.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            Some(scan) = files.next() => core.files_changed(&scan),
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
                if matches!(ask.request, Request::Stop) {
                    let _ = ask.answer.send(Ok(vec![serde_json::json!({ "stopped": std::process::id() })]));
                    // The answer is on its way out before the process is.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    break;
                }
                let answer = core.answer(&ask.request);
                // A client that went away needs no answer.
                let _ = ask.answer.send(answer);
            }
            Some(visit) = visits.recv() => {
                // A scraper that went away needs no answer.
                let _ = visit.send(core.scrape());
            }
            _ = audit.tick() => if hears_pods { core.audit() } else { core.converge() },
        }
    }
    tracing::info!("ending; enforcement stays as it is");
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let _ = std::fs::remove_file(instance.socket());
    reader.join();
    drop(sweeper);
    Ok(())
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
