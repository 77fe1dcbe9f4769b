//! Which files there are: a walk over files and directories that opens nothing but directories.
//!
//! Links are followed, each directory and each file once; what is neither a file nor a directory is named and left
//! alone. Bounds keep a link to `/` or a directory of a million files from becoming the agent's occupation.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::manifest::problem::{Fault, Problem};

/// Most manifest files that are read.
pub const MAX_FILES: usize = 20_000;
/// Most directories that are walked.
pub const MAX_DIRECTORIES: usize = 5_000;
/// Most directory entries that are looked at, manifests or not.
pub const MAX_ENTRIES: usize = 200_000;
/// Deepest directory below the one given.
const MAX_DEPTH: usize = 32;
/// Most links that are told of, to be watched.
const MAX_LINKS: usize = 2_000;
/// Most problems of one walk; a walk may meet as many as there are entries.
const MAX_PROBLEMS: usize = 200;

/// What tells one state of a file from another without opening it. Times are (seconds, nanoseconds) since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Device and inode.
    pub identity: (u64, u64),
    /// Size in bytes.
    pub size: u64,
    /// When the content was changed last, as far as the file says.
    pub modified: (i64, i64),
    /// When anything of the file was changed last; nobody can set it.
    pub changed: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            identity: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The outcome of a walk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The files to read.
    pub files: BTreeMap<PathBuf, Stamp>,
    /// Files with a manifest's name that cannot be read, each with the reason.
    pub unreadable: BTreeMap<PathBuf, Problem>,
    /// Files and directories about which nothing is known; that a file below is not among `files` says nothing.
    pub blind: Vec<PathBuf>,
    /// What was met on the way, apart from `unreadable`.
    pub problems: Vec<Problem>,
    /// Every directory that was read, in the order of the walk.
    pub directories: Vec<PathBuf>,
    /// Links that were followed or led nowhere; the first 2,000.
    pub links: Vec<PathBuf>,
}

/// Whether a name is that of a manifest: `*.yaml`, `*.yml` or `*.json`, not beginning with a dot.
pub fn is_manifest_name(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let suffixes: [&[u8]; 3] = [b".yaml", b".yml", b".json"];
    !name.starts_with(b".") && suffixes.iter().any(|suffix| name.ends_with(suffix))
}

/// Walks `roots`. A root that is a file is taken whatever its name; a root that is not there is a problem.
pub fn find(roots: &[PathBuf]) -> Found {
    let mut walk = Walk::default();
    for root in roots {
        walk.root(root);
    }
    walk.drain();
    if walk.found.blind.len() > MAX_PROBLEMS {
        // why: so much is unknown that nothing may count as removed.
        walk.found.blind = roots.to_vec();
    }
    walk.found
}

/// A file or directory that is still to be looked at.
struct Waiting {
    path: PathBuf,
    depth: usize,
}

#[derive(Default)]
struct Walk {
    found: Found,
    /// Directories that stand where they are; looked at before those behind links, so that a path without links is
    /// the one that a file is known by.
    directories: VecDeque<Waiting>,
    linked_directories: VecDeque<Waiting>,
    linked_files: Vec<(PathBuf, Metadata)>,
    seen_directories: HashSet<(u64, u64)>,
    seen_files: HashMap<(u64, u64), PathBuf>,
    entries: usize,
    overfull: bool,
}

impl Walk {
    fn problem(&mut self, problem: Problem) {
        if self.found.problems.len() < MAX_PROBLEMS {
            self.found.problems.push(problem);
        }
    }

    fn root(&mut self, root: &Path) {
        if fs::symlink_metadata(root).is_ok_and(|metadata| metadata.is_symlink()) {
            self.found.links.push(root.to_owned());
        }
        match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => {
                self.directories.push_back(Waiting {
                    path: root.to_owned(),
                    depth: 0,
                });
            }
            Ok(metadata) => self.file(root.to_owned(), &metadata),
            Err(error) => {
                self.problem(cannot_read(root, &error));
                self.found.blind.push(root.to_owned());
            }
        }
    }

    fn drain(&mut self) {
        loop {
            if let Some(waiting) = self.directories.pop_front() {
                self.directory(waiting, false);
            } else if let Some(waiting) = self.linked_directories.pop_front() {
                self.directory(waiting, true);
            } else {
                break;
            }
        }
        self.linked_files.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (path, metadata) in std::mem::take(&mut self.linked_files) {
            self.file(path, &metadata);
        }
    }

    /// Reads one directory.
    fn directory(&mut self, Waiting { path, depth }: Waiting, linked: bool) {
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) => return self.unreadable_directory(path, &error),
        };
        if !self.seen_directories.insert((metadata.dev(), metadata.ino())) {
            if linked {
                self.problem(Problem::note(
                    &path,
                    Fault::whole("a link to a directory that is read already", ""),
                ));
            }
            return;
        }
        if depth > MAX_DEPTH || self.found.directories.len() >= MAX_DIRECTORIES {
            let what = if depth > MAX_DEPTH {
                format!("nested more than {MAX_DEPTH} directories deep")
            } else {
                format!("more than {MAX_DIRECTORIES} directories")
            };
            return self.too_much(path, &what);
        }
        let names = visible_names(&path);
        let mut names = match names {
            Ok(names) => names,
            Err(error) => return self.unreadable_directory(path, &error),
        };
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.found.directories.push(path.clone());
        for (name, kind) in names {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return self.too_much(path, &format!("more than {MAX_ENTRIES} entries"));
            }
            self.entry(path.join(&name), &name, kind, depth);
        }
    }

    fn unreadable_directory(&mut self, path: PathBuf, error: &io::Error) {
        // why: between the listing above and here it may have gone; then its files are gone, not hidden.
        if error.kind() == io::ErrorKind::NotFound
            && fs::symlink_metadata(&path).is_err()
            && self.is_below_a_root(&path)
        {
            return;
        }
        self.problem(cannot_read(&path, error));
        self.found.blind.push(path);
    }

    fn is_below_a_root(&self, path: &Path) -> bool {
        path.parent()
            .is_some_and(|parent| self.found.directories.iter().any(|directory| directory == parent))
    }

    /// One name in a directory.
    fn entry(&mut self, path: PathBuf, name: &OsStr, kind: FileType, depth: usize) {
        if kind.is_dir() {
            self.directories.push_back(Waiting { path, depth: depth + 1 });
            return;
        }
        if kind.is_symlink() {
            return self.link(path, name, depth);
        }
        if !is_manifest_name(name) {
            return;
        }
        match fs::symlink_metadata(&path) {
            Ok(metadata) => self.file(path, &metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.unreadable_file(path, &error),
        }
    }

    fn link(&mut self, path: PathBuf, name: &OsStr, depth: usize) {
        if self.found.links.len() < MAX_LINKS {
            self.found.links.push(path.clone());
        }
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => self.linked_directories.push_back(Waiting { path, depth: depth + 1 }),
            Ok(metadata) if is_manifest_name(name) => self.linked_files.push((path, metadata)),
            Ok(_) => {}
            Err(error) if is_manifest_name(name) => self.unreadable_file(path, &error),
            // why: it may have been a directory with manifests; those must not count as removed.
            Err(error) => {
                let fault = Fault::whole(format!("a link that cannot be followed ({error})"), "");
                self.problem(Problem::note(&path, fault));
                self.found.blind.push(path);
            }
        }
    }

    /// A file to read, if it is one and is new.
    fn file(&mut self, path: PathBuf, metadata: &Metadata) {
        if !metadata.is_file() {
            let fault = Fault::whole(
                format!("{}, not a file; it is not opened", kind_name(metadata.file_type())),
                "",
            );
            let problem = Problem::error(&path, fault);
            self.found.unreadable.insert(path, problem);
            return;
        }
        if let Some(first) = self.seen_files.get(&(metadata.dev(), metadata.ino())) {
            if *first != path {
                let message = format!("the same file as {}, which is read already", first.display());
                self.problem(Problem::note(&path, Fault::whole(message, "")));
            }
            return;
        }
        if self.found.files.len() >= MAX_FILES {
            return self.too_much(path, &format!("more than {MAX_FILES} files"));
        }
        self.seen_files.insert((metadata.dev(), metadata.ino()), path.clone());
        self.found.files.insert(path, Stamp::from(metadata));
    }

    fn unreadable_file(&mut self, path: PathBuf, error: &io::Error) {
        let problem = cannot_read(&path, error);
        self.found.unreadable.insert(path, problem);
    }

    /// Stops at a bound: said once, and nothing below counts as removed.
    fn too_much(&mut self, path: PathBuf, what: &str) {
        if !std::mem::replace(&mut self.overfull, true) {
            let fault = Fault::whole(
                format!("{what}; what comes after is not read"),
                "move what is no manifest elsewhere",
            );
            self.problem(Problem::error(&path, fault));
        }
        self.found.blind.push(path);
    }
}

/// The names in a directory that do not begin with a dot, with what they are; few more than the most there may be.
fn visible_names(path: &Path) -> io::Result<Vec<(OsString, FileType)>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)?.take(2 * MAX_ENTRIES) {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_bytes().starts_with(b".") {
            continue;
        }
        match entry.file_type() {
            Ok(kind) => names.push((name, kind)),
            // why: gone since; only some file systems have to ask.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(names)
}

fn cannot_read(path: &Path, error: &io::Error) -> Problem {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound if path.is_symlink() => "the link leads nowhere; remove it or restore its target",
        io::ErrorKind::PermissionDenied => "give the agent permission to read it",
        _ => "",
    };
    Problem::error(path, Fault::whole(format!("cannot be read: {error}"), remedy))
}

fn kind_name(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_block_device() || kind.is_char_device() {
        "a device"
    } else {
        "something special"
    }
}
