//! Every rule of the schema, once: the CEL that an API server runs and the words that both sides say.
//!
//! CEL stays below the cost limits because every list and text it walks is bounded by [`limit`]. It uses what
//! Kubernetes has since 1.31 (`isCIDR`, `cidr`, `isIP`), and no macro younger than that.
// Long because: every rule stands here once, and nowhere else.

use crate::Violation;
use crate::violation::{join, shown};
use serde_json::{Value, json};

/// Sizes that the schema enforces.
pub(crate) mod limit {
    /// Globs, `except` blocks, labels and expressions of a selector.
    pub(crate) const LIST: usize = 64;
    /// Address blocks of an object; pod ranges of the cluster; values of a label expression.
    pub(crate) const CIDRS: usize = 256;
    /// Port entries of a rule.
    pub(crate) const PORTS: usize = 8;
    /// Characters of a glob.
    pub(crate) const GLOB: usize = 512;
    /// Characters of an object's name, as everywhere in Kubernetes.
    pub(crate) const NAME: usize = 253;
    /// Characters of the longest address block that can be written: IPv6 with a dotted tail and a prefix length.
    pub(crate) const CIDR: usize = 49;
    /// Characters of the longest address that can be written.
    pub(crate) const ADDRESS: usize = 45;
    /// Addresses that a node publishes.
    pub(crate) const ADDRESSES: usize = 4096;
    /// Characters of a label key: prefix, slash, name.
    pub(crate) const LABEL_KEY: usize = 317;
    /// Characters of a label value, and of the name part of a key.
    pub(crate) const LABEL: usize = 63;
    /// The largest port.
    pub(crate) const PORT: usize = 65535;
    /// Characters of a protocol.
    pub(crate) const PROTOCOL: usize = 6;
}

/// One rule: the same words wherever it is broken.
pub(crate) struct Rule {
    /// The CEL expression, about the field that the rule is attached to.
    pub(crate) cel: &'static str,
    /// The field below that one that is to blame.
    pub(crate) field: Option<&'static str>,
    /// What is wrong.
    pub(crate) message: &'static str,
    /// What to write instead.
    pub(crate) remedy: &'static str,
}

impl Rule {
    const fn new(cel: &'static str, message: &'static str, remedy: &'static str) -> Self {
        Self {
            cel,
            field: None,
            message,
            remedy,
        }
    }

    const fn at(self, field: &'static str) -> Self {
        Self {
            field: Some(field),
            ..self
        }
    }

    /// The words as an API server prints them.
    pub(crate) fn text(&self) -> String {
        format!("{}; {}", self.message, self.remedy)
    }

    /// The violation of this rule by the field at `path`.
    pub(crate) fn broken(&self, path: &str) -> Violation {
        Violation {
            path: self.field.map_or_else(|| path.to_owned(), |field| join(path, field)),
            found: None,
            message: self.message.to_owned(),
            remedy: self.remedy.to_owned(),
        }
    }

    /// The violation of this rule by the text found at `path`.
    pub(crate) fn broken_by(&self, path: &str, found: &str) -> Violation {
        Violation {
            found: Some(shown(found)),
            ..self.broken(path)
        }
    }

    /// The rule for the derive macro of the kind that it is about.
    pub(crate) fn of_kube(&self) -> kube::core::Rule {
        kube::core::Rule::new(self.cel).message(self.text().as_str())
    }

    /// The rule as an entry of `x-kubernetes-validations`.
    fn validation(&self) -> Value {
        let mut entry = json!({ "rule": self.cel, "message": self.text() });
        if let Some(field) = self.field {
            entry["fieldPath"] = format!(".{field}").into();
        }
        entry
    }
}

/// The value of `x-kubernetes-validations` for a field with these rules.
pub(crate) fn validations(rules: &[&Rule]) -> Value {
    rules.iter().map(|rule| rule.validation()).collect()
}

pub(crate) const EMPTY: Rule = Rule::new(
    "size(self) > 0",
    "it is empty, and what is empty matches nothing",
    "give at least one entry or leave the field out",
);

/// CEL sees nulls in a map only; in an object the schema refuses them, see [`crate::schema::no_nulls`].
pub(crate) const NULL: Rule = Rule::new(
    "self.all(k, dyn(self[k]) != null)",
    "null is refused",
    "give a value or leave the field out",
);

// NetworkObject

pub(crate) const OBJECT_WITHOUT_FIELDS: Rule = Rule::new(
    "has(self.namespaces) || has(self.apps) || has(self.images) || has(self.podSelector) \
     || has(self.namespaceSelector) || has(self.cidrs)",
    "the object has no field and would select nothing",
    "write `namespaces: [\"*\"]` for every pod, or give one of namespaces, apps, images, podSelector, \
     namespaceSelector, cidrs",
);

pub(crate) const CIDRS_WITH_OTHERS: Rule = Rule::new(
    "!has(self.cidrs) || !(has(self.namespaces) || has(self.apps) || has(self.images) || has(self.podSelector) \
     || has(self.namespaceSelector))",
    "addresses and pods do not go together in one object",
    "write `cidrs` alone, and another object for the pods",
)
.at("cidrs");

pub(crate) const GLOB_EMPTY: Rule = Rule::new(
    "size(self) > 0",
    "an empty glob matches nothing",
    "write a name or a pattern such as `pay*`",
);

pub(crate) const GLOB_LONG: Rule = Rule::new("", "the glob is longer than 512 characters", "shorten it with `*`");

pub(crate) const SELECTOR_EMPTY: Rule = Rule::new(
    "has(self.matchLabels) || has(self.matchExpressions)",
    EMPTY.message,
    "give matchLabels or matchExpressions, or leave the field out",
);

pub(crate) const LABEL_KEYS: Rule = Rule::new(
    "self.all(k, size(k) <= 317 && k.indexOf('/') <= 253 && k.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?\
     ([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
    "it is not a label key",
    "write at most 63 letters, digits, `-`, `_` and `.`, after an optional DNS name and `/`",
);

pub(crate) const LABEL_KEY: Rule = Rule {
    cel: "self.indexOf('/') <= 253 && self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?\
          ([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$')",
    ..LABEL_KEYS
};

pub(crate) const LABEL_VALUE: Rule = Rule::new(
    "self.matches('^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$')",
    "it is not a label value",
    "write at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends",
);

pub(crate) const VALUES_MISSING: Rule = Rule::new(
    "!(self.operator in ['In', 'NotIn']) || has(self.values)",
    "In and NotIn compare with values, and there are none",
    "give at least one value",
)
.at("values");

pub(crate) const VALUES_UNWANTED: Rule = Rule::new(
    "self.operator in ['In', 'NotIn'] || !has(self.values)",
    "Exists and DoesNotExist take no values",
    "leave `values` out, or write In or NotIn",
)
.at("values");

pub(crate) const CIDR: Rule = Rule::new(
    "isCIDR(self)",
    "it is not an address block",
    "write address and prefix length, such as 192.0.2.0/24 or 2001:db8::/32, and IPv4 as IPv4",
);

pub(crate) const CIDR_HOST_BITS: Rule = Rule::new(
    "!isCIDR(self) || cidr(self) == cidr(self).masked()",
    "the address has bits set after the prefix length",
    "clear them (192.0.2.0/24, not 192.0.2.7/24), or make the prefix longer",
);

pub(crate) const EXCEPT_OUTSIDE: Rule = Rule::new(
    "!has(self.except) || !isCIDR(self.cidr) || self.except.all(e, !isCIDR(e) \
     || (cidr(self.cidr).containsCIDR(e) && cidr(e).prefixLength() > cidr(self.cidr).prefixLength()))",
    "an exception is not a smaller block inside `cidr`",
    "write blocks inside `cidr` with a longer prefix, or leave them out",
)
.at("except");

// DefenseRule

pub(crate) const PEER: Rule = Rule::new(
    "has(self.object) != has(self.entity)",
    "a side of a rule is one object or one entity",
    "write exactly one of `object: NAME` and `entity: NAME`",
);

pub(crate) const OBJECT_NAME: Rule = Rule::new(
    "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
    "no object can have this name",
    "write at most 253 small letters, digits, `-` and `.`, with a letter or digit at both ends of every part",
);

pub(crate) const PRIORITY: Rule = Rule::new(
    "self >= 1 && self <= 1000",
    "the priority is not in 1..1000",
    "write a whole number from 1, which decides first, to 1000, which decides last",
);

pub(crate) const PROTOCOL: Rule = Rule::new(
    "self in ['TCP', 'UDP', 'SCTP', 'ICMP', 'ICMPv6', 'Any'] \
     || self.matches('^(0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$')",
    "it is not a protocol",
    "write TCP, UDP, SCTP, ICMP, ICMPv6, Any or a protocol number as text, \"0\" to \"255\"",
);

pub(crate) const PORT_OF_NUMBER: Rule = Rule::new(
    "!(has(self.port) || has(self.endPort)) || !self.protocol.matches('^[0-9]+$')",
    "a protocol given by number has no ports",
    "leave `port` and `endPort` out, or write the protocol by name",
)
.at("port");

pub(crate) const PORT_RANGE: Rule = Rule::new(
    "self.protocol in ['ICMP', 'ICMPv6'] || !has(self.port) || (self.port >= 1 && self.port <= 65535)",
    "the port is not in 1..65535",
    "write a port number, or leave `port` out for the whole protocol",
)
.at("port");

pub(crate) const ICMP_TYPE_RANGE: Rule = Rule::new(
    "!(self.protocol in ['ICMP', 'ICMPv6']) || !has(self.port) || (self.port >= 0 && self.port <= 255)",
    "the ICMP type is not in 0..255",
    "write a type, or leave `port` out for every type",
)
.at("port");

pub(crate) const END_PORT_RANGE: Rule = Rule::new(
    "!has(self.endPort) || (self.endPort >= 1 && self.endPort <= 65535)",
    "the last port is not in 1..65535",
    "write a port number, or leave `endPort` out for one port",
)
.at("endPort");

pub(crate) const END_PORT_ALONE: Rule = Rule::new(
    "!has(self.endPort) || has(self.port)",
    "`endPort` ends a range that has no beginning",
    "give `port` too, or leave `endPort` out",
)
.at("endPort");

pub(crate) const END_PORT_BELOW: Rule = Rule::new(
    "!has(self.endPort) || !has(self.port) || self.endPort >= self.port",
    "`endPort` is below `port`",
    "write the smaller number as `port` and the larger as `endPort`",
)
.at("endPort");

pub(crate) const END_PORT_OF_ICMP: Rule = Rule::new(
    "!has(self.endPort) || !(self.protocol in ['ICMP', 'ICMPv6'])",
    "ICMP types have no ranges",
    "leave `endPort` out, and write one entry for each type",
)
.at("endPort");

pub(crate) const PORTS_OVERLAP: Rule = Rule::new(
    "self.all(a, self.filter(b, \
     (!has(a.port) || !has(b.port) || (a.port <= (has(b.endPort) ? b.endPort : b.port) \
     && b.port <= (has(a.endPort) ? a.endPort : a.port))) \
     && (a.protocol == b.protocol \
     || (a.protocol == 'Any' && (!has(a.port) || b.protocol in ['TCP', 'UDP', 'SCTP', '6', '17', '132'])) \
     || (b.protocol == 'Any' && (!has(b.port) || a.protocol in ['TCP', 'UDP', 'SCTP', '6', '17', '132'])) \
     || [['TCP', '6'], ['UDP', '17'], ['SCTP', '132'], ['ICMP', '1'], ['ICMPv6', '58']]\
     .exists(p, a.protocol in p && b.protocol in p))).size() <= 1)",
    "two entries overlap",
    "merge them into one, or leave the narrower one out",
);

// ClusterDefense and InterceptStatus

pub(crate) const DEFENSE_NAME: Rule = Rule {
    cel: "self.metadata.name == 'default'",
    field: None,
    message: "there is one ClusterDefense",
    remedy: "name it `default`",
};

pub(crate) const GENERATION: Rule = Rule::new(
    "self >= 0",
    "a generation is not negative",
    "write the generation that InterceptStatus shows, or leave the field out",
);

pub(crate) const ADDRESS: Rule = Rule::new(
    "isIP(self)",
    "it is not an address",
    "write an IPv4 or IPv6 address without a zone, and IPv4 as IPv4",
);
