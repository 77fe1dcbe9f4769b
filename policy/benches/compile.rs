//! How long compiling takes: a cluster from nothing, and single changes in clusters of three sizes ([`Scale`]); and how
//! much memory world and compiled state take together.

use std::hint::black_box;
use std::time::{Duration, Instant};

use cellwall_policy::compile::Compiler;
use cellwall_policy::generate::Scale;
use cellwall_policy::world::DocumentKey;
use criterion::{Criterion, criterion_group, criterion_main};

const RULES: usize = 10_000;

/// Resident memory of this process in MiB.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    (pages * 4096) >> 20
}

/// Processor time of this process so far: on a busy machine wall time says little.
fn processor() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit(") ").next().unwrap_or_default();
    let ticks = after_name
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

fn compiled(cluster: &Scale) -> Compiler {
    let mut compiler = Compiler::new("node-0");
    black_box(compiler.update(&cluster.world, &[], &cluster.links, 1));
    compiler
}

fn from_nothing(criterion: &mut Criterion) {
    let empty = resident();
    let cluster = Scale::new(100_000, RULES, false);
    let world = resident();
    let (start, used) = (Instant::now(), processor());
    let mut compiler = Compiler::new("node-0");
    let update = compiler.update(&cluster.world, &[], &cluster.links, 1);
    let (took, used, changes) = (
        start.elapsed(),
        processor().checked_sub(used).unwrap(),
        update.changes.len(),
    );
    let peak = resident();
    drop(update);
    println!("100,000 pods x {RULES} rules: {took:?}, {used:?} of processor, {changes} changes");
    println!("resident: {empty} MiB empty, {world} MiB with the world, {peak} MiB compiled with all changes at hand");
    let image = compiler.image();
    println!(
        "{} interfaces, {} addresses, {} ranges, {} policy entries, {} tables",
        image.interfaces.len(),
        image.addresses.len(),
        image.prefixes.len(),
        image.policies.len(),
        image.tables.len()
    );
    drop((image, compiler));
    let mut group = criterion.benchmark_group("from nothing");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.bench_function("100,000 pods", |bencher| bencher.iter(|| compiled(&cluster)));
    drop(cluster);
    let cluster = Scale::new(100_000, RULES, true);
    println!("with {} Services", cluster.world.services().len());
    group.bench_function("100,000 pods and Services", |bencher| {
        bencher.iter(|| compiled(&cluster));
    });
    group.finish();
}

/// Measures the updates of alternating changes.
fn alternate(
    criterion: &mut Criterion,
    what: &str,
    pods: usize,
    mut change: impl FnMut(&mut Scale, bool) -> DocumentKey,
) {
    let mut cluster = Scale::new(pods, RULES, true);
    let mut compiler = compiled(&cluster);
    let mut generation = 1;
    let mut times: Vec<Duration> = Vec::new();
    criterion.bench_function(&format!("{what}, {pods} pods"), |bencher| {
        bencher.iter_custom(|rounds| {
            let mut total = Duration::ZERO;
            for round in 0..rounds {
                let key = change(&mut cluster, round % 2 == 0);
                generation += 1;
                let start = Instant::now();
                black_box(compiler.update(&cluster.world, &[key], &cluster.links, generation));
                let took = start.elapsed();
                times.push(took);
                total += took;
            }
            total
        });
    });
    times.sort_unstable();
    if let Some(slow) = times.get(times.len() * 99 / 100) {
        println!("{what}, {pods} pods: p99 {slow:?}, worst {:?}", times.last().unwrap());
    }
}

fn changes(criterion: &mut Criterion) {
    for pods in [1_000, 10_000, 100_000] {
        alternate(criterion, "a pod comes or goes", pods, |cluster, comes| {
            if comes { cluster.pod_comes() } else { cluster.pod_goes() }
        });
        alternate(criterion, "a pod gets labels nobody has", pods, Scale::pod_changes);
        alternate(criterion, "a rule changes its action", pods, Scale::rule_changes);
        alternate(criterion, "an object changes", pods, |cluster, _| {
            cluster.object_changes()
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500));
    targets = from_nothing, changes
}
criterion_main!(benches);
