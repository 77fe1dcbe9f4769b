//! What has to be watched so that no change of the manifests goes unseen: the directories that are read, and every
//! place on the way to them and to linked files where a link, or a missing directory, may be put anew.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::manifest::files::Found;

/// Most links on the way to one file; the kernel follows 40.
const MAX_LINKS: usize = 40;

/// Something to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// A directory whose manifests are read, as found.
    Read(PathBuf),
    /// One name in a directory.
    Name(PathBuf, OsString),
    /// The file that a linked manifest leads to.
    Target { manifest: PathBuf, target: PathBuf },
}

/// Everything to watch for these roots and what was found below them.
pub(super) fn interests(roots: &[PathBuf], found: &Found) -> Vec<Interest> {
    let mut interests = Vec::new();
    for path in roots.iter().chain(&found.links) {
        let way = way(path);
        interests.extend(
            way.names
                .into_iter()
                .map(|(directory, name)| Interest::Name(directory, name)),
        );
        if found.files.contains_key(path) {
            interests.extend(way.end.map(|target| Interest::Target {
                manifest: path.clone(),
                target,
            }));
        }
    }
    interests.extend(found.directories.iter().cloned().map(Interest::Read));
    interests
}

/// How a path is resolved.
#[derive(Debug, Default, PartialEq)]
struct Way {
    /// Directory and name of every link on the way, and of the last component; or of the first that is missing.
    names: Vec<(PathBuf, OsString)>,
    /// Where it leads, if anywhere.
    end: Option<PathBuf>,
}

fn way(path: &Path) -> Way {
    let mut way = Way::default();
    let Ok(mut here) = std::env::current_dir() else {
        return way;
    };
    let mut ahead: VecDeque<Component<'_>> = path.components().collect();
    let mut targets: VecDeque<OsString> = VecDeque::new();
    let mut links = 0;
    loop {
        let name = match targets.pop_front() {
            Some(name) => name,
            None => match ahead.pop_front() {
                Some(component) => component.as_os_str().to_owned(),
                None => break,
            },
        };
        if name == "/" {
            here = PathBuf::from("/");
        } else if name == ".." {
            here.pop();
        } else if name != "." {
            let next = here.join(&name);
            let is_last = targets.is_empty() && ahead.is_empty();
            let Ok(metadata) = fs::symlink_metadata(&next) else {
                way.names.push((here, name));
                return way;
            };
            if metadata.is_symlink() {
                links += 1;
                way.names.push((here.clone(), name));
                let Some(target) = fs::read_link(&next).ok().filter(|_| links <= MAX_LINKS) else {
                    return way;
                };
                for component in target.components().rev() {
                    targets.push_front(component.as_os_str().to_owned());
                }
                continue;
            }
            if is_last {
                way.names.push((here.clone(), name));
            }
            here = next;
        }
    }
    way.end = Some(here);
    way
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_on_the_way_and_the_first_missing_name_are_told() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let root = fs::canonicalize(directory.path()).expect("a path");
        fs::create_dir(root.join("..v1")).expect("made");
        fs::write(root.join("..v1/a.yaml"), "").expect("written");
        symlink("..v1", root.join("..data")).expect("linked");
        symlink("..data/a.yaml", root.join("a.yaml")).expect("linked");
        let name = |directory: &str, name: &str| (root.join(directory), OsString::from(name));
        let at = |path: &str| way(&root.join(path));
        let names = vec![name("", "a.yaml"), name("", "..data"), name("..v1", "a.yaml")];
        assert_eq!(
            at("a.yaml"),
            Way {
                names,
                end: Some(root.join("..v1/a.yaml"))
            }
        );
        assert_eq!(
            at("x/y"),
            Way {
                names: vec![name("", "x")],
                end: None
            }
        );
        symlink("loop", root.join("loop")).expect("linked");
        assert_eq!(at("loop").end, None);
        symlink(root.join("..v1/../..data"), root.join("up")).expect("linked");
        assert_eq!(at("up").end, Some(root.join("..v1")));
    }
}
