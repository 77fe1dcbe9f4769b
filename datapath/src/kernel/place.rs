//! Where an instance keeps its pins, and the lock that lets one agent at a time use them.
//!
//! ```text
//! /sys/fs/bpf/NAME              locked by the agent
//!     v1/                       ABI version: a new layout begins with maps of its own
//!         state-1               version of what it remembers: a layout that reads it takes that over
//!         maps/ACTIVE ...
//!         progs/from_pod, to_pod
//!         builds/DIGEST-...     which build these are of
//!         links/IFINDEX/from_pod, to_pod
//! ```
//! No name has a dot in it: the BPF file system refuses them.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use cellwall_datapath_common::{ABI_VERSION, STATE_VERSION};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::attach::{Hook, pin_name};

/// Where the BPF file system is mounted.
pub const BPF_FS: &str = "/sys/fs/bpf";
/// Longest name of an instance.
const NAME_LENGTH: usize = 64;
/// What the mark begins with that says what a layout remembers.
const STATE: &str = "state-";
/// Only root may look inside.
const MODE: u32 = 0o700;

/// Why the place of an instance cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// Not a name for an instance.
    #[error("{name:?} is no instance name: 1 to {NAME_LENGTH} of letters, digits, '-' and '_'")]
    Name {
        /// As given.
        name: String,
    },
    /// The BPF file system is not there and cannot be mounted.
    #[error("no BPF file system at {} and mounting one failed: run `mount -t bpf bpf {}`", path.display(), path.display())]
    Mount {
        /// Where it should be.
        path: PathBuf,
        /// Why mounting failed.
        source: io::Error,
    },
    /// A file or directory below it cannot be used.
    #[error("{call} {}", path.display())]
    File {
        /// What was tried.
        call: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another agent has the instance.
    #[error("instance {name} is in use{}: stop that agent first, or choose another --instance", by(*holder))]
    Locked {
        /// The instance.
        name: String,
        /// Process that holds it, where the kernel tells.
        holder: Option<u32>,
    },
}

fn by(holder: Option<u32>) -> String {
    holder.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}

/// The pins of one instance and one ABI version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    root: PathBuf,
    name: String,
    version: u32,
}

impl Place {
    /// The instance `name` under [`BPF_FS`], in the layout of this binary.
    pub fn new(name: &str) -> Result<Self, PlaceError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > NAME_LENGTH || !name.bytes().all(fits) {
            return Err(PlaceError::Name { name: name.to_owned() });
        }
        Ok(Self {
            root: PathBuf::from(BPF_FS),
            name: name.to_owned(),
            version: ABI_VERSION,
        })
    }

    /// The same instance in another layout, as an older or a newer binary has it.
    #[must_use]
    pub fn of_version(&self, version: u32) -> Self {
        Self {
            version,
            ..self.clone()
        }
    }

    /// The instance's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// ABI version of the pins.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The instance's directory, all versions together.
    pub fn instance(&self) -> PathBuf {
        self.root.join(&self.name)
    }

    /// The directory of this version.
    pub fn dir(&self) -> PathBuf {
        self.instance().join(format!("v{}", self.version))
    }

    /// Pin of a map.
    pub fn map(&self, name: &str) -> PathBuf {
        self.dir().join("maps").join(name)
    }

    /// Pin of a hook's program.
    pub fn program(&self, hook: Hook) -> PathBuf {
        self.dir().join("progs").join(pin_name(hook))
    }

    /// Pin under which a new program waits until every link runs it.
    pub(crate) fn next_program(&self, hook: Hook) -> PathBuf {
        self.dir().join("progs").join(format!("{}-next", pin_name(hook)))
    }

    /// Directory of marks: which build the programs are of.
    pub(super) fn builds(&self) -> PathBuf {
        self.dir().join("builds")
    }

    /// Versions of what this layout remembers, as its marks have it, ascending; none where an agent made it that knew of none.
    pub(super) fn states(&self) -> Result<Vec<u32>, PlaceError> {
        let mut versions: Vec<u32> = names(&self.dir())?
            .iter()
            .filter_map(|name| name.strip_prefix(STATE)?.parse().ok())
            .collect();
        versions.sort_unstable();
        Ok(versions)
    }

    /// The mark of a version of what is remembered.
    pub(super) fn state(&self, version: u32) -> PathBuf {
        self.dir().join(format!("{STATE}{version}"))
    }

    /// Directory with a directory for each interface index.
    pub(crate) fn links(&self) -> PathBuf {
        self.dir().join("links")
    }

    /// Pin of the link of an interface's hook.
    pub fn link(&self, ifindex: u32, hook: Hook) -> PathBuf {
        self.links().join(ifindex.to_string()).join(pin_name(hook))
    }

    /// Pin of a link that is about to take another's place.
    pub(crate) fn next_link(&self, ifindex: u32, hook: Hook) -> PathBuf {
        self.links()
            .join(ifindex.to_string())
            .join(format!("{}-next", pin_name(hook)))
    }

    /// The same instance in every layout found on this machine, this binary's too if it is there; ascending.
    pub fn versions(&self) -> Result<Vec<Self>, PlaceError> {
        let mut versions: Vec<u32> = names(&self.instance())?
            .iter()
            .filter_map(|name| name.strip_prefix('v')?.parse().ok())
            .collect();
        versions.sort_unstable();
        Ok(versions.into_iter().map(|version| self.of_version(version)).collect())
    }

    /// Interface indices with a directory of links, ascending.
    pub fn linked(&self) -> Result<Vec<u32>, PlaceError> {
        let mut indices: Vec<u32> = names(&self.links())?
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        indices.sort_unstable();
        Ok(indices)
    }

    /// Makes the instance's directories.
    pub(super) fn prepare(&self) -> Result<(), PlaceError> {
        for dir in ["maps", "progs", "links"] {
            make(&self.dir().join(dir))?;
        }
        make(&self.state(STATE_VERSION))
    }

    /// Mounts the BPF file system where it is missing.
    pub(super) fn mount(&self) -> Result<(), PlaceError> {
        if is_bpf(&self.root) {
            return Ok(());
        }
        let failed = |source| PlaceError::Mount {
            path: self.root.clone(),
            source,
        };
        // Two that mount at once would hide one another's pins: the directory underneath is the lock.
        let under = File::open(&self.root).map_err(failed)?;
        under.lock().map_err(failed)?;
        if is_bpf(&self.root) {
            return Ok(());
        }
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("bpf"), &self.root, Some("bpf"), flags, Some("mode=0700")).map_err(|errno| failed(errno.into()))?;
        // In a mount namespace of our own (a container, `ip netns exec`) the pins go when it goes.
        tracing::warn!(
            path = %self.root.display(),
            "mounted a BPF file system: enforcement outlives this agent as long as this mount namespace is there"
        );
        Ok(())
    }

    /// Makes the instance's directory ours until the returned lock is dropped, or this process ends.
    pub fn lock(&self) -> Result<Lock, PlaceError> {
        let path = self.instance();
        let failed = |source| PlaceError::File {
            call: "lock",
            path: path.clone(),
            source,
        };
        loop {
            make(&path)?;
            let dir = File::open(&path).map_err(failed)?;
            match dir.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let holder = dir.metadata().ok().and_then(|metadata| holder(metadata.ino()));
                    return Err(PlaceError::Locked {
                        name: self.name.clone(),
                        holder,
                    });
                }
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            // An uninstall may have removed the directory between opening and locking.
            let (ours, now) = (dir.metadata().map_err(failed)?, fs::metadata(&path));
            if now.is_ok_and(|now| (now.dev(), now.ino()) == (ours.dev(), ours.ino())) {
                return Ok(Lock {
                    _dir: dir,
                    directory: (ours.dev(), ours.ino()),
                });
            }
        }
    }
}

/// An instance held by this process.
#[derive(Debug)]
pub struct Lock {
    _dir: File,
    /// Which directory it is.
    directory: (u64, u64),
}

impl Lock {
    /// Whether the instance's directory is still the one that is locked.
    pub(super) fn is_of(&self, place: &Place) -> bool {
        fs::metadata(place.instance()).is_ok_and(|now| (now.dev(), now.ino()) == self.directory)
    }
}

/// The process that holds a lock on the file with this inode number.
fn holder(inode: u64) -> Option<u32> {
    // 1: FLOCK  ADVISORY  WRITE 4711 00:1f:12345 0 EOF
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let flock = words.next() == Some("FLOCK");
        let (pid, file) = (words.nth(2)?, words.next()?);
        let same = file.rsplit(':').next()?.parse() == Ok(inode);
        (flock && same).then(|| pid.parse().ok()).flatten()
    })
}

fn is_bpf(path: &Path) -> bool {
    statfs(path).is_ok_and(|status| status.filesystem_type() == BPF_FS_MAGIC)
}

pub(crate) fn make(path: &Path) -> Result<(), PlaceError> {
    let made = DirBuilder::new().recursive(true).mode(MODE).create(path);
    made.map_err(|source| PlaceError::File {
        call: "make directory",
        path: path.to_owned(),
        source,
    })
}

/// The names in a directory; none where it is missing.
pub(crate) fn names(path: &Path) -> Result<Vec<String>, PlaceError> {
    let failed = |source| PlaceError::File {
        call: "read directory",
        path: path.to_owned(),
        source,
    };
    match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
        Ok(entries) => entries
            .map(|entry| {
                entry
                    .map(|entry| entry.file_name().to_string_lossy().into_owned())
                    .map_err(failed)
            })
            .collect(),
    }
}

/// Removes a pin; one that is not there counts as removed.
pub(crate) fn unpin(path: &Path) -> Result<bool, PlaceError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(PlaceError::File {
            call: "remove",
            path: path.to_owned(),
            source,
        }),
    }
}

/// Puts a pin in another's place, atomically.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), PlaceError> {
    fs::rename(from, to).map_err(|source| PlaceError::File {
        call: "rename",
        path: from.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::{Place, PlaceError};

    #[test]
    fn an_instance_name_stays_one_directory_below_the_file_system() {
        for name in ["", ".", "..", "a/b", "a.b", "a b", "\u{e9}", &"a".repeat(65)] {
            assert!(matches!(Place::new(name), Err(PlaceError::Name { .. })), "{name:?}");
        }
        assert!(Place::new("cellwall-2_b").is_ok());
    }
}
