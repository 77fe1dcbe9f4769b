//! What must become of a connection, worked out from the rules alone, and since when.

use std::sync::{Arc, RwLock};

use cellwall_controller::lab::LabPod;

/// Applications that pods are of.
pub(super) const APPS: [&str; 4] = ["blue", "green", "red", "white"];
/// Ports that rules name and servers listen on: those of UDP, and the one of TCP.
pub(super) const PORTS: [u16; 3] = [1001, 1002, 1003];
/// Where UDP is answered.
pub(super) const UDP: [u16; 2] = [PORTS[0], PORTS[1]];
/// Where TCP is.
pub(super) const TCP: u16 = PORTS[2];

/// A pod that has come; another of the same place is another pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Incarnation {
    pub(super) name: String,
    pub(super) app: usize,
    pub(super) lab: LabPod,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Pass,
    Alert,
    Drop,
}

/// From one application to another, on one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) port: u16,
    pub(super) action: Action,
    pub(super) enabled: bool,
}

/// Everything that decides, at one moment. A rule's place is its priority.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) pods: Vec<Incarnation>,
    pub(super) rules: Vec<Rule>,
}

impl Model {
    /// Whether a connection passes; none: one of the two is not there.
    pub(super) fn passes(&self, from: &str, to: &str, port: u16) -> Option<bool> {
        let app = |name: &str| self.pods.iter().find(|pod| pod.name == name).map(|pod| pod.app);
        let (from, to) = (app(from)?, app(to)?);
        let applies = |rule: &&Rule| rule.enabled && rule.from == from && rule.to == to && rule.port == port;
        Some(
            self.rules
                .iter()
                .find(applies)
                .is_none_or(|rule| rule.action != Action::Drop),
        )
    }

    /// The rules that differ from those of `before`, as manifests.
    pub(super) fn rules_since(&self, before: &Self) -> String {
        let changed = self
            .rules
            .iter()
            .enumerate()
            .filter(|(place, rule)| before.rules.get(*place) != Some(*rule));
        let rules = changed.map(|(place, rule)| {
            format!(
                "apiVersion: cellwall.io/v1alpha1\nkind: DefenseRule\nmetadata: {{name: {}}}\nspec: {{source: {{object: {}}}, \
                 destination: {{object: {}}}, ports: [{{protocol: Any, port: {}}}], action: {:?}, priority: {}, enabled: {}}}\n",
                name(place),
                APPS[rule.from],
                APPS[rule.to],
                rule.port,
                rule.action,
                place + 1,
                rule.enabled
            )
        });
        rules.collect::<Vec<_>>().join("---\n")
    }
}

/// The objects that rules name, as manifests.
pub(super) fn objects() -> String {
    let objects = APPS.map(|app| {
        format!("apiVersion: cellwall.io/v1alpha1\nkind: NetworkObject\nmetadata: {{name: {app}}}\nspec: {{apps: [{app}]}}\n")
    });
    objects.join("---\n")
}

/// The name of the rule of this place.
pub(super) fn name(place: usize) -> String {
    format!("rule-{place}")
}

/// What was in force when: models in the order in which they were begun.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    models: Vec<Arc<Model>>,
    /// The newest that is known to be in force: one of those from it on is.
    confirmed: usize,
}

/// What may be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Expected {
    Pass,
    Drop,
    /// A change was on its way, or one of the two pods left.
    Either,
}

impl Timeline {
    /// A change begins: from now on this model may be in force.
    pub(super) fn begin(&self, model: Model) {
        self.inner
            .write()
            .expect("no thread failed")
            .models
            .push(Arc::new(model));
    }

    /// The newest model is in force, and none before it.
    pub(super) fn confirm(&self) {
        let mut inner = self.inner.write().expect("no thread failed");
        inner.confirmed = inner.models.len() - 1;
    }

    /// The newest model, whether it is in force or not.
    pub(super) fn newest(&self) -> Arc<Model> {
        let inner = self.inner.read().expect("no thread failed");
        inner.models.last().cloned().expect("a model was begun")
    }

    /// The model that is known to be in force, and its number.
    pub(super) fn confirmed(&self) -> (usize, Arc<Model>) {
        let inner = self.inner.read().expect("no thread failed");
        (inner.confirmed, inner.models[inner.confirmed].clone())
    }

    /// What a connection may have met that began when model `since` was the confirmed one, and has ended now.
    pub(super) fn expected(&self, since: usize, from: &str, to: &str, port: u16) -> Expected {
        let inner = self.inner.read().expect("no thread failed");
        let mut seen = inner.models[since..].iter().map(|model| model.passes(from, to, port));
        let first = seen.next().flatten();
        match first {
            Some(passes) if seen.all(|other| other == first) => {
                if passes {
                    Expected::Pass
                } else {
                    Expected::Drop
                }
            }
            _ => Expected::Either,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, app: usize) -> Incarnation {
        Incarnation {
            name: name.to_owned(),
            app,
            lab: LabPod {
                name: name.to_owned(),
                netns: String::new(),
                host_interface: String::new(),
                v4: std::net::Ipv4Addr::LOCALHOST,
                v6: std::net::Ipv6Addr::LOCALHOST,
            },
        }
    }

    fn rule(action: Action, enabled: bool) -> Rule {
        Rule {
            from: 0,
            to: 1,
            port: 1001,
            action,
            enabled,
        }
    }

    #[test]
    fn the_first_enabled_rule_that_fits_decides_and_none_passes() {
        let mut model = Model {
            pods: vec![pod("a", 0), pod("b", 1)],
            rules: vec![
                rule(Action::Drop, false),
                rule(Action::Alert, true),
                rule(Action::Drop, true),
            ],
        };
        assert_eq!(model.passes("a", "b", 1001), Some(true));
        model.rules[0].enabled = true;
        assert_eq!(model.passes("a", "b", 1001), Some(false));
        assert_eq!(model.passes("b", "a", 1001), Some(true));
        assert_eq!(model.passes("a", "c", 1001), None);
    }

    #[test]
    fn while_a_change_is_on_its_way_both_are_right_and_afterwards_one_is() {
        let timeline = Timeline::default();
        let pods = vec![pod("a", 0), pod("b", 1)];
        let with = |action| Model {
            pods: pods.clone(),
            rules: vec![rule(action, true)],
        };
        timeline.begin(with(Action::Pass));
        timeline.confirm();
        let (since, _) = timeline.confirmed();
        assert_eq!(timeline.expected(since, "a", "b", 1001), Expected::Pass);
        timeline.begin(with(Action::Drop));
        assert_eq!(timeline.expected(since, "a", "b", 1001), Expected::Either);
        timeline.confirm();
        // One that began before saw both, one that begins now sees one.
        assert_eq!(timeline.expected(since, "a", "b", 1001), Expected::Either);
        let (since, _) = timeline.confirmed();
        assert_eq!(timeline.expected(since, "a", "b", 1001), Expected::Drop);
        timeline.begin(Model::default());
        assert_eq!(timeline.expected(since, "a", "b", 1001), Expected::Either);
    }
}
