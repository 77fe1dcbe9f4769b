//! What was found wrong and put right: told for a while, so that a repair is seen by whoever looks seldom.

use std::time::{Duration, Instant};

use cellwall_datapath::attach::{HookState, Other, Outcome};
use cellwall_datapath::image::Difference;

use crate::status::Condition;

/// How long what was put right is still told as wrong: at least 10 s, and somewhat more, so that a reader who asks
/// every 10 s sees it.
const HELD: Duration = Duration::from_secs(12);
/// Findings that one condition names.
const NAMED: usize = 4;
/// Differing entries that one finding names.
const ENTRIES: usize = 3;

/// What was found lately.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

#[derive(Debug)]
struct Fault {
    condition: &'static str,
    reason: &'static str,
    text: String,
    at: Instant,
}

impl Faults {
    /// Something was found under a condition.
    pub(super) fn note(&mut self, condition: &'static str, reason: &'static str, text: String) {
        let at = Instant::now();
        if let Some(known) = self.0.iter_mut().find(|known| known.text == text) {
            known.at = at;
            return;
        }
        tracing::warn!(condition, reason, "{text}");
        self.0.push(Fault {
            condition,
            reason,
            text,
            at,
        });
    }

    /// The conditions with what was found lately in them.
    pub(super) fn entered(&mut self, mut conditions: Vec<Condition>) -> Vec<Condition> {
        self.0.retain(|fault| fault.at.elapsed() < HELD);
        for condition in &mut conditions {
            let mut found = self.0.iter().filter(|fault| fault.condition == condition.kind);
            let Some(first) = found.next() else { continue };
            let rest = found.map(|fault| fault.text.as_str());
            let texts: Vec<&str> = std::iter::once(first.text.as_str()).chain(rest).collect();
            let mut message = texts[..texts.len().min(NAMED)].join("; ");
            if texts.len() > NAMED {
                message = format!("{message}; and {} more", texts.len() - NAMED);
            }
            if condition.status == "False" {
                condition.message = format!("{}; {message}", condition.message);
            } else {
                *condition = Condition::new(&condition.kind.clone(), false, first.reason, message);
            }
        }
        conditions
    }
}

/// What was put right at a hook that had our program before: reason and text. None: nothing.
pub(super) fn put_right(interface: &str, before: &HookState, outcome: &Outcome) -> Option<(&'static str, String)> {
    let hook = before.hook;
    match outcome {
        Outcome::Attached | Outcome::Revived => Some((
            "Repaired",
            format!(
                "{interface} {hook}: our program had been taken off and was put back; find who detaches programs on this node \
                 (`bpftool net show`)"
            ),
        )),
        Outcome::Reordered(ahead) => Some((
            "ForeignProgramAhead",
            format!(
                "{interface} {hook}: {} ran ahead of our program and could end the chain; ours is first again, the other is \
                 still there: have whoever runs it attach it behind",
                others(ahead)
            ),
        )),
        Outcome::Replaced | Outcome::Kept if before.program.is_some() && !before.current => Some((
            "Repaired",
            format!(
                "{interface} {hook}: {} stood in our program's place and ours was put back; find who replaces programs on \
                 this node (`bpftool link show`)",
                stranger(before)
            ),
        )),
        Outcome::Replaced | Outcome::Kept => None,
    }
}

/// Why a hook is not sound now: reason and text. None: it is.
pub(super) fn unsound(interface: &str, state: &HookState) -> Option<(&'static str, String)> {
    let hook = state.hook;
    if state.program.is_none() {
        let text = format!("{interface} {hook}: our program is not attached");
        return Some(("Removed", text));
    }
    if !state.current {
        let text = format!("{interface} {hook}: {} stands in our program's place", stranger(state));
        return Some(("Removed", text));
    }
    let ahead = state.ahead.as_ref().filter(|ahead| !ahead.is_empty())?;
    Some((
        "ForeignProgramAhead",
        format!(
            "{interface} {hook}: {} runs ahead of our program and can end the chain before it; remove it, or have it attached \
             behind (`tc filter show dev {interface}`, `bpftool net show`)",
            others(ahead)
        ),
    ))
}

fn stranger(state: &HookState) -> String {
    other(&Other {
        id: state.program.unwrap_or_default(),
        name: state.name.clone().unwrap_or_default(),
    })
}

fn others(others: &[Other]) -> String {
    let all: Vec<String> = others.iter().map(other).collect();
    all.join(", ")
}

fn other(other: &Other) -> String {
    let name = cellwall_crds::escaped(&other.name);
    match (other.id, other.name.is_empty()) {
        (0, _) => format!("the filter {name:?}"),
        (id, true) => format!("program {id}"),
        (id, false) => format!("program {id} {name:?}"),
    }
}

/// Entries that differ from what was written, a few of them by name.
pub(super) fn differing(differences: &[Difference]) -> String {
    let shown: Vec<String> = differences
        .iter()
        .take(ENTRIES)
        .map(|one| cellwall_crds::escaped(&one.to_string()))
        .collect();
    let more = differences.len().saturating_sub(ENTRIES);
    let more = if more == 0 {
        String::new()
    } else {
        format!("; and {more} more")
    };
    format!("{}{more}", shown.join("; "))
}

#[cfg(test)]
mod tests {
    use cellwall_datapath::attach::Hook;

    use super::*;

    fn state(program: Option<u32>, current: bool, ahead: Vec<Other>) -> HookState {
        HookState {
            hook: Hook::FromPod,
            program,
            current,
            name: Some("stranger".to_owned()),
            ahead: Some(ahead),
        }
    }

    fn all() -> Vec<Condition> {
        vec![
            Condition::new("ProgramsAttached", true, "AllAttached", "2 of 2"),
            Condition::new("PolicySynced", false, "WriteFailed", "no room"),
        ]
    }

    #[test]
    fn what_was_found_is_told_under_its_condition_and_beside_what_is_wrong_still() {
        let mut faults = Faults::default();
        assert_eq!(faults.entered(all()), all());
        faults.note("ProgramsAttached", "Repaired", "one".to_owned());
        faults.note("ProgramsAttached", "Repaired", "one".to_owned());
        faults.note("PolicySynced", "Repaired", "two".to_owned());
        let told = faults.entered(all());
        assert_eq!(told[0], Condition::new("ProgramsAttached", false, "Repaired", "one"));
        assert_eq!(
            told[1],
            Condition::new("PolicySynced", false, "WriteFailed", "no room; two")
        );
    }

    #[test]
    fn many_findings_are_counted() {
        let mut faults = Faults::default();
        for number in 0..7 {
            faults.note("ProgramsAttached", "Repaired", number.to_string());
        }
        assert_eq!(faults.entered(all())[0].message, "0; 1; 2; 3; and 3 more");
    }

    #[test]
    fn another_program_is_named_by_id_name_interface_and_hook() {
        let pass = Other {
            id: 17,
            name: "pass_all".to_owned(),
        };
        let ahead = state(Some(3), true, vec![pass.clone()]);
        let (reason, text) = put_right("veth-0", &ahead, &Outcome::Reordered(vec![pass])).unwrap();
        assert_eq!(reason, "ForeignProgramAhead");
        assert!(
            text.starts_with("veth-0 FROM_POD: program 17 \"pass_all\" ran ahead"),
            "{text}"
        );
        let (_, text) = unsound("veth-0", &ahead).unwrap();
        assert!(
            text.starts_with("veth-0 FROM_POD: program 17 \"pass_all\" runs ahead"),
            "{text}"
        );
        let replaced = state(Some(9), false, Vec::new());
        let (_, text) = put_right("veth-0", &replaced, &Outcome::Replaced).unwrap();
        assert!(
            text.contains("program 9 \"stranger\" stood in our program's place"),
            "{text}"
        );
        assert_eq!(
            put_right("veth-0", &state(Some(3), true, Vec::new()), &Outcome::Kept),
            None
        );
        assert_eq!(unsound("veth-0", &state(Some(3), true, Vec::new())), None);
    }
}
