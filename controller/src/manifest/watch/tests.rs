//! Real directories and a real kernel. The followers of these tests never look without being told (but for the one
//! that polls), so that what arrives was told.

use std::fs::File;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::manifest::files::FileState;

/// Long enough for a loaded machine; no test waits that long when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

fn pod(name: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\n")
}

fn told_only() -> Pace {
    Pace {
        rescan: Duration::from_hours(1),
        ..Pace::default()
    }
}

struct Test {
    follower: Follower,
    root: PathBuf,
    _directory: TempDir,
    runtime: tokio::runtime::Runtime,
    scans: usize,
}

impl Test {
    /// A follower of `below` in a new directory that `prepare` fills.
    fn start(below: &str, pace: Pace, prepare: impl Fn(&Path)) -> Self {
        let directory = TempDir::new().expect("a directory");
        prepare(directory.path());
        let root = directory.path().to_owned();
        let follower = Follower::start(vec![root.join(below)], pace).expect("started");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        Self {
            follower,
            root,
            _directory: directory,
            runtime,
            scans: 0,
        }
    }

    fn next(&mut self, patience: Duration) -> Option<Scan> {
        let follower = &mut self.follower;
        let scan = self
            .runtime
            .block_on(async { tokio::time::timeout(patience, follower.next()).await });
        self.scans += usize::from(scan.is_ok());
        scan.ok().map(|scan| scan.expect("the thread lives"))
    }

    /// Waits until the pods are these.
    fn sees(&mut self, expected: &str) {
        let began = Instant::now();
        let mut last = String::new();
        while let Some(scan) = self.next(PATIENCE.saturating_sub(began.elapsed())) {
            last = pods(&scan);
            if last == expected {
                return;
            }
        }
        panic!("expected {expected:?}, last seen {last:?}");
    }

    fn sees_nothing(&mut self) {
        let scan = self.next(Duration::from_millis(300));
        assert!(scan.is_none(), "{:?}", scan.map(|scan| pods(&scan)));
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.root.join(name), text).expect("written");
    }
}

/// The names of the pods, and `?` for each file that is changing or unreadable.
fn pods(scan: &Scan) -> String {
    let mut names = Vec::new();
    for state in scan.files.values() {
        match state {
            FileState::Read(content) => names.extend(
                content
                    .documents()
                    .iter()
                    .map(|document| document.id().name.to_string()),
            ),
            FileState::Unreadable(_) | FileState::Unsettled => names.push("?".to_owned()),
        }
    }
    names.sort();
    names.join(" ")
}

#[test]
fn saves_and_renames_and_removals_are_seen() {
    let mut test = Test::start("", told_only(), |root| {
        fs::write(root.join("a.yaml"), pod("a")).expect("written");
    });
    test.sees("a");
    test.put("b.yaml", &pod("b"));
    test.sees("a b");
    test.put(".a.yaml.swp", &pod("a2"));
    fs::rename(test.root.join(".a.yaml.swp"), test.root.join("a.yaml")).expect("renamed");
    test.sees("a2 b");
    fs::rename(test.root.join("a.yaml"), test.root.join("c.yaml")).expect("renamed");
    fs::remove_file(test.root.join("b.yaml")).expect("removed");
    test.sees("a2");
    fs::rename(test.root.join("c.yaml"), test.root.join("c.txt")).expect("renamed");
    test.sees("");
}

#[test]
fn what_changes_nothing_is_not_told() {
    let mut test = Test::start("", told_only(), |root| {
        fs::write(root.join("a.yaml"), pod("a")).expect("written");
    });
    test.sees("a");
    test.put("a.yaml", &pod("a"));
    test.put("notes.txt", "x");
    test.put(".b.yaml", &pod("b"));
    test.follower.look_now().expect("woken");
    test.sees_nothing();
}

#[test]
fn new_directories_are_followed_as_they_come() {
    let mut test = Test::start("", told_only(), |_| {});
    test.sees("");
    fs::create_dir_all(test.root.join("x/y")).expect("made");
    test.put("x/y/a.yaml", &pod("a"));
    test.sees("a");
    test.put("x/y/b.yaml", &pod("b"));
    test.sees("a b");
    fs::rename(test.root.join("x/y"), test.root.join("z")).expect("renamed");
    test.put("z/c.yaml", &pod("c"));
    test.sees("a b c");
    fs::remove_dir_all(test.root.join("z")).expect("removed");
    test.sees("");
}

#[test]
fn a_volume_that_is_swapped_by_a_link_is_seen() {
    // As Kubernetes updates the volume of a ConfigMap: a new directory, and `..data` renamed over the old link.
    let mut test = Test::start("m", told_only(), |root| {
        let root = root.join("m");
        fs::create_dir_all(root.join("..v1")).expect("made");
        fs::write(root.join("..v1/a.yaml"), pod("a1")).expect("written");
        symlink("..v1", root.join("..data")).expect("linked");
        symlink("..data/a.yaml", root.join("a.yaml")).expect("linked");
    });
    test.sees("a1");
    fs::create_dir(test.root.join("m/..v2")).expect("made");
    test.put("m/..v2/a.yaml", &pod("a2"));
    symlink("..v2", test.root.join("m/..data_tmp")).expect("linked");
    fs::rename(test.root.join("m/..data_tmp"), test.root.join("m/..data")).expect("renamed");
    test.sees("a2");
    test.put("m/..v2/a.yaml", &pod("a3"));
    test.sees("a3");
}

#[test]
fn files_and_directories_behind_links_are_followed() {
    let mut test = Test::start("m", told_only(), |root| {
        fs::create_dir_all(root.join("m")).expect("made");
        fs::create_dir_all(root.join("far/d")).expect("made");
        fs::write(root.join("far/a.txt"), pod("a")).expect("written");
        symlink("../far/a.txt", root.join("m/a.yaml")).expect("linked");
        symlink("../far/d", root.join("m/d")).expect("linked");
    });
    test.sees("a");
    test.put("far/a.txt", &pod("a2"));
    test.sees("a2");
    test.put("far/new.txt", &pod("a3"));
    fs::rename(test.root.join("far/new.txt"), test.root.join("far/a.txt")).expect("renamed");
    test.sees("a3");
    test.put("far/d/b.yaml", &pod("b"));
    test.sees("a3 b");
}

#[test]
fn a_directory_that_is_not_there_yet_is_awaited() {
    let mut test = Test::start("x/m", told_only(), |_| {});
    let scan = test.next(PATIENCE).expect("a scan");
    assert_eq!(scan.blind, [test.root.join("x/m")]);
    fs::create_dir(test.root.join("x")).expect("made");
    fs::create_dir(test.root.join("new")).expect("made");
    test.put("new/a.yaml", &pod("a"));
    fs::rename(test.root.join("new"), test.root.join("x/m")).expect("renamed");
    test.sees("a");
    fs::rename(test.root.join("x/m"), test.root.join("old")).expect("renamed");
    let scan = test.next(PATIENCE).expect("a scan");
    assert_eq!(
        scan.blind,
        [test.root.join("x/m")],
        "what is moved away is not taken for emptied"
    );
}

#[test]
fn a_slow_save_is_read_when_it_is_done() {
    let mut test = Test::start("", told_only(), |root| {
        fs::write(root.join("a.yaml"), pod("a")).expect("written");
    });
    test.sees("a");
    // As a shell does for `command > a.yaml`: emptied at once, written later, in pieces.
    let mut file = File::create(test.root.join("a.yaml")).expect("opened");
    test.put("b.yaml", &pod("b"));
    test.sees("? b");
    thread::sleep(Duration::from_millis(1500));
    file.write_all(b"apiVersion: v1\nkind: Pod\n").expect("written");
    thread::sleep(Duration::from_millis(100));
    file.write_all(b"metadata: {name: a2}\n").expect("written");
    test.sees_nothing();
    drop(file);
    test.sees("a2 b");
}

#[test]
fn a_burst_is_a_few_scans() {
    let mut test = Test::start("", told_only(), |_| {});
    test.sees("");
    let before = test.scans;
    for number in 0..200 {
        test.put(&format!("{number:03}.yaml"), &pod(&format!("p{number:03}")));
    }
    let all: Vec<_> = (0..200).map(|number| format!("p{number:03}")).collect();
    test.sees(&all.join(" "));
    assert!(test.scans - before < 100, "{} scans", test.scans - before);
}

#[test]
fn without_the_kernels_word_it_polls() {
    let mut test = Test::start(
        "",
        Pace {
            inotify: false,
            ..told_only()
        },
        |_| {},
    );
    test.sees("");
    test.put("a.yaml", &pod("a"));
    test.sees("a");
    fs::create_dir(test.root.join("d")).expect("made");
    test.put("d/b.yaml", &pod("b"));
    test.sees("a b");
    fs::remove_file(test.root.join("a.yaml")).expect("removed");
    test.sees("b");
}

#[test]
fn what_the_kernel_did_not_tell_is_found_by_looking() {
    // A write through another name of the file, in a directory that nobody watches.
    let prepare = |root: &Path| {
        fs::create_dir(root.join("m")).expect("made");
        fs::create_dir(root.join("far")).expect("made");
        fs::write(root.join("m/a.yaml"), pod("a")).expect("written");
        fs::hard_link(root.join("m/a.yaml"), root.join("far/a.txt")).expect("linked");
    };
    let mut deaf = Test::start("m", told_only(), prepare);
    deaf.sees("a");
    deaf.put("far/a.txt", &pod("a2"));
    deaf.sees_nothing();
    deaf.follower.look_now().expect("woken");
    deaf.sees("a2");
    let mut test = Test::start(
        "m",
        Pace {
            rescan: Duration::from_millis(100),
            ..Pace::default()
        },
        prepare,
    );
    test.sees("a");
    test.put("far/a.txt", &pod("a2"));
    test.sees("a2");
}

#[test]
fn the_thread_ends_with_its_follower() {
    let name_of = |task: &fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    let directory = TempDir::new().expect("a directory");
    let followers: Vec<_> = (0..20)
        .map(|_| Follower::start(vec![directory.path().to_owned()], told_only()).expect("started"))
        .collect();
    let count = || {
        let tasks = fs::read_dir("/proc/self/task").expect("tasks");
        tasks
            .flatten()
            .filter(|task| name_of(task).trim() == "manifests")
            .count()
    };
    let began = Instant::now();
    while count() < 20 {
        assert!(began.elapsed() < PATIENCE);
    }
    drop(followers);
    // Other tests have followers too, but not twenty.
    while count() >= 20 {
        assert!(began.elapsed() < PATIENCE, "{} threads", count());
        thread::sleep(Duration::from_millis(10));
    }
}
