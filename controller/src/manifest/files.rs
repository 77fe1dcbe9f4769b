//! The manifests below some paths, read anew where they changed.
//!
//! A [`Scanner`] looks at files and directories and reads what is new. Nothing half written is taken for a manifest: a
//! file that changed a moment ago, or that someone is writing, is left as it was until it is quiet; and that a file is
//! gone is believed only when two looks agree, since a rename may hide it from one.

mod find;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use find::{Found, MAX_DIRECTORIES, MAX_ENTRIES, MAX_FILES, Stamp, find, is_manifest_name};
pub use read::{Digest, FileContent};

use super::problem::{Fault, Problem};

/// A file that changed less than this long ago may still be changing.
const YOUNG: Duration = Duration::from_millis(10);
/// A file that was read this soon after its last change is read again; a second change may bear the same time.
const RACY: Duration = Duration::from_millis(30);
/// Where nobody knows who is writing: how long an emptied file may be the start of a slow save.
const EMPTY: Duration = Duration::from_secs(1);
/// How long a look may be drawn out by files that keep changing.
const PATIENCE: Duration = Duration::from_millis(30);
/// Most bytes of all files together: 256 MiB.
const MAX_TOTAL_BYTES: u64 = 256 * 1024 * 1024;

/// Who is writing files right now, as far as one knows.
#[derive(Clone, Copy, Debug)]
pub enum Writers<'a> {
    /// These files are open for writing, and no others.
    Known(&'a BTreeSet<PathBuf>),
    /// Nobody watches.
    Unknown,
    /// It does not matter: what is there is read (for a single look, from the command line).
    Ignored,
}

/// What became of one file.
#[derive(Clone, Debug)]
pub enum FileState {
    /// It was read; whether it parses, its content says.
    Read(Arc<FileContent>),
    /// It is there and cannot be read.
    Unreadable(Problem),
    /// It is changing; what it was before counts.
    Unsettled,
}

/// The files below the roots.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Every manifest, by path as found below the root as given.
    pub files: BTreeMap<Arc<Path>, FileState>,
    /// Files and directories about which nothing is known: that a file below is not in `files` does not mean that it
    /// is gone.
    pub blind: Vec<PathBuf>,
    /// Problems that belong to no manifest: directories, links, bounds.
    pub problems: Vec<Problem>,
    /// Whether another look is due soon, because something was changing.
    pub unsettled: bool,
}

impl Scan {
    /// Whether nothing is known of `path`.
    pub fn is_blind_to(&self, path: &Path) -> bool {
        self.blind.iter().any(|blind| path.starts_with(blind))
    }

    /// Every problem of reading: of single files and of the walk. Those of documents are not among them.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.problems.clone();
        for state in self.files.values() {
            match state {
                FileState::Read(content) => problems.extend(content.problems()),
                FileState::Unreadable(problem) => problems.push(problem.clone()),
                FileState::Unsettled => {}
            }
        }
        problems
    }

    /// Whether two scans saw the same: the same files read, the same problems.
    pub fn same(&self, other: &Self) -> bool {
        let same_state = |a: &FileState, b: &FileState| match (a, b) {
            (FileState::Read(a), FileState::Read(b)) => Arc::ptr_eq(a, b) || a.digest == b.digest,
            (FileState::Unreadable(a), FileState::Unreadable(b)) => a == b,
            (FileState::Unsettled, FileState::Unsettled) => true,
            _ => false,
        };
        self.blind == other.blind
            && self.problems == other.problems
            && self.files.len() == other.files.len()
            && self
                .files
                .iter()
                .zip(&other.files)
                .all(|((a, x), (b, y))| a == b && same_state(x, y))
    }
}

/// Looks at the same roots again and again.
#[derive(Debug)]
pub struct Scanner {
    roots: Vec<PathBuf>,
    /// What was read last, by path.
    known: BTreeMap<Arc<Path>, Known>,
}

#[derive(Debug)]
struct Known {
    stamp: Stamp,
    /// Whether the file may have changed since without a sign of it.
    racy: bool,
    content: Arc<FileContent>,
}

impl Scanner {
    /// A scanner of files and directories. Their paths are kept as given: where files must be known again after a
    /// restart, make them absolute.
    pub fn new(roots: Vec<PathBuf>) -> Self {
        Self {
            roots,
            known: BTreeMap::new(),
        }
    }

    /// The roots as given.
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// One look, for a command that reads and ends.
    pub fn scan_once(&mut self) -> Scan {
        let found = find(&self.roots);
        self.read_all(found, Writers::Ignored, true)
    }

    /// A look that starts from what [`find`] found, drawn out a little where files are changing.
    pub fn scan_found(&mut self, mut found: Found, writers: Writers<'_>) -> Scan {
        let began = Instant::now();
        loop {
            let last = began.elapsed() >= PATIENCE;
            let steady = self.look_again_for_missing(&mut found);
            let mut scan = self.read_all(found, writers, last);
            let waits = scan.files.iter().any(|(path, state)| {
                matches!(state, FileState::Unsettled)
                    && !matches!(writers, Writers::Known(writers) if writers.contains(&**path))
            });
            if !steady {
                scan.blind.extend(self.roots.iter().cloned());
            }
            scan.unsettled |= !steady;
            if last || (steady && !waits) {
                return scan;
            }
            sleep(YOUNG / 2);
            found = find(&self.roots);
        }
    }

    /// Whether what was found is all there is. A file that is renamed while directories are read may be seen under
    /// neither name; so that files are gone is believed when a second look misses the same, and their directories have
    /// not changed for a moment. The first look has nothing to miss files by, and goes by the directories alone.
    fn look_again_for_missing(&self, found: &mut Found) -> bool {
        if self.known.is_empty() {
            return !found.directories.iter().any(|directory| is_young(directory));
        }
        let missing = |found: &Found| -> Vec<Arc<Path>> {
            let is_missing = |path: &&Arc<Path>| !found.files.contains_key(&***path);
            self.known.keys().filter(is_missing).cloned().collect()
        };
        let first = missing(found);
        if first.is_empty() {
            return true;
        }
        *found = find(&self.roots);
        let directory_is_young = |path: &Arc<Path>| {
            path.ancestors()
                .skip(1)
                .find(|above| above.is_dir())
                .is_some_and(is_young)
        };
        missing(found) == first && !first.iter().any(directory_is_young)
    }

    /// Reads what is new among the files found. `last`: files that are merely young are taken as they are.
    fn read_all(&mut self, found: Found, writers: Writers<'_>, last: bool) -> Scan {
        let mut scan = Scan {
            blind: found.blind,
            problems: found.problems,
            ..Scan::default()
        };
        for (path, problem) in found.unreadable {
            scan.files.insert(path.into(), FileState::Unreadable(problem));
        }
        let mut bytes = 0;
        let mut known = BTreeMap::new();
        for (path, stamp) in found.files {
            let path: Arc<Path> = path.into();
            bytes += stamp.size.min(super::text::MAX_FILE_BYTES);
            let before = self.known.remove(&path);
            let state = if bytes > MAX_TOTAL_BYTES {
                let message = format!("all files together are larger than {} MiB", MAX_TOTAL_BYTES >> 20);
                FileState::Unreadable(Problem::error(
                    &path,
                    Fault::whole(message, "move what is no manifest elsewhere"),
                ))
            } else {
                read_one(&path, stamp, before.as_ref(), writers, last, &mut known)
            };
            if !matches!(state, FileState::Read(_)) {
                scan.unsettled |= matches!(state, FileState::Unsettled);
                known.extend(before.map(|before| (Arc::clone(&path), before)));
            }
            scan.files.insert(path, state);
        }
        self.known = known;
        scan
    }
}

/// Reads one file, if it is not what it was; what is read goes into `known`.
fn read_one(
    path: &Arc<Path>,
    stamp: Stamp,
    before: Option<&Known>,
    writers: Writers<'_>,
    last: bool,
    known: &mut BTreeMap<Arc<Path>, Known>,
) -> FileState {
    if let Some(before) = before.filter(|before| before.stamp == stamp && !before.racy) {
        let again = Known {
            stamp,
            racy: false,
            content: Arc::clone(&before.content),
        };
        known.insert(Arc::clone(path), again);
        return FileState::Read(Arc::clone(&before.content));
    }
    if is_changing(path, stamp, before, writers, last) {
        return FileState::Unsettled;
    }
    let (bytes, read_stamp) = match read::bytes(path, stamp) {
        read::Outcome::Bytes(bytes, read_stamp) => (bytes, read_stamp),
        read::Outcome::Moved => return FileState::Unsettled,
        read::Outcome::Fault(fault) => return FileState::Unreadable(Problem::error(path, fault)),
    };
    let digest = Digest::of(&bytes);
    let content = match before.filter(|before| before.content.digest == digest) {
        Some(before) => Arc::clone(&before.content),
        None => Arc::new(FileContent::read(path, &bytes, before.map(|before| &*before.content))),
    };
    let racy = age(read_stamp).is_none_or(|age| age < RACY);
    known.insert(
        Arc::clone(path),
        Known {
            stamp: read_stamp,
            racy,
            content: Arc::clone(&content),
        },
    );
    FileState::Read(content)
}

/// Whether a file that is new or different had better be left alone for now.
fn is_changing(path: &Path, stamp: Stamp, before: Option<&Known>, writers: Writers<'_>, last: bool) -> bool {
    let young = !last && age(stamp).is_some_and(|age| age < YOUNG);
    let had_documents = before.is_some_and(|before| !before.content.documents().is_empty());
    match writers {
        Writers::Ignored => false,
        // why: an empty file that had nothing to lose is what it seems, however long it is held open.
        Writers::Known(writers) => young || (writers.contains(path) && (stamp.size > 0 || had_documents)),
        Writers::Unknown => {
            let emptied = stamp.size == 0 && had_documents;
            young || (emptied && age(stamp).is_some_and(|age| age < EMPTY))
        }
    }
}

/// Whether a directory changed a moment ago.
fn is_young(directory: &Path) -> bool {
    fs::metadata(directory).is_ok_and(|metadata| age(Stamp::from(&metadata)).is_some_and(|age| age < YOUNG))
}

/// How long ago a file was changed; `None` where its clock is ahead of ours.
fn age(stamp: Stamp) -> Option<Duration> {
    let later = stamp.modified.max(stamp.changed);
    let (seconds, nanoseconds) = (u64::try_from(later.0).ok()?, u64::try_from(later.1).ok()?);
    let changed = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds);
    SystemTime::now().duration_since(changed).ok()
}

#[cfg(test)]
mod tests;
