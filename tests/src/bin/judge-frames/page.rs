//! What was judged so far, as a page of the documentation.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;

use super::{Done, Judge, merged, sum};

const HEAD: &str = "# Random frames that were judged

Written by `make judge-frames JUDGED=docs/judged.md`, not by hand; the next such run goes on with the next seeds. Each
frame starts from a question that the policy's own tests ask, and in two cases of three has one to three hostile things
done to it. A second opinion that shares no code with the packet path reads it, the evaluator answers what it asks, and
the packet path must say the same: whether the frame passes, the reason, and the rule. Of the programs in the kernel,
which are run by `BPF_PROG_TEST_RUN`, every verdict is compared, and what they counted by reason and by rule as sums.
A world is four states of one random policy; a seed gives the same world and the same frames again.
";

/// Writes the page.
pub(crate) fn write(path: &Path, done: &[Done]) -> anyhow::Result<()> {
    let mut text = HEAD.to_owned();
    for (judge, title) in [
        (Judge::Host, "The packet path, built for the host"),
        (Judge::Kernel, "The programs in the kernel"),
    ] {
        let mut done: Vec<Done> = done.iter().filter(|one| one.judge == judge).cloned().collect();
        done.sort_by_key(|one| (one.per_state, one.first));
        section(&mut text, title, &done)?;
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

fn section(text: &mut String, title: &str, done: &[Done]) -> anyhow::Result<()> {
    writeln!(text, "\n## {title}\n")?;
    if done.is_empty() {
        writeln!(text, "Nothing yet.")?;
        return Ok(());
    }
    writeln!(text, "| what | how many |\n|---|---|")?;
    let packets = sum(done, |one| one.packets);
    let seconds: f64 = done.iter().map(|one| one.seconds).sum();
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = packets as f64 / seconds;
    let wrong: usize = done.iter().map(|one| one.disagreements.len()).sum();
    writeln!(text, "| frames judged | {packets} |")?;
    writeln!(text, "| of them otherwise than the second opinion | {wrong} |")?;
    writeln!(
        text,
        "| of them going on with a flow | {} |",
        sum(done, |one| one.followed)
    )?;
    writeln!(
        text,
        "| questions to the evaluator | {} |",
        sum(done, |one| one.questions)
    )?;
    writeln!(text, "| worlds | {} |", sum(done, |one| one.last + 1 - one.first))?;
    writeln!(text, "| seeds, and frames of a state | {} |", ranges(done).join(", "))?;
    writeln!(text, "| seconds of all processes together | {seconds:.0} |")?;
    writeln!(text, "| frames a second, of one process | {rate:.0} |")?;
    for (what, counts) in [
        ("reason", merged(done, |one| &one.reasons)),
        ("left out, and why", merged(done, |one| &one.left_out)),
    ] {
        writeln!(text, "\n| {what} | frames |\n|---|---|")?;
        for (name, count) in counts {
            writeln!(text, "| {name} | {count} |")?;
        }
    }
    Ok(())
}

/// Seeds that follow one another, as ranges.
fn ranges(done: &[Done]) -> Vec<String> {
    let mut ranges = Vec::<(u64, u64, u64)>::new();
    for one in done {
        match ranges.last_mut() {
            Some((_, last, per_state)) if *last + 1 == one.first && *per_state == one.per_state => *last = one.last,
            _ => ranges.push((one.first, one.last, one.per_state)),
        }
    }
    let told = |(first, last, per_state): &(u64, u64, u64)| format!("{first}..={last} ({per_state})");
    ranges.iter().map(told).collect()
}
