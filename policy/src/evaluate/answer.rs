//! What the reference answers.

use std::fmt;
use std::sync::Arc;

use crate::model::{Action, Address, DefenseRule, Hook, Mode, Name, Reason};

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What the policy says.
    pub verdict: Action,
    /// What happens: [`Action::Pass`] or [`Action::Drop`].
    pub applied: Action,
    /// Why.
    pub reason: Reason,
    /// The rule credited.
    pub rule: Option<RuleRef>,
    /// The hook that said so; none where no hook sees the packet.
    pub hook: Option<Hook>,
    /// Every rule in deciding order, for each backend in turn where backends were judged. Empty where rules were not
    /// asked. Where an unknown pod was judged as each of several, the one that decided.
    pub considered: Vec<Considered>,
}

/// A rule by name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields of the rule")]
pub struct RuleRef {
    pub name: Name,
    pub uid: Name,
    pub priority: u16,
    /// As configured.
    pub action: Action,
}

impl From<&Arc<DefenseRule>> for RuleRef {
    fn from(rule: &Arc<DefenseRule>) -> Self {
        Self {
            name: rule.name.clone(),
            uid: rule.uid.clone(),
            priority: rule.priority,
            action: rule.action,
        }
    }
}

/// A rule and whether it applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// Name of the rule.
    pub rule: Name,
    /// The first reason why it does not apply; none where it does.
    pub why_not: Option<WhyNot>,
    /// The backend it was considered for; none for the address asked about.
    pub backend: Option<Backend>,
}

/// Where a packet to a Service address, node port or host port may end up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// Address.
    pub address: Address,
    /// Target port.
    pub port: u16,
    /// `namespace/name` of the pod that has the address.
    pub pod: Option<String>,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.address.ip(), self.port).fmt(f)?;
        match &self.pod {
            Some(pod) => write!(f, " ({pod})"),
            None => Ok(()),
        }
    }
}

/// Why a rule does not apply; the first of these that holds is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WhyNot {
    /// It is switched off.
    Disabled,
    /// Its source does not contain the initiator.
    Source,
    /// Its destination does not contain the responder.
    Destination,
    /// None of its entries contains the port.
    Ports,
}

impl WhyNot {
    /// The word in listings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Ports => "ports",
        }
    }
}

/// A verdict in the making.
#[derive(Debug, Clone)]
pub(super) struct Judgement {
    pub(super) action: Action,
    pub(super) reason: Reason,
    pub(super) rule: Option<Arc<DefenseRule>>,
    pub(super) considered: Vec<Considered>,
}

impl Judgement {
    /// A verdict that no rule gave.
    pub(super) fn bare(action: Action, reason: Reason) -> Self {
        Self {
            action,
            reason,
            rule: None,
            considered: Vec::new(),
        }
    }

    /// The strictest of several verdicts; of equally strict ones the one whose rule comes first, a rule before none.
    /// None where there are none.
    pub(super) fn strictest(judgements: impl IntoIterator<Item = Self>) -> Option<Self> {
        judgements.into_iter().reduce(|best, next| {
            let stricter = next.action > best.action;
            let sooner = match (&next.rule, &best.rule) {
                (Some(next), Some(best)) => next.order() < best.order(),
                (Some(_), None) => true,
                (None, _) => false,
            };
            if stricter || (next.action == best.action && sooner) {
                next
            } else {
                best
            }
        })
    }

    /// The answer of `hook` under `mode`: AlertOnly lets through what the policy drops, never what is refused as such.
    pub(super) fn answer(self, hook: Option<Hook>, mode: Mode) -> Answer {
        let refused = matches!(self.reason, Reason::Loopback | Reason::Tunnel | Reason::Router);
        let dropped = self.action == Action::Drop && (refused || mode == Mode::Enforce);
        Answer {
            verdict: self.action,
            applied: if dropped { Action::Drop } else { Action::Pass },
            reason: self.reason,
            rule: self.rule.as_ref().map(RuleRef::from),
            hook,
            considered: self.considered,
        }
    }
}
