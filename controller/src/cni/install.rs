//! The plugin on a node: its file among the other plugins, and its entry at the end of the network configuration that
//! the container runtime uses.
//!
//! A runtime may read the configuration at any moment and takes the first file by name, so each step leaves a whole one
//! in force: the plugin's file is there before a configuration names it, files are written beside and renamed over, and
//! a single plugin's configuration is wrapped in a list that is there before the single one is set aside.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::VERSIONS;
use super::config::WhenAway;

/// The plugin's name: its file, and its type in a configuration.
pub const PLUGIN: &str = "cellwall";
/// Files that runtimes read.
const READ: [&str; 3] = ["conf", "conflist", "json"];
/// What a single plugin's configuration is set aside as: no runtime reads it.
const ASIDE: &str = "before-cellwall";
/// What a file is written as before it has its name.
const BESIDE: &str = "cellwall-new";
/// How long a runtime may go on with the configuration before, in which the plugin's file is still named.
const GRACE: Duration = Duration::from_secs(2);

/// Why it cannot be installed or removed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message says it")]
pub enum InstallError {
    #[error("cannot {what} {}", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} is not a network configuration: {what}", path.display())]
    Configuration { path: PathBuf, what: String },
    #[error(
        "{} has no network configuration yet; install a network plugin first, or use --keep to wait for one",
        directory.display()
    )]
    None { directory: PathBuf },
}

/// Where things are, and what the plugin is told.
#[derive(Debug, Clone)]
pub struct Installation {
    /// The plugins' directory.
    pub bin_dir: PathBuf,
    /// The configurations' directory.
    pub conf_dir: PathBuf,
    /// The agent's socket, as the runtime sees it.
    pub socket: PathBuf,
    /// Longest wait.
    pub timeout_seconds: u64,
    /// What happens without an agent.
    pub when_away: WhenAway,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Everything was as it should be.
    Nothing,
    /// These files were changed.
    Changed(Vec<PathBuf>),
}

impl Installation {
    /// Puts the plugin where it belongs: `program` is its file. Repeated it changes nothing.
    pub fn install(&self, program: &Path) -> Result<Done, InstallError> {
        let mut changed = Vec::new();
        let Some(path) = self.first()? else {
            return Err(InstallError::None {
                directory: self.conf_dir.clone(),
            });
        };
        changed.extend(self.put_program(program)?);
        let text = match fs::read(&path) {
            // Between listing and reading the network's own installer may have taken it away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(InstallError::None {
                    directory: self.conf_dir.clone(),
                });
            }
            text => text.map_err(failed("read", &path))?,
        };
        let configuration = parse(&path, &text)?;
        let list = with_plugin(&path, &configuration, &self.entry())?;
        // What its owner has written meanwhile is not written over: the next look finds it.
        let as_read = || fs::read(&path).is_ok_and(|now| now == text);
        if path.extension().is_some_and(|extension| extension == "conflist") {
            if list != configuration && replace(&path, &*pretty(&list), 0o600, as_read)? {
                changed.push(path);
            }
        } else {
            let wrapped = path.with_extension("conflist");
            if replace(&wrapped, &*pretty(&list), 0o600, as_read)? {
                let aside = path.with_added_extension(ASIDE);
                fs::rename(&path, &aside).map_err(failed("set aside", &path))?;
                changed.extend([wrapped, aside]);
            }
        }
        Ok(if changed.is_empty() {
            Done::Nothing
        } else {
            Done::Changed(changed)
        })
    }

    /// Takes the plugin out of every configuration, and then its file away.
    pub fn uninstall(&self) -> Result<Done, InstallError> {
        let mut changed = self.take_out()?;
        if !changed.is_empty() {
            std::thread::sleep(GRACE);
        }
        let program = self.bin_dir.join(PLUGIN);
        match fs::remove_file(&program) {
            Ok(()) => changed.push(program),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("remove", &program)(error)),
        }
        Ok(if changed.is_empty() {
            Done::Nothing
        } else {
            Done::Changed(changed)
        })
    }

    /// Takes the plugin out of every configuration.
    fn take_out(&self) -> Result<Vec<PathBuf>, InstallError> {
        let mut changed = Vec::new();
        for path in files(&self.conf_dir)? {
            let Ok(configuration) = read(&path) else { continue };
            let Some(list) = without_plugin(&configuration) else {
                continue;
            };
            if let Some((aside, single)) = before(&path) {
                fs::rename(&aside, &single).map_err(failed("put back", &aside))?;
                fs::remove_file(&path).map_err(failed("remove", &path))?;
                changed.push(single);
            } else {
                replace(&path, &*pretty(&list), 0o600, || true)?;
                changed.push(path);
            }
        }
        Ok(changed)
    }

    /// The configuration that runtimes use: the first by name.
    fn first(&self) -> Result<Option<PathBuf>, InstallError> {
        Ok(files(&self.conf_dir)?.into_iter().next())
    }

    fn entry(&self) -> Value {
        json!({
            "type": PLUGIN,
            "socket": self.socket,
            "timeoutSeconds": self.timeout_seconds,
            "whenAway": self.when_away,
        })
    }

    fn put_program(&self, program: &Path) -> Result<Option<PathBuf>, InstallError> {
        let target = self.bin_dir.join(PLUGIN);
        let executable = |file: &Path| fs::metadata(file).is_ok_and(|data| data.permissions().mode() & 0o111 != 0);
        if executable(&target) && is_same(program, &target).unwrap_or(false) {
            return Ok(None);
        }
        let content = File::open(program).map_err(failed("read", program))?;
        replace(&target, content, 0o755, || true)?;
        Ok(Some(target))
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError::File { what, path, source }
}

/// Whether two files hold the same; neither is held in memory, since this is asked every second.
fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let both = left.len().min(right.len());
        if left[..both] != right[..both] {
            return Ok(false);
        }
        if both == 0 {
            return Ok(left.len() == right.len());
        }
        one.consume(both);
        other.consume(both);
    }
}

/// Files of the directory that runtimes read, in their order.
fn files(directory: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let entries = fs::read_dir(directory).map_err(failed("list", directory))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed("list", directory))?.path();
        let read = path
            .extension()
            .is_some_and(|extension| READ.iter().any(|read| extension == *read));
        if read && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Value, InstallError> {
    let text = fs::read(path).map_err(failed("read", path))?;
    parse(path, &text)
}

fn parse(path: &Path, text: &[u8]) -> Result<Value, InstallError> {
    let wrong = |what: &str| InstallError::Configuration {
        path: path.to_owned(),
        what: what.to_owned(),
    };
    let value: Value = serde_json::from_slice(text).map_err(|error| wrong(&error.to_string()))?;
    if value.get("plugins").is_some_and(Value::is_array) || value.get("type").is_some_and(Value::is_string) {
        Ok(value)
    } else {
        Err(wrong("it has neither `plugins` nor `type`"))
    }
}

/// The configuration as a list that ends with our entry.
fn with_plugin(path: &Path, configuration: &Value, entry: &Value) -> Result<Value, InstallError> {
    let mut list = match configuration.get("plugins") {
        Some(_) => configuration.clone(),
        None => json!({
            "cniVersion": configuration.get("cniVersion").cloned().unwrap_or_else(|| "0.3.1".into()),
            "name": configuration.get("name").cloned().unwrap_or_else(|| "pods".into()),
            "plugins": [configuration],
        }),
    };
    let version = list["cniVersion"].as_str().unwrap_or_default();
    if !VERSIONS.contains(&version) {
        return Err(InstallError::Configuration {
            path: path.to_owned(),
            what: format!(
                "its cniVersion is {version:?}; this plugin speaks {}",
                VERSIONS.join(", ")
            ),
        });
    }
    if let Some(plugins) = list["plugins"].as_array_mut() {
        let last_is_ours = plugins.last() == Some(entry);
        if !(last_is_ours && plugins.iter().filter(|plugin| is_ours(plugin)).count() == 1) {
            plugins.retain(|plugin| !is_ours(plugin));
            plugins.push(entry.clone());
        }
    }
    Ok(list)
}

/// The list without our entry; none where it had none.
fn without_plugin(configuration: &Value) -> Option<Value> {
    let mut list = configuration.clone();
    let plugins = list.get_mut("plugins")?.as_array_mut()?;
    let all = plugins.len();
    plugins.retain(|plugin| !is_ours(plugin));
    (plugins.len() < all).then_some(list)
}

fn is_ours(plugin: &Value) -> bool {
    plugin["type"] == PLUGIN
}

/// The configuration of a single plugin that was set aside for this list: where it lies, and where it lay.
fn before(list: &Path) -> Option<(PathBuf, PathBuf)> {
    let singles = ["conf", "json"].map(|extension| list.with_extension(extension));
    let mut aside = singles
        .map(|single| (single.with_added_extension(ASIDE), single))
        .into_iter();
    aside.find(|(aside, _)| aside.is_file())
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut text = format!("{value:#}").into_bytes();
    text.push(b'\n');
    text
}

/// Writes beside, and renames: whoever reads finds the file before or this one. Where things are not `still` as they were
/// right before that, nothing is renamed, and the answer is false.
fn replace(path: &Path, mut content: impl Read, mode: u32, still: impl FnOnce() -> bool) -> Result<bool, InstallError> {
    let beside = path.with_added_extension(BESIDE);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &beside)(error)),
        _ => {}
    }
    // What was there keeps its rights.
    let mode = fs::metadata(path).map_or(mode, |there| there.permissions().mode() & 0o777 | mode & 0o111);
    let mut write = || {
        let mut file = File::options().write(true).create_new(true).mode(mode).open(&beside)?;
        io::copy(&mut content, &mut file)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()
    };
    if let Err(error) = write() {
        // Nothing was in force yet; what is left of it is in nobody's way.
        let _left = fs::remove_file(&beside);
        return Err(failed("write", &beside)(error));
    }
    if !still() {
        fs::remove_file(&beside).map_err(failed("remove", &beside))?;
        return Ok(false);
    }
    fs::rename(&beside, path).map_err(failed("put in place", path))?;
    Ok(true)
}

#[cfg(test)]
mod tests;
