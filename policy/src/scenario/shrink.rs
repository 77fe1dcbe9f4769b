//! Making a scenario small while it still shows what it shows.

use super::{Line, Scenario};
use crate::model::Selector;
use crate::world::Document;

/// Leaves out of `scenario` whatever `shows` does not need: lines first, larger pieces before smaller ones, then parts of
/// documents. `shows` must hold for `scenario` itself; what is answered is as small as leaving out alone can make it.
pub fn shrink(scenario: &Scenario, shows: impl Fn(&Scenario) -> bool) -> Scenario {
    let mut best = scenario.clone();
    loop {
        let before = best.clone();
        leave_out_lines(&mut best, &shows);
        leave_out_parts(&mut best, &shows);
        if best == before {
            return best;
        }
    }
}

fn leave_out_lines(best: &mut Scenario, shows: &impl Fn(&Scenario) -> bool) {
    let mut piece = best.lines.len().div_ceil(2);
    while piece > 0 {
        let mut start = 0;
        while start < best.lines.len() {
            let mut smaller = best.clone();
            let end = (start + piece).min(smaller.lines.len());
            smaller.lines.drain(start..end);
            if shows(&smaller) {
                *best = smaller;
            } else {
                start += piece;
            }
        }
        piece /= 2;
    }
}

fn leave_out_parts(best: &mut Scenario, shows: &impl Fn(&Scenario) -> bool) {
    for index in 0..best.lines.len() {
        let Line::Document(document) = best.lines[index].clone() else {
            continue;
        };
        for smaller in simpler(&document) {
            let mut tried = best.clone();
            tried.lines[index] = Line::Document(smaller);
            if tried != *best && shows(&tried) {
                *best = tried;
                break;
            }
        }
    }
}

/// The document with one thing less, in every way.
fn simpler(document: &Document) -> Vec<Document> {
    match document {
        Document::Pod(pod) => {
            let mut plain = pod.clone();
            plain.labels = crate::model::Labels::default();
            plain.images.clear();
            plain.probe_ports.clear();
            plain.host_ports.clear();
            plain.link_local.clear();
            let mut variants = vec![Document::Pod(plain)];
            macro_rules! without {
                ($($field:ident)*) => { $( {
                    let mut less = pod.clone();
                    less.$field = Default::default();
                    variants.push(Document::Pod(less));
                } )* };
            }
            without!(labels images probe_ports host_ports link_local created);
            variants.extend(one_less(&pod.addresses).map(|addresses| {
                let mut less = pod.clone();
                less.addresses = addresses;
                Document::Pod(less)
            }));
            variants
        }
        Document::DefenseRule(rule) => {
            let entries = rule.ports.as_deref().unwrap_or_default();
            let fewer = one_less(entries).filter(|entries| !entries.is_empty()).map(Some);
            let options = fewer.chain([None]).map(|ports| {
                let mut less = rule.clone();
                less.ports = ports;
                Document::DefenseRule(less)
            });
            options.collect()
        }
        Document::NetworkObject(object) => {
            let Selector::Cidrs(entries) = &object.selector else {
                return Vec::new();
            };
            let fewer = one_less(entries).filter(|entries| !entries.is_empty());
            let options = fewer.map(|entries| {
                let mut less = object.clone();
                less.selector = Selector::Cidrs(entries);
                Document::NetworkObject(less)
            });
            options.collect()
        }
        Document::EndpointSlice(slice) => {
            let options = one_less(&slice.endpoints).map(|endpoints| {
                let mut less = slice.clone();
                less.endpoints = endpoints;
                Document::EndpointSlice(less)
            });
            options.collect()
        }
        _ => Vec::new(),
    }
}

/// The list without its first, without its second, ... entry.
fn one_less<T: Clone>(list: &[T]) -> impl Iterator<Item = Vec<T>> {
    (0..list.len()).map(|index| {
        let mut less = list.to_vec();
        less.remove(index);
        less
    })
}
