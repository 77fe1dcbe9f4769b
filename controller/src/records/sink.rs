//! Where records go: JSON lines to standard output, or to a file that is rotated by size and age.
//!
//! Rotated files are PATH.1 (the last) to PATH.KEEP. A file that somebody else moves or removes (logrotate) is opened
//! again within a second. What does not fit on the disk is cut off again, so that no line is half a line.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::FlowRecord;
use crate::cli::args::FlowLog;
use crate::json_line;

/// How often the path is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// When a file is put aside, and how many are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes of a file; 0: as many as come.
    pub size: u64,
    /// How old a file gets; none: as old as it gets.
    pub age: Option<Duration>,
    /// Files kept beside the one that is written.
    pub keep: u32,
}

/// An open sink.
#[derive(Debug)]
pub enum Sink {
    /// Nowhere.
    None,
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(Box<Rotated>),
}

impl Sink {
    /// Opens the sink that was asked for.
    pub fn open(log: &FlowLog, rotation: Rotation) -> io::Result<Self> {
        Ok(match log {
            FlowLog::None => Self::None,
            FlowLog::Stdout => Self::Stdout,
            FlowLog::File(path) => Self::File(Box::new(Rotated::open(path, rotation)?)),
        })
    }

    /// Writes records. They are written whole or, on an error, counted by the caller as lost.
    pub fn write(&mut self, records: &[Arc<FlowRecord>]) -> io::Result<()> {
        if records.is_empty() || matches!(self, Self::None) {
            return Ok(());
        }
        let mut lines = Vec::with_capacity(records.len() * 768);
        for record in records {
            json_line::write(&mut lines, record)?;
            lines.push(b'\n');
        }
        match self {
            Self::None => Ok(()),
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(&lines)?;
                out.flush()
            }
            Self::File(file) => file.write(&lines),
        }
    }
}

/// A file and when it is put aside. What is no regular file (a device, a pipe) is only written to.
#[derive(Debug)]
pub struct Rotated {
    path: PathBuf,
    rotation: Rotation,
    open: Option<Open>,
    looked: Instant,
}

#[derive(Debug)]
struct Open {
    file: File,
    regular: bool,
    identity: (u64, u64),
    length: u64,
    /// How old it was when it was opened, by the clock of then, and when that was: the clock may be set since.
    was: Duration,
    opened: Instant,
}

impl Open {
    fn new(path: &Path) -> io::Result<Self> {
        let file = append(path)?;
        let data = file.metadata()?;
        Ok(Self {
            regular: data.is_file(),
            identity: identity(&data),
            length: data.len(),
            was: age(data.created(), SystemTime::now()),
            opened: Instant::now(),
            file,
        })
    }

    fn is_due(&self, rotation: Rotation, more: u64) -> bool {
        let large = rotation.size > 0 && self.length + more > rotation.size;
        let old = || {
            let lived = self.was.saturating_add(self.opened.elapsed());
            rotation.age.is_some_and(|age| lived >= age)
        };
        self.regular && self.length > 0 && (large || old())
    }
}

impl Rotated {
    fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            rotation,
            open: Some(Open::new(path)?),
            looked: Instant::now(),
        })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.look();
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.is_due(self.rotation, lines.len() as u64))
        {
            self.rotate();
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(Open::new(&self.path)?),
        };
        match open.file.write_all(lines) {
            Ok(()) => {
                open.length += lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                if open.regular {
                    // What is there of them may end in half a line. Where even that fails the next look opens it anew.
                    let _ = open.file.set_len(open.length);
                }
                Err(error)
            }
        }
    }

    /// Lets go of a file that is not the one at the path any more.
    fn look(&mut self) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        let there = std::fs::metadata(&self.path).map(|data| identity(&data)).ok();
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.regular && Some(open.identity) != there)
        {
            self.open = None;
        }
    }

    /// Puts the file aside. Where that fails it grows on, and the next write tries again.
    fn rotate(&mut self) {
        let number = |number: u32| self.path.with_added_extension(number.to_string());
        let moved = if self.rotation.keep == 0 {
            std::fs::remove_file(&self.path)
        } else {
            for older in (1..self.rotation.keep).rev() {
                // Those that are not there yet cannot be moved.
                let _ = std::fs::rename(number(older), number(older + 1));
            }
            std::fs::rename(&self.path, number(1))
        };
        match moved {
            Ok(()) => self.open = None,
            Err(error) => tracing::warn!(%error, path = %self.path.display(), "the flow log cannot be rotated"),
        }
    }
}

/// How old a file is that was made then. One of a file system that does not tell, or from before the clock was set back,
/// begins now.
fn age(made: io::Result<SystemTime>, now: SystemTime) -> Duration {
    made.ok()
        .and_then(|made| now.duration_since(made).ok())
        .unwrap_or_default()
}

fn identity(data: &Metadata) -> (u64, u64) {
    (data.dev(), data.ino())
}

/// Flow records hold names and addresses of the whole cluster: readable by the owner and group only.
fn append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(directory: &Path) -> Vec<(String, u64)> {
        let mut all: Vec<_> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    entry.metadata().unwrap().len(),
                )
            })
            .collect();
        all.sort();
        all
    }

    #[test]
    fn a_file_is_put_aside_at_its_size_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let rotation = Rotation {
            size: 100,
            age: None,
            keep: 2,
        };
        let mut file = Rotated::open(&directory.path().join("flows"), rotation).unwrap();
        for _ in 0..9 {
            file.write(&[b'x'; 40]).unwrap();
        }
        let want = [("flows", 40), ("flows.1", 80), ("flows.2", 80)].map(|(name, size)| (name.to_owned(), size));
        assert_eq!(sizes(directory.path()), want);
    }

    #[test]
    fn a_file_is_put_aside_at_its_age() {
        let directory = tempfile::tempdir().unwrap();
        let rotation = Rotation {
            size: 0,
            age: Some(Duration::from_millis(50)),
            keep: 1,
        };
        let mut file = Rotated::open(&directory.path().join("flows"), rotation).unwrap();
        file.write(b"old\n").unwrap();
        std::thread::sleep(Duration::from_millis(100));
        file.write(b"new\n").unwrap();
        assert_eq!(std::fs::read(directory.path().join("flows")).unwrap(), b"new\n");
        assert_eq!(std::fs::read(directory.path().join("flows.1")).unwrap(), b"old\n");
    }

    #[test]
    fn a_file_from_before_the_clock_was_set_back_gets_as_old_as_any_other() {
        let (now, year) = (SystemTime::now(), Duration::from_hours(365 * 24));
        assert_eq!(age(Ok(now - year), now), year);
        assert_eq!(age(Ok(now + year), now), Duration::ZERO);
        let directory = tempfile::tempdir().unwrap();
        let rotation = Rotation {
            size: 0,
            age: Some(Duration::from_millis(50)),
            keep: 1,
        };
        let mut file = Rotated::open(&directory.path().join("flows"), rotation).unwrap();
        file.write(b"old\n").unwrap();
        let open = file.open.as_mut().unwrap();
        open.was = age(Ok(now + year), now);
        std::thread::sleep(Duration::from_millis(100));
        file.write(b"new\n").unwrap();
        assert_eq!(std::fs::read(directory.path().join("flows")).unwrap(), b"new\n");
    }

    #[test]
    fn a_file_that_somebody_moved_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows");
        let mut file = Rotated::open(
            &path,
            Rotation {
                size: 0,
                age: None,
                keep: 1,
            },
        )
        .unwrap();
        file.write(b"before\n").unwrap();
        std::fs::rename(&path, directory.path().join("elsewhere")).unwrap();
        std::thread::sleep(LOOK);
        file.write(b"after\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"after\n");
    }

    #[test]
    fn what_the_disk_does_not_take_leaves_no_half_line() {
        let mut sink = Sink::open(
            &FlowLog::File("/dev/full".into()),
            Rotation {
                size: 1,
                age: None,
                keep: 1,
            },
        )
        .unwrap();
        let Sink::File(file) = &mut sink else { unreachable!() };
        assert_eq!(file.write(b"line\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_record_of_hostile_text_is_one_line_that_is_harmless_and_read_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows");
        let rotation = Rotation {
            size: 0,
            age: None,
            keep: 1,
        };
        let mut sink = Sink::open(&FlowLog::File(path.clone()), rotation).unwrap();
        let hostile = format!("\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\0\r\n\"}}\\{}", "x".repeat(10_240));
        let time = "2026-01-02T03:04:05Z";
        let end = serde_json::json!({
            "ip": null, "port": null, "namespace": hostile, "pod": hostile, "uid": hostile, "app": hostile,
            "images": [hostile], "labels": {hostile.as_str(): hostile}, "objects": [hostile], "entity": null,
        });
        let record = serde_json::json!({
            "time": time, "node": hostile, "verdict": "DROP", "action": null, "applied": "Drop", "reason": "RULE",
            "rule": {"name": hostile, "uid": hostile, "priority": 1}, "generation": 1, "hook": "FROM_POD",
            "protocol": "TCP", "source": end, "destination": end, "attempts": 1, "first_seen": time, "last_seen": time,
        });
        let record: FlowRecord = serde_json::from_value(record).unwrap();
        sink.write(&[Arc::new(record.clone()), Arc::new(record.clone())])
            .unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(
            !text.chars().any(|c| c != '\n' && cellwall_crds::is_invisible(c)),
            "{text:?}"
        );
        let read: Vec<FlowRecord> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, [record.clone(), record]);
    }
}
