//! Directories of every kind, good and hostile.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nix::sys::stat::Mode;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n";

fn pod(name: &str) -> String {
    format!("---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n")
}

/// A directory with these files, whose last change is long past.
fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    for (name, content) in files {
        put(&directory, name, content);
    }
    directory
}

fn put(directory: &TempDir, name: &str, content: &str) {
    let path = directory.path().join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    fs::write(&path, content).expect("written");
}

fn scanner(directory: &TempDir) -> Scanner {
    Scanner::new(vec![directory.path().to_owned()])
}

fn once(directory: &TempDir) -> Scan {
    scanner(directory).scan_once()
}

/// The documents of a scan as `file:line id`.
fn documents(scan: &Scan, directory: &TempDir) -> Vec<String> {
    let mut found = Vec::new();
    for (path, state) in &scan.files {
        if let FileState::Read(content) = state {
            let name = path
                .strip_prefix(directory.path())
                .expect("below the root")
                .display()
                .to_string();
            found.extend(
                content
                    .documents()
                    .iter()
                    .map(|document| format!("{name}:{} {}", document.line(), document.id())),
            );
        }
    }
    found
}

/// The problems of a scan, with the directory's own name left out.
fn problems(scan: &Scan, directory: &TempDir) -> Vec<String> {
    let root = format!("{}/", directory.path().display());
    scan.problems()
        .iter()
        .map(|problem| problem.to_string().replace(&root, ""))
        .collect()
}

#[test]
fn manifests_are_found_by_name_in_all_directories_but_hidden_ones() {
    let directory = directory(&[
        ("b.yaml", POD),
        ("a.yml", "{apiVersion: v1, kind: Node, metadata: {name: n0}}"),
        (
            "sub/deep/c.json",
            "{\"apiVersion\":\"v1\",\t\"kind\":\"Namespace\",\"metadata\":{\"name\":\"ns-0\"}}",
        ),
        ("d.yaml/e.yaml", &(pod("x0") + &pod("x1"))),
        (".hidden.yaml", "x: ["),
        (".git/f.yaml", "x: ["),
        ("README.md", "x: ["),
        ("b.yaml~", "x: ["),
        ("g.YAML", "x: ["),
    ]);
    let scan = once(&directory);
    let expected = [
        "a.yml:1 Node n0",
        "b.yaml:1 Pod default/web",
        "d.yaml/e.yaml:2 Pod default/x0",
        "d.yaml/e.yaml:7 Pod default/x1",
        "sub/deep/c.json:1 Namespace ns-0",
    ];
    assert_eq!(documents(&scan, &directory), expected);
    assert_eq!(problems(&scan, &directory), [""; 0]);
}

#[test]
fn a_file_given_by_name_is_read_whatever_its_name() {
    let directory = directory(&[("manifest.txt", POD), (".h/x.yaml", POD)]);
    let path = directory.path().join("manifest.txt");
    assert_eq!(Scanner::new(vec![path.clone(), path]).scan_once().files.len(), 1);
    assert_eq!(
        Scanner::new(vec![directory.path().join(".h")]).scan_once().files.len(),
        1
    );
    let missing = Scanner::new(vec![directory.path().join("none")]).scan_once();
    assert_eq!(
        problems(&missing, &directory),
        ["none: cannot be read: No such file or directory (os error 2)"]
    );
    assert!(missing.is_blind_to(&directory.path().join("none/a.yaml")));
}

#[test]
fn garbage_is_named_by_file_and_line() {
    let directory = directory(&[("ok.yaml", POD)]);
    let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).expect("written");
    write("broken.yaml", b"a: 1\nb: [1, 2\nc: 3\n");
    write(
        "bom.yaml",
        b"\xef\xbb\xbfapiVersion: v1\r\nkind: Pod\r\nmetadata:\r\n  name: bom\r\n",
    );
    write("utf16.yaml", b"\xff\xfea\0:\0");
    write("latin1.yaml", b"a: caf\xe9\n");
    write("nul.yaml", b"a: 1\nb: \0\n");
    write("escape.yaml", b"a: \x1b[2J\n");
    write(
        "long.yaml",
        format!("kind: Pod\nmetadata:\n  name: {}\n", "n".repeat(2000)).as_bytes(),
    );
    write("scalar.yaml", b"just text\n");
    write("empty.yaml", b"");
    write(
        "other.yaml",
        b"kind: ConfigMap\napiVersion: v1\n---\nkind: ConfigMap\napiVersion: v1\n",
    );
    write("json.json", b"{\"kind\": \"Pod\",\n \"metadata\": {\"name\": 'x'}}");
    write("deep.json", "[".repeat(100_000).as_bytes());
    write("a\n\x1b[31m.yaml", b"a: [\n");
    File::create(directory.path().join("huge.yaml"))
        .expect("made")
        .set_len(10_000_000)
        .expect("set");
    let scan = once(&directory);
    assert_eq!(
        documents(&scan, &directory),
        ["bom.yaml:1 Pod default/bom", "ok.yaml:1 Pod default/web"]
    );
    let expected = [
        "a\\u{a}\\u{1b}[31m.yaml:1: not valid YAML: while parsing a node, did not find expected node content",
        "broken.yaml:3: not valid YAML: illegal placement of ':' indicator",
        "deep.json:1: nested more than 64 levels deep",
        "escape.yaml:1: the control character U+001B at byte 3; remove it, or write \"\\u001b\" in double quotes",
        "huge.yaml: the file is too large: 10000000 bytes, at most 8388608 are read; split it",
        "json.json:2: not valid JSON: expected a value, found '''",
        "latin1.yaml:1: byte 6 (0xe9) is not UTF-8; save the file as UTF-8",
        "nul.yaml:2: a NUL character at byte 8; remove it, or write \"\\u0000\" in double quotes",
        "other.yaml:1: note: 2 documents of kind v1 ConfigMap, which is not read here",
        "scalar.yaml:1: a document that is not a mapping; a document begins with apiVersion and kind",
        "utf16.yaml: the file is in UTF-16, little-endian; save it as UTF-8",
    ];
    let found = problems(&scan, &directory);
    let (long, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|problem| problem.starts_with("long.yaml"));
    assert_eq!(others, expected);
    assert!(
        long[0].starts_with("long.yaml:3: Pod: metadata.name \"nnn") && long[0].len() < 400,
        "{long:?}"
    );
}

#[test]
fn links_are_followed_and_circles_end() {
    let directory = directory(&[("real/a.yaml", POD), ("real/sub/b.yaml", &pod("b"))]);
    let at = |name: &str| directory.path().join(name);
    symlink(at("real"), at("a-link")).expect("linked");
    symlink(at(""), at("real/sub/up")).expect("linked");
    symlink("self", at("self")).expect("linked");
    symlink("loop.yaml", at("loop.yaml")).expect("linked");
    symlink("nowhere.yaml", at("dangling.yaml")).expect("linked");
    symlink("real/a.yaml", at("0.yaml")).expect("linked");
    fs::hard_link(at("real/a.yaml"), at("real/z.yaml")).expect("linked");
    let scan = once(&directory);
    assert_eq!(
        documents(&scan, &directory),
        ["real/a.yaml:1 Pod default/web", "real/sub/b.yaml:2 Pod default/b"]
    );
    let root = directory.path().display();
    let expected = [
        "0.yaml: note: the same file as ".to_owned() + &format!("{root}/real/a.yaml, which is read already").replace(&format!("{root}/"), ""),
        "a-link: note: a link to a directory that is read already".to_owned(),
        "dangling.yaml: cannot be read: No such file or directory (os error 2); the link leads nowhere; remove it or restore its target".to_owned(),
        "loop.yaml: cannot be read: Too many levels of symbolic links (os error 40)".to_owned(),
        "real/sub/up: note: a link to a directory that is read already".to_owned(),
        "real/z.yaml: note: the same file as real/a.yaml, which is read already".to_owned(),
        "self: note: a link that cannot be followed (Too many levels of symbolic links (os error 40))".to_owned(),
    ];
    let mut found = problems(&scan, &directory);
    found.sort();
    assert_eq!(found, expected);
    assert!(scan.is_blind_to(&at("self/x.yaml")) && !scan.is_blind_to(&at("real/x.yaml")));
}

#[test]
fn what_is_not_a_file_is_never_opened() {
    let directory = directory(&[("ok.yaml", POD)]);
    let at = |name: &str| directory.path().join(name);
    nix::unistd::mkfifo(&at("pipe.yaml"), Mode::S_IRWXU).expect("made");
    let _socket = UnixListener::bind(at("socket.yaml")).expect("bound");
    symlink("/dev/zero", at("zero.yaml")).expect("linked");
    symlink("/proc/self/mem", at("memory.yaml")).expect("linked");
    let began = Instant::now();
    let scan = once(&directory);
    assert!(began.elapsed() < Duration::from_secs(5));
    let expected = [
        "memory.yaml: cannot be read: Input/output error (os error 5)",
        "pipe.yaml: a named pipe, not a file; it is not opened",
        "socket.yaml: a socket, not a file; it is not opened",
        "zero.yaml: a device, not a file; it is not opened",
    ];
    assert_eq!(problems(&scan, &directory), expected);
    assert_eq!(documents(&scan, &directory).len(), 1);
}

#[test]
fn too_many_directories_are_told_once_and_hide_nothing() {
    let directory = TempDir::new().expect("a directory");
    let mut deep = directory.path().to_owned();
    for _ in 0..40 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).expect("made");
    fs::write(deep.join("a.yaml"), POD).expect("written");
    let scan = once(&directory);
    assert_eq!(scan.problems().len(), 1);
    assert!(
        scan.problems()[0]
            .message
            .contains("nested more than 32 directories deep")
    );
    assert!(scan.is_blind_to(&deep.join("a.yaml")));
}

#[test]
fn a_thousand_dead_links_leave_everything_unknown() {
    let directory = directory(&[("ok.yaml", POD)]);
    for number in 0..1000 {
        symlink("nowhere", directory.path().join(format!("l{number}"))).expect("linked");
    }
    let scan = once(&directory);
    assert_eq!(scan.blind, [directory.path()]);
    assert_eq!(documents(&scan, &directory).len(), 1);
    assert!(scan.problems().len() <= 200);
}

#[test]
fn only_what_changed_is_read_again() {
    let directory = directory(&[("a.yaml", POD), ("b.yaml", &(pod("x0") + &pod("x1")))]);
    let mut scanner = scanner(&directory);
    let none = BTreeSet::new();
    let mut look = || scanner.scan_found(find(&[directory.path().to_owned()]), Writers::Known(&none));
    let content = |scan: &Scan, name: &str| match &scan.files[&*directory.path().join(name)] {
        FileState::Read(content) => Arc::clone(content),
        other => panic!("{other:?}"),
    };
    let first = look();
    put(
        &directory,
        "b.yaml",
        &("# a new line\n".to_owned() + &pod("x0") + &pod("y2")),
    );
    let second = look();
    assert!(Arc::ptr_eq(&content(&first, "a.yaml"), &content(&second, "a.yaml")));
    let (before, after) = (content(&first, "b.yaml"), content(&second, "b.yaml"));
    assert!(Arc::ptr_eq(
        &before.documents()[0].definition.node,
        &after.documents()[0].definition.node
    ));
    assert_eq!((before.documents()[0].line(), after.documents()[0].line()), (2, 3));
    assert_eq!(after.documents()[1].id().to_string(), "Pod default/y2");
    put(
        &directory,
        "b.yaml",
        &("# a new line\n".to_owned() + &pod("x0") + &pod("y2")),
    );
    let third = look();
    assert!(
        Arc::ptr_eq(&after, &content(&third, "b.yaml")),
        "the same bytes are the same content"
    );
    assert!(third.same(&second) && !second.same(&first));
}

#[test]
fn a_second_change_within_the_tick_of_the_clock_is_seen() {
    let directory = directory(&[("a.yaml", &pod("x"))]);
    let mut scanner = scanner(&directory);
    for round in 0..200 {
        put(&directory, "a.yaml", &pod(if round % 2 == 0 { "y0" } else { "z0" }));
        let scan = scanner.scan_once();
        let expected = if round % 2 == 0 {
            "a.yaml:2 Pod default/y0"
        } else {
            "a.yaml:2 Pod default/z0"
        };
        assert_eq!(documents(&scan, &directory), [expected]);
    }
}

#[test]
fn a_file_that_someone_writes_stays_as_it_was() {
    let directory = directory(&[("a.yaml", POD)]);
    let mut scanner = scanner(&directory);
    let found = || find(&[directory.path().to_owned()]);
    let none = BTreeSet::new();
    assert_eq!(scanner.scan_found(found(), Writers::Known(&none)).files.len(), 1);
    put(&directory, "a.yaml", "");
    let writing = BTreeSet::from([directory.path().join("a.yaml")]);
    let scan = scanner.scan_found(found(), Writers::Known(&writing));
    assert!(scan.unsettled && matches!(scan.files.values().next(), Some(FileState::Unsettled)));
    let scan = scanner.scan_found(found(), Writers::Unknown);
    assert!(scan.unsettled, "emptied a moment ago, and nobody knows by whom");
    let scan = scanner.scan_found(found(), Writers::Known(&none));
    assert!(
        !scan.unsettled && documents(&scan, &directory).is_empty(),
        "emptied and closed"
    );
}

#[test]
fn a_young_file_is_waited_for() {
    let directory = directory(&[]);
    let mut scanner = scanner(&directory);
    put(&directory, "a.yaml", POD);
    let found = find(&[directory.path().to_owned()]);
    let scan = scanner.scan_found(found, Writers::Unknown);
    assert_eq!(documents(&scan, &directory).len(), 1);
    assert!(!scan.unsettled);
}

/// Tells a thread to end, also when the test ends early.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn renaming_never_hides_a_file() {
    let directory = directory(&[("a.yaml", POD)]);
    let mut scanner = scanner(&directory);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _done = Done(&done);
        scope.spawn(|| {
            let (a, b) = (directory.path().join("a.yaml"), directory.path().join("b.yaml"));
            while !done.load(Ordering::Relaxed) {
                fs::rename(&a, &b).expect("renamed");
                fs::rename(&b, &a).expect("renamed");
            }
        });
        let none = BTreeSet::new();
        for _ in 0..10 {
            let scan = scanner.scan_found(find(&[directory.path().to_owned()]), Writers::Known(&none));
            let seen = scan
                .files
                .values()
                .any(|state| matches!(state, FileState::Read(_) | FileState::Unsettled));
            assert!(seen || scan.is_blind_to(&directory.path().join("a.yaml")), "{scan:?}");
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic_and_end_quickly(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let began = Instant::now();
        let path: Arc<Path> = Path::new("a.yaml").into();
        let content = FileContent::read(&path, &bytes, None);
        let shown: String = content.problems().map(|problem| problem.to_string()).collect();
        prop_assert!(!shown.chars().any(char::is_control));
        prop_assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn bytes_flipped_in_a_manifest_never_panic(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = (pod("x") + "spec:\n  a: &a [1, {b: 'c'}]\n  d: *a\n" + &pod("y0") + "spec: |\n  text\n").into_bytes();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let path: Arc<Path> = Path::new("a.yaml").into();
        let before = FileContent::read(&path, pod("x").as_bytes(), None);
        let whole = FileContent::read(&path, &bytes, None);
        let reused = FileContent::read(&path, &bytes, Some(&before));
        prop_assert_eq!(whole.documents(), reused.documents());
    }
}
