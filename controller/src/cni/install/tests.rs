//! Installing and removing, and what a runtime would read at every moment in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

struct Node {
    place: tempfile::TempDir,
    program: PathBuf,
    installation: Installation,
}

impl Node {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        for directory in ["bin", "net.d"] {
            fs::create_dir(place.path().join(directory)).unwrap();
        }
        let program = place.path().join("program");
        fs::write(&program, b"a program").unwrap();
        let installation = Installation {
            bin_dir: place.path().join("bin"),
            conf_dir: place.path().join("net.d"),
            socket: "/run/it/it.sock".into(),
            timeout_seconds: 5,
            when_away: WhenAway::Refuse,
        };
        Self {
            place,
            program,
            installation,
        }
    }

    fn put(&self, name: &str, value: &Value) {
        fs::write(self.installation.conf_dir.join(name), value.to_string()).unwrap();
    }

    fn get(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.installation.conf_dir.join(name)).unwrap()).unwrap()
    }

    fn install(&self) -> Done {
        self.installation.install(&self.program).unwrap()
    }

    fn names(&self) -> Vec<String> {
        super::files(&self.installation.conf_dir)
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect()
    }
}

fn list() -> Value {
    json!({"cniVersion": "0.4.0", "name": "pods", "disableCheck": true, "plugins": [
        {"type": "bridge", "ipam": {"type": "host-local"}}, {"type": "portmap"},
    ]})
}

fn types(list: &Value) -> Vec<&str> {
    let plugins = list["plugins"].as_array().unwrap();
    plugins.iter().map(|plugin| plugin["type"].as_str().unwrap()).collect()
}

#[test]
fn the_plugin_goes_behind_those_of_the_first_list_and_nothing_else_changes() {
    let node = Node::new();
    node.put("10-pods.conflist", &list());
    node.put("20-other.conflist", &list());
    assert!(matches!(node.install(), Done::Changed(files) if files.len() == 2));
    let mut installed = node.get("10-pods.conflist");
    assert_eq!(types(&installed), ["bridge", "portmap", "cellwall"]);
    let entry = installed["plugins"].as_array_mut().unwrap().pop().unwrap();
    assert_eq!(
        entry,
        json!({"type": "cellwall", "socket": "/run/it/it.sock", "timeoutSeconds": 5, "whenAway": "refuse"})
    );
    assert_eq!(installed, list());
    assert_eq!(node.get("20-other.conflist"), list());
    assert_eq!(node.install(), Done::Nothing);
    let program = node.installation.bin_dir.join(PLUGIN);
    assert_eq!(fs::read(&program).unwrap(), b"a program");
    assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o755);

    assert!(matches!(node.installation.uninstall().unwrap(), Done::Changed(_)));
    assert_eq!(node.get("10-pods.conflist"), list());
    assert!(!program.exists());
    assert_eq!(node.installation.uninstall().unwrap(), Done::Nothing);
}

#[test]
fn a_single_plugin_s_configuration_is_wrapped_and_comes_back() {
    let node = Node::new();
    let single = json!({"cniVersion": "1.0.0", "name": "pods", "type": "ptp"});
    node.put("10-pods.conf", &single);
    node.install();
    assert_eq!(node.names(), ["10-pods.conflist"]);
    assert_eq!(types(&node.get("10-pods.conflist")), ["ptp", "cellwall"]);
    assert_eq!(node.install(), Done::Nothing);
    node.installation.uninstall().unwrap();
    assert_eq!(node.names(), ["10-pods.conf"]);
    assert_eq!(node.get("10-pods.conf"), single);
}

#[test]
fn an_entry_that_others_moved_or_took_out_is_put_back_once() {
    let node = Node::new();
    node.put("10-pods.conflist", &list());
    node.install();
    node.put("10-pods.conflist", &list());
    node.install();
    let mut moved = node.get("10-pods.conflist");
    moved["plugins"].as_array_mut().unwrap().rotate_right(1);
    moved["plugins"]
        .as_array_mut()
        .unwrap()
        .push(json!({"type": "cellwall"}));
    node.put("10-pods.conflist", &moved);
    node.install();
    assert_eq!(types(&node.get("10-pods.conflist")), ["bridge", "portmap", "cellwall"]);
}

#[test]
fn what_its_owner_writes_meanwhile_is_not_written_over() {
    let node = Node::new();
    node.put("10-pods.conflist", &list());
    let path = node.installation.conf_dir.join("10-pods.conflist");
    let newer = json!({"cniVersion": "1.0.0", "name": "newer", "plugins": [{"type": "ptp"}]});
    let written = replace(&path, &b"{}"[..], 0o600, || {
        node.put("10-pods.conflist", &newer);
        node.get("10-pods.conflist") == list()
    });
    assert!(!written.unwrap());
    assert_eq!(node.get("10-pods.conflist"), newer);
    assert_eq!(
        fs::read_dir(&node.installation.conf_dir).unwrap().count(),
        1,
        "nothing is left beside"
    );
    node.install();
    assert_eq!(types(&node.get("10-pods.conflist")), ["ptp", "cellwall"]);
}

#[test]
fn a_program_that_is_as_long_and_another_is_replaced() {
    let node = Node::new();
    node.put("10-pods.conflist", &list());
    // Longer than what is read at a time.
    let mut content = vec![7; 20_000];
    fs::write(&node.program, &content).unwrap();
    node.install();
    assert_eq!(node.install(), Done::Nothing);
    content[19_999] = 8;
    fs::write(&node.program, &content).unwrap();
    let target = node.installation.bin_dir.join(PLUGIN);
    assert_eq!(node.install(), Done::Changed(vec![target.clone()]));
    assert_eq!(fs::read(&target).unwrap(), content);
}

#[test]
fn what_is_not_understood_is_left_alone() {
    let node = Node::new();
    assert!(matches!(
        node.installation.install(&node.program),
        Err(InstallError::None { .. })
    ));
    for text in ["{", "{}", r#"{"cniVersion":"9.0.0","name":"x","plugins":[]}"#] {
        fs::write(node.installation.conf_dir.join("10-pods.conflist"), text).unwrap();
        let error = node.installation.install(&node.program).unwrap_err();
        assert!(matches!(error, InstallError::Configuration { .. }), "{error}");
        assert_eq!(
            fs::read_to_string(node.installation.conf_dir.join("10-pods.conflist")).unwrap(),
            text
        );
    }
}

#[test]
fn a_runtime_finds_a_whole_configuration_with_its_plugins_at_every_moment() {
    for single in [false, true] {
        let node = Node::new();
        if single {
            node.put(
                "10-pods.conf",
                &json!({"cniVersion": "1.0.0", "name": "pods", "type": "ptp"}),
            );
        } else {
            node.put("10-pods.conflist", &list());
        }
        let stop = Arc::new(AtomicBool::new(false));
        let reading = {
            let (stop, installation) = (stop.clone(), node.installation.clone());
            std::thread::spawn(move || {
                let mut looks = 0;
                while !stop.load(Ordering::Relaxed) {
                    // Between listing and reading a file may be set aside: then a runtime lists again, as it is told.
                    // A listing is no snapshot: it may pass by a name that comes and miss one that goes meanwhile.
                    let found = (0..3)
                        .map(|_| files(&installation.conf_dir).unwrap())
                        .find(|found| !found.is_empty())
                        .expect("there is always one");
                    let first = &found[0];
                    let value = match read(first) {
                        Ok(value) => value,
                        Err(InstallError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
                        Err(error) => panic!("{} is not whole: {error}", first.display()),
                    };
                    let ours = value["plugins"].as_array().is_some_and(|all| all.iter().any(is_ours));
                    let program = installation.bin_dir.join(PLUGIN);
                    assert!(!ours || program.exists(), "the plugin is named and not there");
                    looks += 1;
                }
                looks
            })
        };
        for _round in 0..200 {
            node.install();
            // An uninstall but for the wait, after which the program goes.
            node.installation.take_out().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        let looks = reading.join().expect("a whole configuration at every look");
        assert!(looks > 0, "{}", node.place.path().display());
    }
}
