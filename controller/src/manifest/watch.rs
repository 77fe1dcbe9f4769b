//! Following the manifests below some paths: a scan whenever something changed.
//!
//! A thread waits for the kernel's word (inotify), gives a burst of changes a moment to end, looks, and delivers the
//! scan if it differs from the one before. Every few seconds it looks without being told, for what the kernel does not
//! tell (writes through mappings, changes made on another machine). Where the kernel has no more watches to give, it
//! looks every 50 ms instead, says so, and tries again.

mod interest;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::sync::mpsc;

use self::interest::{Interest, interests};
use super::files::{Found, Scan, Scanner, Writers, find, is_manifest_name};
use super::problem::{Fault, Problem};

/// How a follower bides its time.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A burst of changes is over when nothing has happened for this long.
    pub quiet: Duration,
    /// A burst that does not end is looked at after this long all the same.
    pub longest: Duration,
    /// How often to look where the kernel does not tell of changes.
    pub poll: Duration,
    /// How often to look without being told.
    pub rescan: Duration,
    /// Whether to ask the kernel at all; some file systems never tell.
    pub inotify: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(10),
            longest: Duration::from_millis(50),
            poll: Duration::from_millis(50),
            rescan: Duration::from_secs(3),
            inotify: true,
        }
    }
}

/// A file that is open for writing and was not written to for this long is read as it is, unless it is empty.
const STALE_WRITER: Duration = Duration::from_secs(1);
/// How long the first scan is held back while files are changing.
const FIRST_PATIENCE: Duration = Duration::from_millis(500);

/// Scans of some paths, one for each change. Ends its thread when dropped.
#[derive(Debug)]
pub struct Follower {
    scans: mpsc::Receiver<Scan>,
    wake: UnixStream,
}

impl Follower {
    /// Begins to follow `roots`, files and directories, which need not be there yet. The first scan comes at once.
    pub fn start(roots: Vec<PathBuf>, pace: Pace) -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        let (sender, scans) = mpsc::channel(1);
        let worker = Worker::new(roots, pace, sender, woken);
        thread::Builder::new()
            .name("manifests".to_owned())
            .spawn(move || worker.run())?;
        Ok(Self { scans, wake })
    }

    /// The next scan that differs from the one before; `None` once the thread has ended.
    pub async fn next(&mut self) -> Option<Scan> {
        self.scans.recv().await
    }

    /// Looks now. If nothing changed, nothing is delivered.
    pub fn look_now(&self) -> io::Result<()> {
        (&self.wake).write_all(&[1])
    }
}

/// What one watch of the kernel is for.
#[derive(Debug, Default)]
struct Watched {
    /// The directory as found, or the manifest that a link leads to.
    path: PathBuf,
    /// Whether it is a directory whose manifests are read.
    is_read: bool,
    /// Names in the directory that matter, whatever they look like.
    names: BTreeSet<std::ffi::OsString>,
}

/// Changes that have not been looked at.
#[derive(Clone, Copy, Debug)]
struct Burst {
    first: Instant,
    last: Instant,
}

struct Worker {
    scanner: Scanner,
    pace: Pace,
    scans: mpsc::Sender<Scan>,
    woken: UnixStream,
    inotify: Option<Inotify>,
    watched: HashMap<WatchDescriptor, Watched>,
    /// Why the kernel does not tell of changes, if so.
    blind_because: Option<String>,
    /// Files that were written to and not closed, with the time of the last write.
    writers: BTreeMap<PathBuf, Instant>,
    burst: Option<Burst>,
    rescan_at: Instant,
    poll_at: Instant,
    polled: Option<Found>,
    /// When to look again because something was changing, and how long to wait after that.
    unsettled: Option<(Instant, Duration)>,
    delivered: Option<Scan>,
    began: Instant,
}

impl Worker {
    fn new(roots: Vec<PathBuf>, pace: Pace, scans: mpsc::Sender<Scan>, woken: UnixStream) -> Self {
        let now = Instant::now();
        Self {
            scanner: Scanner::new(roots),
            pace,
            scans,
            woken,
            inotify: None,
            watched: HashMap::new(),
            blind_because: None,
            writers: BTreeMap::new(),
            burst: None,
            rescan_at: now,
            poll_at: now,
            polled: None,
            unsettled: None,
            delivered: None,
            began: now,
        }
    }

    fn run(mut self) {
        loop {
            let now = Instant::now();
            let rescan = now >= self.rescan_at;
            if rescan {
                self.rescan_at = now + self.pace.rescan;
                self.open_inotify();
            }
            if self.inotify.is_none() && now >= self.poll_at {
                self.poll_at = now + self.pace.poll;
                self.poll_files();
            }
            let burst_over = self.burst_ends().is_some_and(|end| now >= end);
            let again = self.unsettled.is_some_and(|(at, _)| now >= at);
            if (rescan || burst_over || again) && self.look().is_err() {
                return;
            }
            if self.wait().is_err() {
                return;
            }
        }
    }

    fn burst_ends(&self) -> Option<Instant> {
        self.burst
            .map(|burst| (burst.last + self.pace.quiet).min(burst.first + self.pace.longest))
    }

    fn something_changed(&mut self) {
        let now = Instant::now();
        self.burst = Some(Burst {
            first: self.burst.map_or(now, |burst| burst.first),
            last: now,
        });
    }

    /// Sleeps until something happens or is due. An error ends the thread: the follower is gone.
    fn wait(&mut self) -> Result<(), Gone> {
        let due = [
            Some(self.rescan_at),
            self.burst_ends(),
            self.unsettled.map(|(at, _)| at),
        ];
        let poll_at = self.inotify.is_none().then_some(self.poll_at);
        let until = due
            .into_iter()
            .chain([poll_at])
            .flatten()
            .min()
            .unwrap_or(self.rescan_at);
        let left = until.saturating_duration_since(Instant::now());
        // why: the timeout counts whole milliseconds; rounded down it would spin through the last one.
        let left = if left.is_zero() {
            left
        } else {
            left + Duration::from_millis(1)
        };
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::from(1000_u16));
        let mut descriptors = vec![PollFd::new(self.woken.as_fd(), PollFlags::POLLIN)];
        descriptors.extend(
            self.inotify
                .iter()
                .map(|inotify| PollFd::new(inotify.as_fd(), PollFlags::POLLIN)),
        );
        match poll(&mut descriptors, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            // why: nothing to be told by; the clock still runs, and one look a moment is better than a busy loop.
            Err(_) => thread::sleep(self.pace.poll),
        }
        self.read_wake()?;
        self.read_events();
        Ok(())
    }

    fn read_wake(&mut self) -> Result<(), Gone> {
        let mut bytes = [0; 64];
        match (&self.woken).read(&mut bytes) {
            Ok(0) => Err(Gone),
            Ok(_) => {
                self.rescan_at = Instant::now();
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(()),
            Err(_) => Err(Gone),
        }
    }

    fn read_events(&mut self) {
        loop {
            let Some(inotify) = &self.inotify else { return };
            match inotify.read_events() {
                Ok(events) => events.iter().for_each(|event| self.event(event)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(error) => return self.lose_inotify(format!("reading changes failed: {error}")),
            }
        }
    }

    fn event(&mut self, event: &InotifyEvent) {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            self.writers.clear();
            return self.something_changed();
        }
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            self.watched.remove(&event.wd);
            return self.something_changed();
        }
        let Some(watched) = self.watched.get(&event.wd) else {
            return self.something_changed();
        };
        let path = match &event.name {
            Some(name) if !watched.concerns(name, event.mask) => return,
            Some(name) => watched.path.join(name),
            None => watched.path.clone(),
        };
        if event.mask.contains(AddWatchFlags::IN_MODIFY) {
            self.writers.insert(path, Instant::now());
        } else if !event.mask.contains(AddWatchFlags::IN_ATTRIB) {
            self.writers.remove(&path);
        }
        self.something_changed();
    }

    /// Looks, and delivers what is new.
    fn look(&mut self) -> Result<(), Gone> {
        self.burst = None;
        let found = self.find_watched();
        self.writers.retain(|path, last| {
            last.elapsed() < STALE_WRITER || fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0)
        });
        let writing: BTreeSet<PathBuf> = self.writers.keys().cloned().collect();
        let writers = if self.inotify.is_some() {
            Writers::Known(&writing)
        } else {
            Writers::Unknown
        };
        if self.inotify.is_none() {
            // why: what changes from here on is to be noticed, not what a later glance happens to begin with.
            self.polled = Some(found.clone());
        }
        let mut scan = self.scanner.scan_found(found, writers);
        if let Some(because) = &self.blind_because {
            scan.problems
                .extend(self.scanner.roots().first().map(|root| told_late(root, because)));
        }
        let wait = if scan.unsettled {
            self.unsettled
                .map_or(self.pace.quiet * 2, |(_, wait)| (wait * 2).min(Duration::from_secs(1)))
        } else {
            Duration::ZERO
        };
        self.unsettled = scan.unsettled.then(|| (Instant::now() + wait, wait));
        if self.delivered.is_none() && scan.unsettled && self.began.elapsed() < FIRST_PATIENCE {
            return Ok(());
        }
        if self.delivered.as_ref().is_none_or(|before| !before.same(&scan)) {
            self.delivered = Some(scan.clone());
            self.scans.blocking_send(scan).map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// What there is, with a watch on all of it: what came between the walk and the watch is found by another walk.
    fn find_watched(&mut self) -> Found {
        let mut found = find(self.scanner.roots());
        for _ in 0..5 {
            if !self.watch(&found) {
                break;
            }
            found = find(self.scanner.roots());
        }
        found
    }

    /// Watches what was found and nothing else; says whether a directory is watched that was not before.
    fn watch(&mut self, found: &Found) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        let mut watched: HashMap<WatchDescriptor, Watched> = HashMap::new();
        let mut news = false;
        for interest in interests(self.scanner.roots(), found) {
            let (path, mask) = match &interest {
                Interest::Read(path) | Interest::Name(path, _) => (path, directory_mask()),
                Interest::Target { target, .. } => (target, file_mask()),
            };
            let descriptor = match inotify.add_watch(path, mask) {
                Ok(descriptor) => descriptor,
                Err(error @ (Errno::ENOSPC | Errno::ENOMEM)) => {
                    self.lose_inotify(format!("the kernel has no more watches to give ({error})"));
                    return false;
                }
                // why: gone or hidden since it was found; its parent's watch, or the next look, tells.
                Err(_) => continue,
            };
            news |= !self.watched.contains_key(&descriptor) && !watched.contains_key(&descriptor);
            watched.entry(descriptor).or_default().add(interest);
        }
        for gone in self
            .watched
            .keys()
            .filter(|descriptor| !watched.contains_key(descriptor))
        {
            // why: fails where the kernel removed it already, with the directory.
            let _ = inotify.rm_watch(*gone);
        }
        self.watched = watched;
        news
    }

    fn open_inotify(&mut self) {
        if !self.pace.inotify || self.inotify.is_some() {
            return;
        }
        match Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK) {
            Ok(inotify) => {
                self.inotify = Some(inotify);
                self.blind_because = None;
            }
            Err(error) => self.lose_inotify(format!("the kernel has no more watches to give ({error})")),
        }
    }

    fn lose_inotify(&mut self, because: String) {
        if self.blind_because.as_ref() != Some(&because) {
            tracing::warn!("manifests are looked at every {:?}, since {because}", self.pace.poll);
        }
        self.inotify = None;
        self.watched.clear();
        self.writers.clear();
        self.blind_because = Some(because);
        self.poll_at = Instant::now() + self.pace.poll;
        self.something_changed();
    }

    fn poll_files(&mut self) {
        let found = find(self.scanner.roots());
        if self.polled.as_ref() != Some(&found) {
            self.polled = Some(found);
            self.something_changed();
        }
    }
}

/// The follower was dropped.
struct Gone;

impl Watched {
    fn add(&mut self, interest: Interest) {
        match interest {
            Interest::Read(path) => {
                self.path = path;
                self.is_read = true;
            }
            Interest::Name(path, name) => {
                if !self.is_read {
                    self.path = path;
                }
                self.names.insert(name);
            }
            Interest::Target { manifest, .. } => self.path = manifest,
        }
    }

    /// Whether something happening to `name` in this directory matters.
    fn concerns(&self, name: &OsStr, mask: AddWatchFlags) -> bool {
        let content = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_ATTRIB;
        let is_content = mask.intersects(content) && !mask.contains(AddWatchFlags::IN_ISDIR);
        let hidden = name.as_bytes().starts_with(b".");
        self.names.contains(name) || (self.is_read && !hidden && (!is_content || is_manifest_name(name)))
    }
}

fn directory_mask() -> AddWatchFlags {
    file_mask()
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVE
        | AddWatchFlags::IN_ONLYDIR
}

fn file_mask() -> AddWatchFlags {
    AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
}

fn told_late(root: &Path, because: &str) -> Problem {
    let message = format!("changes may be seen late: {because}");
    Problem::note(
        root,
        Fault::whole(
            message,
            "raise fs.inotify.max_user_watches and fs.inotify.max_user_instances",
        ),
    )
}

#[cfg(test)]
mod tests;
