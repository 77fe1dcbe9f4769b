//! From the name or path of a network namespace to the kernel's number for it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use netlink_packet_core::Parseable;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

use super::{Links, NamespaceId};
use crate::netlink::{NetlinkError, Request, attributes};

/// Where `ip netns` and the container runtimes keep named namespaces.
pub const RUN_NETNS: &str = "/run/netns";

/// Fixed part of a namespace message (`rtgenmsg`, padded).
const HEADER: usize = 4;
const NETNSA_NSID: u16 = 1;
/// Not numbered yet; as an order: any free number.
const UNNUMBERED: i32 = -1;

/// Why a namespace cannot be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamespaceError {
    /// Neither a plain name nor an absolute path.
    #[error("{place:?} is no name of a network namespace: give a name under {RUN_NETNS} or an absolute path")]
    Name {
        /// As given.
        place: String,
    },
    /// The file is not there or may not be opened.
    #[error("network namespace {}", path.display())]
    Open {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{} is no network namespace", path.display())]
    NotANamespace {
        /// What was named.
        path: PathBuf,
    },
    /// It is the namespace of the node itself.
    #[error("{} is the node's own network namespace: a pod there has no interface to guard", path.display())]
    Own {
        /// What was named.
        path: PathBuf,
    },
    /// The kernel could not be asked.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

impl Links {
    /// The number of a namespace given by its name under [`RUN_NETNS`] or by an absolute path; it is given one where
    /// it had none, so that the events inside it reach us.
    pub fn namespace(&mut self, place: &str) -> Result<NamespaceId, NamespaceError> {
        let path = path_of(place)?;
        let file = open(&path)?;
        if is_own(&file) {
            return Err(NamespaceError::Own { path });
        }
        if let Some(id) = self.number_of(&file)? {
            return Ok(id);
        }
        let message = about(&file, &[NsidAttribute::Id(UNNUMBERED)]);
        let request = Request::of("number a network namespace", &RouteNetlinkMessage::NewNsId(message));
        match self.route.order(&request, 0) {
            // Somebody was faster: a list of links numbers namespaces too.
            Err(error) if error.refusal() == Some(libc::EEXIST) => {}
            other => other?,
        }
        self.number_of(&file)?.ok_or(NamespaceError::NotANamespace { path })
    }

    fn number_of(&mut self, file: &File) -> Result<Option<NamespaceId>, NetlinkError> {
        let message = RouteNetlinkMessage::GetNsId(about(file, &[]));
        let request = Request::of("tell a network namespace's number", &message);
        let id = self.route.ask(&request, |payload| {
            for attribute in attributes(payload, HEADER) {
                let attribute = attribute?;
                if attribute.kind() == NETNSA_NSID
                    && let NsidAttribute::Id(id) = NsidAttribute::parse(&attribute)?
                {
                    return Ok(Some(id));
                }
            }
            Ok(None)
        })?;
        Ok(id.filter(|id| *id != UNNUMBERED).map(NamespaceId))
    }
}

/// A message about the namespace behind an open file.
fn about(file: &File, more: &[NsidAttribute]) -> NsidMessage {
    let mut message = NsidMessage::default();
    message.attributes.extend_from_slice(more);
    message
        .attributes
        .push(NsidAttribute::Fd(file.as_raw_fd().cast_unsigned()));
    message
}

fn path_of(place: &str) -> Result<PathBuf, NamespaceError> {
    let plain = !place.is_empty() && place != "." && place != ".." && !place.contains(['/', '\0']);
    if plain {
        Ok(Path::new(RUN_NETNS).join(place))
    } else if place.starts_with('/') && !place.contains('\0') {
        Ok(PathBuf::from(place))
    } else {
        Err(NamespaceError::Name {
            place: place.to_owned(),
        })
    }
}

fn open(path: &Path) -> Result<File, NamespaceError> {
    // Not blocking: the path is from a manifest and might name a pipe.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    let file = file.map_err(|source| NamespaceError::Open {
        path: path.to_owned(),
        source,
    })?;
    match fstatfs(&file) {
        Ok(status) if status.filesystem_type() == NSFS_MAGIC => Ok(file),
        Ok(_) => Err(NamespaceError::NotANamespace { path: path.to_owned() }),
        Err(errno) => Err(NamespaceError::Open {
            path: path.to_owned(),
            source: errno.into(),
        }),
    }
}

/// Whether the file is the calling thread's own network namespace.
fn is_own(file: &File) -> bool {
    let own = std::fs::metadata("/proc/thread-self/ns/net");
    match (own, file.metadata()) {
        (Ok(own), Ok(given)) => (own.dev(), own.ino()) == (given.dev(), given.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{NamespaceError, open, path_of};
    use std::path::Path;

    #[test]
    fn a_plain_name_lies_under_run_netns() {
        assert_eq!(path_of("pod-0").ok().as_deref(), Some(Path::new("/run/netns/pod-0")));
    }

    #[test]
    fn a_name_cannot_climb_out_of_run_netns() {
        for place in ["", ".", "..", "../pod-0", "a/b", "a\0b", "/a\0b"] {
            assert!(matches!(path_of(place), Err(NamespaceError::Name { .. })), "{place:?}");
        }
    }

    #[test]
    fn a_file_that_is_no_namespace_is_told_apart() {
        assert!(matches!(
            open(Path::new("/dev/null")),
            Err(NamespaceError::NotANamespace { .. })
        ));
        assert!(matches!(
            open(Path::new("/run/netns/absent/absent")),
            Err(NamespaceError::Open { .. })
        ));
    }
}
