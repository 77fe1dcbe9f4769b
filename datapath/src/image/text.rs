//! The image as text: sections in a fixed order, one line an entry, rules by name.

use std::fmt;

use cellwall_datapath_common::switches;
use cellwall_policy::compiled::{
    AddressEntry, Cell, PeerId, PolicyId, RuleCard, RuleSlot, ServiceKey, ServiceScope, Spans,
};
use cellwall_policy::model::Hook;

use super::{Image, InterfaceEntry, Leftover, Probe, RawKey};

/// Entries of one kind: key and value.
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) entries: Vec<(String, String)>,
}

/// All sections, the empty ones too.
pub(super) fn sections(image: &Image) -> Vec<Section> {
    let section = |name, entries| Section { name, entries };
    vec![
        section("generation", vec![active(image)]),
        section("rule", rules(image)),
        section("interface", interfaces(image)),
        section("address", addresses(image)),
        section(
            "range",
            image
                .prefixes
                .iter()
                .map(|(range, peer)| (range.to_string(), format!("{peer:?}")))
                .collect(),
        ),
        section("service", services(image)),
        section("policy", policies(image)),
        section("table", tables(image)),
        section(
            "leftover",
            image
                .leftovers
                .iter()
                .map(|(key, why)| (key.to_string(), why.to_string()))
                .collect(),
        ),
    ]
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        sections(self)
            .iter()
            .flat_map(|section| section.entries.iter().map(move |entry| (section.name, entry)))
            .try_for_each(|(name, (key, value))| writeln!(f, "{name} {key}: {value}"))
    }
}

fn active(image: &Image) -> (String, String) {
    let names = [
        (switches::OFF, "off"),
        (switches::ALERT_ONLY, "alert-only"),
        (switches::STARTUP_OPEN, "startup-open"),
    ];
    let on: Vec<_> = names
        .iter()
        .filter(|(bit, _)| image.active.switches & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    let mode = if on.is_empty() {
        "enforce".to_owned()
    } else {
        on.join(" ")
    };
    (
        image.active.generation.to_string(),
        format!("{mode}, pass records 1/{}", image.active.pass_sample),
    )
}

fn rules(image: &Image) -> Vec<(String, String)> {
    let line = |card: &RuleCard| {
        format!(
            "{} uid {} priority {} {}",
            plain(&card.name),
            plain(&card.uid),
            card.priority,
            card.action
        )
    };
    image
        .rules
        .iter()
        .map(|(slot, card)| (slot.0.to_string(), line(card)))
        .collect()
}

fn interfaces(image: &Image) -> Vec<(String, String)> {
    let line = |ifindex: u32, entry: &InterfaceEntry| {
        let record = &entry.record;
        let own: Vec<_> = image.own(ifindex).map(|address| address.to_string()).collect();
        let mac: Vec<_> = record.mac.iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "slot {}{} egress {} ingress {} master {} mac {} attached {} addresses {}{}",
            entry.slot,
            if entry.extra { " (extra)" } else { "" },
            record.egress,
            record.ingress,
            record.master,
            mac.join(":"),
            record.attached,
            if own.is_empty() { "-".to_owned() } else { own.join(" ") },
            if entry.is_startup() { " startup" } else { "" },
        )
    };
    let known = image
        .interfaces
        .iter()
        .map(|(ifindex, entry)| (ifindex.to_string(), line(*ifindex, entry)));
    let idle = |(ifindex, own): &&(u32, _)| image.own(*ifindex).all(|counted| counted != *own);
    let idle = image.own_addresses.iter().filter(idle);
    known
        .chain(idle.map(|(ifindex, own)| (format!("{ifindex} {own}"), "an address that does not count".into())))
        .collect()
}

fn addresses(image: &Image) -> Vec<(String, String)> {
    let line = |entry: &AddressEntry| {
        let named = |name: &str, number: u32| match number {
            0 => String::new(),
            number => format!(" {name} {number}"),
        };
        let (interface, since) = (named("interface", entry.ifindex), named("since", entry.since));
        format!("{:?}{interface}{since}", entry.peer)
    };
    image
        .addresses
        .iter()
        .map(|(address, entry)| (address.to_string(), line(entry)))
        .collect()
}

fn services(image: &Image) -> Vec<(String, String)> {
    let name = |key: &ServiceKey| {
        let scope = match key.scope {
            ServiceScope::Address(address) => address.to_string(),
            ServiceScope::Peer(peer) => format!("{peer:?}"),
        };
        format!(
            "{scope} {}/{} IPv{}",
            key.transport.name(),
            key.port,
            if key.v4 { 4 } else { 6 }
        )
    };
    image
        .service_ports
        .iter()
        .map(|(key, peer)| (name(key), format!("{peer:?}")))
        .collect()
}

fn policies(image: &Image) -> Vec<(String, String)> {
    let line = |((policy, peer), slot): (&(PolicyId, PeerId), &u32)| {
        (format!("{} {peer:?}", policy.0), format!("table {slot}"))
    };
    image.policies.iter().map(line).collect()
}

fn tables(image: &Image) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for (slot, entry) in &image.tables {
        let table = &entry.table;
        let parts = [
            ("TCP", &table.tcp),
            ("UDP", &table.udp),
            ("SCTP", &table.sctp),
            ("ICMP", &table.icmp),
            ("ICMPv6", &table.icmpv6),
            ("other", &table.other),
        ];
        for ((name, spans), reference) in parts.iter().zip(entry.refs) {
            let place = match reference & cellwall_datapath_common::policy::LIST {
                0 => String::new(),
                list => format!(" (list at {})", reference & !list),
            };
            lines.push((format!("{slot} {name}"), format!("{}{place}", image.spans_text(spans))));
        }
    }
    lines
}

impl Image {
    fn spans_text(&self, spans: &Spans) -> String {
        let entries = spans.entries();
        let ends = entries
            .iter()
            .skip(1)
            .map(|(start, _)| start.saturating_sub(1))
            .chain([u16::MAX]);
        let part = |(start, cell): &(u16, Cell), end| match (*start, end) {
            (0, u16::MAX) => self.cell_text(*cell),
            (start, end) if start == end => format!("{start} {}", self.cell_text(*cell)),
            (start, end) => format!("{start}-{end} {}", self.cell_text(*cell)),
        };
        entries
            .iter()
            .zip(ends)
            .map(|(entry, end)| part(entry, end))
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// A cell in words: `DROP RULE deny-all`.
    pub fn cell_text(&self, cell: Cell) -> String {
        let mut words = vec![cell.action.verdict().to_owned(), cell.reason.to_string()];
        words.extend(cell.rule.map(|slot| self.rule_text(slot)));
        let flags = [
            (cell.quiet_alert, "+quiet-alert"),
            (cell.quiet_drop, "+quiet-drop"),
            (cell.named, "+named"),
        ];
        words.extend(
            flags
                .into_iter()
                .filter(|(set, _)| *set)
                .map(|(_, name)| name.to_owned()),
        );
        words.join(" ")
    }

    fn rule_text(&self, slot: RuleSlot) -> String {
        self.rules
            .get(&slot)
            .map_or_else(|| format!("#{}", slot.0), |card| plain(&card.name))
    }

    /// A probe and its answer in words.
    pub fn explain(&self, probe: &Probe) -> String {
        let way = match probe.hook {
            Hook::FromPod => "to",
            Hook::ToPod => "from",
        };
        let Probe {
            ifindex,
            peer,
            protocol,
            port,
            ..
        } = probe;
        let identity = self.identity(*peer);
        let cell = self.cell_text(self.judge(probe));
        format!("interface {ifindex} {way} {peer} ({identity:?}) protocol {protocol} port {port}: {cell}")
    }
}

impl fmt::Display for RawKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.map)?;
        self.key.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dead => "dead, to be deleted",
            Self::Unrealised => "written for a generation that never was",
            Self::Broken => "unreadable",
        })
    }
}

/// Text from a map, without anything that a terminal would obey.
fn plain(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_graphic() || c.is_alphanumeric() || c == ' ';
    text.chars()
        .flat_map(|c| {
            if is_plain(c) {
                vec![c]
            } else {
                c.escape_default().collect()
            }
        })
        .collect()
}
