//! Files in the state directory: written whole or not at all, and checked when read.
//!
//! First line: `cellwall-state CRC32 LENGTH`, of what follows. A file that does not fit its first line is set aside
//! as `NAME.broken` for a person to look at, and counts as absent.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a state file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message says it")]
pub enum StateError {
    #[error("cannot {what} {path}; check the disk and its permissions")]
    Io {
        what: &'static str,
        path: String,
        source: io::Error,
    },
    #[error("{path} is not whole ({what}); it was set aside as {path}.broken")]
    Broken { path: String, what: &'static str },
    #[error("the state cannot be written as JSON")]
    Json { source: serde_json::Error },
}

/// What a replacement is written to first.
const NEW: &str = "new";
/// What a file is set aside as.
const BROKEN: &str = "broken";

/// Every name that the state file `name` may have in its directory.
pub fn names(name: &str) -> Vec<String> {
    vec![name.to_owned(), format!("{name}.{NEW}"), format!("{name}.{BROKEN}")]
}

/// A file of the state directory.
#[derive(Debug, Clone)]
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// The file `name` in `directory`.
    pub fn new(directory: &Path, name: &str) -> Self {
        Self {
            path: directory.join(name),
        }
    }

    fn io(&self, what: &'static str) -> impl FnOnce(io::Error) -> StateError {
        let path = self.path.display().to_string();
        move |source| StateError::Io { what, path, source }
    }

    /// The state, none where there is no file.
    pub fn load<T: DeserializeOwned>(&self) -> Result<Option<T>, StateError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io("read")(error)),
        };
        match checked(&text).and_then(|body| serde_json::from_slice(body).map_err(|_| "not the JSON expected")) {
            Ok(state) => Ok(Some(state)),
            Err(what) => {
                let broken = self.path.with_added_extension(BROKEN);
                fs::rename(&self.path, &broken).map_err(self.io("set aside"))?;
                Err(StateError::Broken {
                    path: self.path.display().to_string(),
                    what,
                })
            }
        }
    }

    /// Replaces the state: a reader, or a machine that loses power, sees the old or the new one, never half.
    pub fn save(&self, state: &impl Serialize) -> Result<(), StateError> {
        let body = serde_json::to_vec(state).map_err(|source| StateError::Json { source })?;
        let header = format!("cellwall-state {:08x} {}\n", crc32fast::hash(&body), body.len());
        let beside = self.path.with_added_extension(NEW);
        if let Some(directory) = self.path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(self.io("make the directory of"))?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .map_err(self.io("write beside"))?;
        file.write_all(header.as_bytes()).map_err(self.io("write"))?;
        file.write_all(&body).map_err(self.io("write"))?;
        file.sync_all().map_err(self.io("write"))?;
        fs::rename(&beside, &self.path).map_err(self.io("replace"))?;
        // The rename itself is durable once the directory is.
        match self.path.parent().map(File::open) {
            Some(Ok(directory)) => directory.sync_all().map_err(self.io("write")),
            _ => Ok(()),
        }
    }
}

fn checked(text: &[u8]) -> Result<&[u8], &'static str> {
    let end = text.iter().position(|b| *b == b'\n').ok_or("no first line")?;
    let (first, rest) = text.split_at(end);
    let body = &rest[1..];
    let words: Vec<&str> = std::str::from_utf8(first)
        .map_err(|_| "a strange first line")?
        .split(' ')
        .collect();
    let [mark, crc, length] = words.as_slice() else {
        return Err("a strange first line");
    };
    if *mark != "cellwall-state" || length.parse() != Ok(body.len()) {
        return Err("cut short");
    }
    if u32::from_str_radix(crc, 16) != Ok(crc32fast::hash(body)) {
        return Err("the checksum differs");
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_loaded_and_what_is_broken_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let file = StateFile::new(&directory.path().join("below"), "policy.json");
        assert_eq!(file.load::<Vec<u32>>().unwrap(), None);
        file.save(&vec![1, 2, 3]).unwrap();
        assert_eq!(file.load::<Vec<u32>>().unwrap(), Some(vec![1, 2, 3]));
        let path = directory.path().join("below/policy.json");
        for cut in 0..fs::read(&path).unwrap().len() {
            let whole = fs::read(&path).unwrap();
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(
                matches!(file.load::<Vec<u32>>(), Err(StateError::Broken { .. })),
                "cut at {cut}"
            );
            assert!(path.with_added_extension("broken").exists());
            for entry in fs::read_dir(directory.path().join("below")).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(names("policy.json").contains(&name), "{name} would be left behind");
            }
            fs::write(&path, whole).unwrap();
        }
    }
}
