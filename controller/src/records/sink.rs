//! Where records go: JSON lines to standard output or a file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::FlowRecord;
use crate::cli::args::FlowLog;

/// An open sink.
#[derive(Debug)]
pub enum Sink {
    /// Nowhere.
    None,
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(BufWriter<File>),
}

impl Sink {
    /// Opens the sink that was asked for.
    pub fn open(log: &FlowLog) -> io::Result<Self> {
        Ok(match log {
            FlowLog::None => Self::None,
            FlowLog::Stdout => Self::Stdout,
            FlowLog::File(path) => Self::File(BufWriter::new(append(path)?)),
        })
    }

    /// Writes records and flushes. A record is written whole or, on an error, counted by the caller as lost.
    pub fn write(&mut self, records: &[std::sync::Arc<FlowRecord>]) -> io::Result<()> {
        if records.is_empty() || matches!(self, Self::None) {
            return Ok(());
        }
        let mut lines = Vec::with_capacity(records.len() * 768);
        for record in records {
            serde_json::to_writer(&mut lines, record)?;
            lines.push(b'\n');
        }
        match self {
            Self::None => Ok(()),
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(&lines)?;
                out.flush()
            }
            Self::File(file) => {
                file.write_all(&lines)?;
                file.flush()
            }
        }
    }
}

/// Flow records hold names and addresses of the whole cluster: readable by the owner and group only.
fn append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}
