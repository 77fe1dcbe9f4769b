//! Bytes as a file of manifests: it is refused or in force, in time and in room; what it says stays the same when it is
//! read again, written out as JSON, or kept over a restart; and no message carries control characters to a terminal.

use std::path::Path;
use std::sync::Arc;

use cellwall_controller::convert::Converted;
use cellwall_controller::documents::convert;
use cellwall_controller::manifest::document::Document;
use cellwall_controller::manifest::files::{FileContent, FileState, Scan};
use cellwall_controller::manifest::problem::Problem;
use cellwall_controller::manifest::retain::Retained;

/// Fails where one of these does not hold; both as a file of YAML and as one of JSON.
pub fn check(bytes: &[u8]) {
    for name in ["file.yaml", "file.json"] {
        let path: Arc<Path> = Path::new(name).into();
        let content = FileContent::read(&path, bytes, None);
        content.problems().for_each(|problem| is_harmless(&problem));
        let again = FileContent::read(&path, bytes, Some(&content));
        assert_eq!(
            again.documents(),
            content.documents(),
            "read again beside what was read before"
        );
        for document in content.documents() {
            match convert(document) {
                Ok(converted) => says_the_same_as_json(document, &converted),
                Err(problems) => {
                    assert!(!problems.is_empty(), "{:?} is refused without a word", document.id());
                    problems.iter().for_each(is_harmless);
                }
            }
        }
        is_kept(&path, content);
    }
}

/// A message goes to terminals and logs as it is.
fn is_harmless(problem: &Problem) {
    let text = problem.to_string();
    let bad = text.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(bad, None, "a message with a control character: {text:?}");
}

fn says_the_same_as_json(document: &Document, converted: &Converted) {
    let text = document.to_json().to_string();
    let written = FileContent::read(&Path::new("written.json").into(), text.as_bytes(), None);
    let [again] = written.documents() else {
        panic!(
            "{:?} as JSON: {:?} in {text}",
            document.id(),
            written.problems().collect::<Vec<_>>()
        );
    };
    assert_eq!(again.id(), document.id(), "{text}");
    assert_eq!(convert(again).as_ref(), Ok(converted), "{text}");
}

/// What is in force of the file is what an agent that starts anew takes for in force.
fn is_kept(path: &Arc<Path>, content: FileContent) {
    let mut scan = Scan::default();
    scan.files.insert(Arc::clone(path), FileState::Read(Arc::new(content)));
    let mut retained = Retained::default();
    let faults = |document: &Document| convert(document).err().unwrap_or_default();
    let outcome = retained.update(&scan, &faults);
    outcome.problems.iter().for_each(is_harmless);
    let of = |documents: &mut dyn Iterator<Item = &Document>| -> Vec<Converted> {
        let converted = documents.map(|document| convert(document).expect("what is in force is valid"));
        converted.collect()
    };
    let before = of(&mut outcome.documents.iter());
    let saved = serde_json::to_vec(&retained).expect("the state is written");
    let restored: Retained = serde_json::from_slice(&saved).expect("the state is read");
    assert_eq!(of(&mut restored.documents()), before, "over a restart");
}
