//! What an uninstall leaves of an instance's directories: nothing of ours, and everything that is not.
//!
//! `--instance` and `--state-dir` are words that a person types: a directory may turn out to be somebody else's.

use std::io;
use std::path::{Path, PathBuf};

/// What became of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cleared {
    /// It was not there.
    Absent,
    /// It is gone with our files.
    Removed,
    /// Our files are gone; it is a mount, or lies on a file system that is read only, and stays empty.
    Emptied,
    /// Our files are gone; these are not ours, and it stays with them.
    Kept(Vec<PathBuf>),
}

/// Removes our `files` from `directory`, and the directory if nothing else is in it and it can go: in a container it is a
/// mount of the node's, on a root that is read only.
pub(super) fn clear(directory: &Path, files: &[String]) -> io::Result<Cleared> {
    for name in files {
        match std::fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let mut left = match std::fs::read_dir(directory) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Cleared::Absent),
        Err(error) => return Err(error),
    };
    if left.is_empty() {
        use io::ErrorKind::{ReadOnlyFilesystem, ResourceBusy};
        return match std::fs::remove_dir(directory) {
            Ok(()) => Ok(Cleared::Removed),
            Err(error) if matches!(error.kind(), ReadOnlyFilesystem | ResourceBusy) => Ok(Cleared::Emptied),
            Err(error) => Err(error),
        };
    }
    left.sort_unstable();
    Ok(Cleared::Kept(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_ours_goes_and_one_with_a_strangers_file_stays_with_it() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("state");
        let ours = ["ours.json".to_owned(), "ours.json.new".to_owned()];
        assert_eq!(clear(&directory, &ours).unwrap(), Cleared::Absent);

        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("ours.json"), "{}").unwrap();
        assert_eq!(clear(&directory, &ours).unwrap(), Cleared::Removed);
        assert!(!directory.exists());

        std::fs::create_dir_all(directory.join("theirs")).unwrap();
        std::fs::write(directory.join("ours.json"), "{}").unwrap();
        let theirs = vec![directory.join("theirs")];
        assert_eq!(clear(&directory, &ours).unwrap(), Cleared::Kept(theirs));
        assert!(!directory.join("ours.json").exists() && directory.join("theirs").exists());
    }
}
