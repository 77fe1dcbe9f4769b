//! Where the control plane's programs are: `scripts/control-plane.sh` builds what is missing and says it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Paths by name.
#[derive(Debug, Clone)]
pub struct Programs(BTreeMap<String, PathBuf>);

impl Programs {
    /// These programs, built if need be: that takes minutes, once.
    pub fn of(names: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/control-plane.sh");
        let output = Command::new(&script)
            .args(names)
            .stderr(Stdio::inherit())
            .output()
            .unwrap_or_else(|error| panic!("{} cannot be run: {error}", script.display()));
        assert!(
            output.status.success(),
            "no control plane to test against; the lines above name the remedy"
        );
        let text = String::from_utf8(output.stdout).expect("the script writes text");
        let found = text.lines().filter_map(|line| line.split_once('='));
        Self(found.map(|(name, path)| (name.to_owned(), path.into())).collect())
    }

    /// The path of one of them.
    pub fn path(&self, name: &str) -> &Path {
        let found = self.0.get(name);
        found.unwrap_or_else(|| panic!("{name} was not asked for; there are {:?}", self.0.keys()))
    }
}
