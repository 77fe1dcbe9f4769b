//! What is worth telling the people who write rules.
//!
//! [`examine`] looks at a whole world and is for `check` and for reports, not for the way of a change; [`dangling`] is
//! quick enough for that.

mod addresses;
mod objects;
mod overlap;
mod rules;
mod shadow;

use std::fmt;

pub use rules::dangling;

use crate::compile::Reach;
use crate::world::World;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Enforced as written, but probably not as meant.
    Warning,
    /// Something does not enforce what it says.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Problem {
    /// A rule names an object that does not exist: that side matches nothing, the rule enforces nothing.
    DanglingObject,
    /// Rules of smaller order decide everything that this rule could.
    Shadowed,
    /// Two rules of one priority, different actions, and a flow both may apply to.
    EqualPriority,
    /// An object selects nothing now.
    SelectsNothing,
    /// An object fits host-network pods alone, and those lend their labels to nobody.
    OnlyHostNetwork,
    /// Two live pods, or two kinds of owner, have one address.
    AddressConflict,
    /// A namespace's label `kubernetes.io/metadata.name` says another name than its own.
    NamespaceLabel,
    /// A pod cannot be guarded: it uses the host's network.
    NotEnforceable,
}

/// One finding. Texts from documents are escaped: nothing here moves a terminal's cursor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Diagnostic {
    /// Severity.
    pub severity: Severity,
    /// What is wrong.
    pub problem: Problem,
    /// Kind of the document it is about, as in manifests.
    pub kind: &'static str,
    /// Its name; for pods `namespace/name`.
    pub name: String,
    /// Path of the field, empty where it is about the whole document.
    pub field: &'static str,
    /// What happens meanwhile, and the remedy.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.severity, self.kind, self.name.escape_debug())?;
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Everything there is to say about `world`, the worst first, then by kind and name.
pub fn examine(world: &World) -> Vec<Diagnostic> {
    let reach = Reach::of(world);
    let mut found = dangling(world);
    shadow::shadowed(world, &mut found);
    rules::equal_priority(world, &reach, &mut found);
    objects::selecting_nothing(world, &reach, &mut found);
    objects::namespace_labels(world, &mut found);
    addresses::conflicts(world, &mut found);
    addresses::not_enforceable(world, &mut found);
    found.sort_by(|one, other| other.severity.cmp(&one.severity).then_with(|| one.cmp(other)));
    found
}

/// Names as they stand in messages: quoted and escaped, the first few of many.
fn list(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    const SHOWN: usize = 3;
    let all: Vec<String> = names.into_iter().map(|name| format!("{:?}", name.as_ref())).collect();
    match all.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{} and {more} more", all[..SHOWN].join(", ")),
        _ => all.join(", "),
    }
}
