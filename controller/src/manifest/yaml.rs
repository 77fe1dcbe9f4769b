//! YAML to [`Node`]s, strictly.
//!
//! What is refused for the whole text: what does not parse, nesting, sizes and alias expansions beyond the limits
//! below, keys that are not scalars. What is a fault of one node, so that the rest of the file can still be used: a key
//! given twice, a key that the YAML versions read differently, merge keys, foreign tags, numbers that JSON lacks.
//!
//! A text may be read in parts, one for each `---` ([`parts`]), so that a change in one document of a long file need
//! not read the others again.
// Long because: one event machine; its states share their invariants.

mod parts;

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::node::{Content, Entry, Node, Scalar, ambiguous_words, quote_it};
use super::problem::{Fault, Position, excerpt};
use super::scalar::{Reading, Readings};

use self::parts::lines;
pub use self::parts::{Part, parts};

/// Deepest nesting of mappings and sequences.
pub const MAX_DEPTH: usize = 64;
/// Most nodes (scalars, mappings, sequences) of a file, with aliases expanded.
pub const MAX_NODES: usize = 500_000;
/// Most brackets and commas that may pass without anything being complete. The scanner holds a whole flow collection
/// (`[a, b, ...]`) in memory before it tells of its first item, at several hundred bytes for each.
const MAX_PENDING_FLOW: usize = 250_000;

/// Reads all documents of a text. Empty ones are left out. `budget` is how many nodes there may still be, and is
/// lowered by those found.
pub fn read(text: &str, budget: &mut usize) -> Result<Vec<Node>, Fault> {
    let pending = Rc::new(Cell::new(0));
    let mut parser = Parser::new_from_iter(Metered {
        characters: text.chars(),
        pending: Rc::clone(&pending),
    });
    let mut builder = Builder {
        nodes_left: *budget,
        ..Builder::default()
    };
    let last_line = lines(text).count().max(1);
    while let Some(event) = parser.next_event() {
        if pending.get() > MAX_PENDING_FLOW {
            let message = format!("a collection in brackets with more than {MAX_PENDING_FLOW} brackets and commas");
            return Err(Fault::whole(
                message,
                "write it as a block, one item a line, or split the file",
            ));
        }
        pending.set(0);
        match event {
            Ok((event, span)) => builder.event(event, span)?,
            Err(error) => return Err(syntax(&error, last_line)),
        }
    }
    *budget = builder.nodes_left;
    Ok(builder.documents)
}

/// Hands out characters and counts what makes flow collections grow; ends the text when the count is over the limit.
struct Metered<'a> {
    characters: std::str::Chars<'a>,
    pending: Rc<Cell<usize>>,
}

impl Iterator for Metered<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let c = self.characters.next()?;
        if matches!(c, ',' | '[' | '{' | ']' | '}') {
            self.pending.set(self.pending.get() + 1);
            if self.pending.get() > MAX_PENDING_FLOW {
                return None;
            }
        }
        Some(c)
    }
}

fn syntax(error: &ScanError, last_line: usize) -> Fault {
    let marker = error.marker();
    let position = Position {
        line: narrow(marker.line().min(last_line)),
        column: narrow(marker.col() + 1),
    };
    let message = format!("not valid YAML: {}", error.info());
    let remedy = if error.info().contains("tabs") {
        "indent with spaces"
    } else {
        ""
    };
    Fault::at(position, message, remedy)
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn position(span: Span) -> Position {
    Position {
        line: narrow(span.start.line()),
        column: narrow(span.start.col() + 1),
    }
}

/// A finished node that an alias may stand for.
struct Anchored {
    node: Node,
    size: Size,
}

/// A collection whose end has not been seen.
struct Open {
    content: Unfinished,
    at: Position,
    faults: Vec<Fault>,
    anchor: usize,
    size: Size,
}

/// How much a node takes of the budget, and how deep it nests (0 for a scalar).
#[derive(Clone, Copy)]
struct Size {
    weight: usize,
    height: usize,
}

enum Unfinished {
    Sequence(Vec<Node>),
    Mapping {
        entries: Vec<Entry>,
        known: HashMap<Box<str>, (Position, usize)>,
        key: Option<Key>,
    },
}

/// A key whose value has not been seen.
struct Key {
    text: Box<str>,
    at: Position,
    ambiguous: bool,
    /// A key given before, or a merge key: a fault; its value is read and dropped.
    dropped: bool,
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    nodes_left: usize,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let at = position(span);
        match event {
            Event::DocumentStart(_) => {
                // why: the parser lets an alias reach back into the document before; YAML does not.
                self.anchors.clear();
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let size = Size {
                    weight: weight(&text),
                    height: 0,
                };
                self.count(size.weight, at)?;
                if self.expects_key() {
                    return self.key(&text, style, anchor, tag.is_some(), at);
                }
                let node = scalar(&text, style, tag.as_deref(), at);
                self.keep(anchor, &node, size)?;
                self.add(node, size)
            }
            Event::SequenceStart(anchor, tag) => self.begin(
                Unfinished::Sequence(Vec::new()),
                anchor,
                collection_tag(tag.as_deref(), "seq", at),
                at,
            ),
            Event::MappingStart(anchor, tag) => {
                let content = Unfinished::Mapping {
                    entries: Vec::new(),
                    known: HashMap::new(),
                    key: None,
                };
                self.begin(content, anchor, collection_tag(tag.as_deref(), "map", at), at)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn count(&mut self, nodes: usize, at: Position) -> Result<(), Fault> {
        self.nodes_left = self.nodes_left.checked_sub(nodes).ok_or_else(|| too_many(at))?;
        Ok(())
    }

    fn expects_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                content: Unfinished::Mapping { key: None, .. },
                ..
            })
        )
    }

    fn begin(&mut self, content: Unfinished, anchor: usize, fault: Option<Fault>, at: Position) -> Result<(), Fault> {
        if self.expects_key() {
            return Err(complex_key(at));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(at));
        }
        self.count(1, at)?;
        let size = Size { weight: 1, height: 1 };
        self.open.push(Open {
            content,
            at,
            faults: fault.into_iter().collect(),
            anchor,
            size,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let content = match open.content {
            Unfinished::Sequence(items) => Content::Sequence(items),
            Unfinished::Mapping { entries, .. } => Content::Mapping(entries),
        };
        let node = Node {
            content,
            line: open.at.line,
            column: open.at.column,
            faults: open.faults,
        };
        self.keep(open.anchor, &node, open.size)?;
        self.add(node, open.size)
    }

    /// Remembers an anchored node. The parser numbers anchors from 1; 0 is none.
    fn keep(&mut self, anchor: usize, node: &Node, size: Size) -> Result<(), Fault> {
        if anchor != 0 {
            // why: the copy counts too; anchors within anchors would copy the innermost once for each.
            self.count(size.weight, node.at())?;
            self.anchors.insert(
                anchor,
                Anchored {
                    node: node.clone(),
                    size,
                },
            );
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Result<(), Fault> {
        if self.expects_key() {
            return Err(Fault::at(at, "an alias stands for a key", "write the key itself"));
        }
        let Some(anchored) = self.anchors.get(&anchor) else {
            let message = "an alias stands for a value of another document, or for one that it is a part of";
            return Err(Fault::at(at, message, "write the value itself"));
        };
        let size = anchored.size;
        if self.open.len() + size.height > MAX_DEPTH {
            return Err(too_deep(at));
        }
        // why: counted before it is copied; a few aliases of aliases can stand for billions of nodes.
        let Some(left) = self.nodes_left.checked_sub(size.weight) else {
            return Err(too_many(at));
        };
        let node = anchored.node.clone();
        self.nodes_left = left;
        self.add(node, size)
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node, size: Size) -> Result<(), Fault> {
        let Some(parent) = self.open.last_mut() else {
            if !node.is_null() {
                self.documents.push(node);
            }
            return Ok(());
        };
        parent.size.weight += size.weight;
        parent.size.height = parent.size.height.max(size.height + 1);
        match &mut parent.content {
            Unfinished::Sequence(items) => items.push(node),
            Unfinished::Mapping { entries, key, .. } => match key.take() {
                None => return Err(complex_key(node.at())),
                Some(key) if key.dropped => {}
                Some(Key {
                    text, at, ambiguous, ..
                }) => entries.push(Entry {
                    key: text,
                    at,
                    ambiguous,
                    repeated: false,
                    value: node,
                }),
            },
        }
        Ok(())
    }

    /// A key of the innermost mapping.
    fn key(&mut self, text: &str, style: ScalarStyle, anchor: usize, tagged: bool, at: Position) -> Result<(), Fault> {
        if anchor != 0 || tagged {
            return Err(Fault::at(at, "a key with an anchor or a tag", "write the key alone"));
        }
        let Some(Open {
            content: Unfinished::Mapping { entries, known, key },
            faults,
            ..
        }) = self.open.last_mut()
        else {
            return Ok(());
        };
        let judged = if style == ScalarStyle::Plain {
            judge_key(text, at)
        } else {
            KeyJudgement::default()
        };
        faults.extend(judged.fault);
        let mut dropped = judged.dropped;
        if let Some(&(first, index)) = known.get(text) {
            faults.push(Fault::twice(at, text, first));
            if let Some(entry) = entries.get_mut(index) {
                entry.repeated = true;
            }
            dropped = true;
        } else if !dropped {
            known.insert(text.into(), (at, entries.len()));
        }
        *key = Some(Key {
            text: text.into(),
            at,
            ambiguous: judged.ambiguous,
            dropped,
        });
        Ok(())
    }
}

/// How much of the budget a scalar takes: long text counts for more, since an alias copies it.
fn weight(text: &str) -> usize {
    1 + text.len() / 64
}

#[derive(Default)]
struct KeyJudgement {
    fault: Option<Fault>,
    ambiguous: bool,
    dropped: bool,
}

/// A plain key: whether it is text to everyone, or a number or word whose text is the same as the key's.
fn judge_key(text: &str, at: Position) -> KeyJudgement {
    if text == "<<" {
        let fault = Fault::at(at, "a merge key (<<)", "write the fields themselves");
        return KeyJudgement {
            fault: Some(fault),
            ambiguous: false,
            dropped: true,
        };
    }
    let readings = Readings::of(text);
    if readings.differ() {
        let fault = Fault::at(
            at,
            format!("the key {}", ambiguous_words(text, readings)),
            quote_it(text),
        );
        return KeyJudgement {
            fault: Some(fault),
            ambiguous: true,
            dropped: false,
        };
    }
    let same = match readings.kubectl {
        Reading::Null | Reading::Float(_) => false,
        Reading::Bool(value) => text == value.to_string(),
        Reading::Int(value) => text == value.to_string(),
        Reading::Unsigned(value) => text == value.to_string(),
        Reading::Timestamp | Reading::Special | Reading::Text => true,
    };
    let message = || format!("the key \"{}\" is {}, not text", excerpt(text, 60), readings.kubectl);
    let fault = (!same).then(|| Fault::at(at, message(), quote_it(text)));
    KeyJudgement {
        fault,
        ambiguous: false,
        dropped: false,
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Position) -> Node {
    let plain = style == ScalarStyle::Plain;
    let readings = if plain { Readings::of(text) } else { Readings::text() };
    let (reading, ambiguous, fault) = match tag {
        None => (readings.kubectl, readings.differ(), None),
        Some(tag) if is_core(tag, "str") => (Reading::Text, false, None),
        Some(tag) => {
            let fits = plain && !readings.differ() && names(tag, readings.kubectl);
            let remedy = "leave the tag out, and quote what is text";
            let message = || format!("the tag {} on \"{}\"", shown(tag), excerpt(text, 60));
            (
                readings.kubectl,
                readings.differ(),
                (!fits).then(|| Fault::at(at, message(), remedy)),
            )
        }
    };
    let number = match reading {
        Reading::Float(value) if !value.is_finite() => Some(Fault::at(
            at,
            format!("\"{}\" is no number that JSON can carry", excerpt(text, 60)),
            quote_it(text),
        )),
        _ => None,
    };
    let content = Content::Scalar(Scalar {
        text: text.into(),
        reading,
        ambiguous,
    });
    Node {
        content,
        line: at.line,
        column: at.column,
        faults: fault.into_iter().chain(number).collect(),
    }
}

fn is_core(tag: &Tag, suffix: &str) -> bool {
    tag.is_yaml_core_schema() && tag.suffix == suffix
}

/// Whether a core tag says what the scalar is anyway.
fn names(tag: &Tag, reading: Reading) -> bool {
    let suffix = match reading {
        Reading::Null => "null",
        Reading::Bool(_) => "bool",
        Reading::Int(_) | Reading::Unsigned(_) => "int",
        Reading::Float(_) => "float",
        Reading::Timestamp | Reading::Special | Reading::Text => "str",
    };
    is_core(tag, suffix)
}

fn collection_tag(tag: Option<&Tag>, core: &str, at: Position) -> Option<Fault> {
    let tag = tag.filter(|tag| !is_core(tag, core))?;
    Some(Fault::at(at, format!("the tag {}", shown(tag)), "leave the tag out"))
}

fn shown(tag: &Tag) -> String {
    let handle = if tag.is_yaml_core_schema() { "!!" } else { &tag.handle };
    excerpt(&format!("{handle}{}", tag.suffix), 60).to_string()
}

fn complex_key(at: Position) -> Fault {
    Fault::at(
        at,
        "a key that is a mapping or a sequence",
        "a key is a plain word, or text in quotes",
    )
}

fn too_many(at: Position) -> Fault {
    let message = format!("more than {MAX_NODES} values in one file, aliases expanded");
    Fault::at(at, message, "split the file, or write it without aliases")
}

fn too_deep(at: Position) -> Fault {
    Fault::at(at, format!("nested more than {MAX_DEPTH} levels deep"), "")
}

#[cfg(test)]
mod tests;
